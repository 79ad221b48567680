/** A HuBERT model: its parameters, and the programs (pretraining, evaluation, features, CTC) compiled for each batch shape. */
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { readJson, writeJsonAtomic } from '../formats/atomic';
import { float32Tensor, readSafetensors, toFloat32, writeSafetensors } from '../formats/safetensors';
import { checkConfig, frameCount, frameGeometry, type HubertConfig } from './config';
import { Graph } from './graph';
import { type BatchShape, ctcHead, hubert, predictionHead } from './hubert';
import {
  AssignStep,
  CtcStep,
  EvalStep,
  ExtractStep,
  LogitsStep,
  PretrainStep,
  type PretrainStepOptions,
} from './steps';
import { ParameterStore } from './store';

export interface ModelOptions {
  config: HubertConfig;
  /** Size of the pretraining head; 0 (default): none. */
  clusters?: number;
  /** Outputs of the CTC head, blank included; 0 (default): none. */
  vocabulary?: number;
  /** Seed of the initialisation (default 0). */
  seed?: number;
  /** 'cpu' (default), 'cuda', 'cuda:N', or 'auto': the GPU where there is one that can be used. */
  device?: string;
}

const formatVersion = 1;
const gain = 'encoder.pos_conv_embed.conv.parametrizations.weight.original0';
const direction = 'encoder.pos_conv_embed.conv.parametrizations.weight.original1';

/**
 * A HuBERT (2106.07447): feature extractor, encoder and the heads it was made with; waveforms are f32 [B, N] at 16 kHz, frames are 20 ms.
 * Each step (`pretraining`, `extracting`, ...) is compiled at its first run for a batch shape and kept. Parameters live on one device until
 * `dispose`; after it steps throw HK_DISPOSED.
 */
export class HubertModel implements AsyncDisposable {
  private parameters: ParameterStore;
  private readonly steps = new Map<string, { dispose(): void }>();

  private constructor(
    readonly config: HubertConfig,
    private heads: { clusters: number; vocabulary: number },
    device: string,
  ) {
    this.parameters = new ParameterStore(parameterSpecs(config, heads), device);
  }

  /**
   * A new model, initialised as at pretraining (encoder N(0, .02), convolutions Kaiming, projections PyTorch's default).
   * @throws HK_CONFIG, HK_ARGUMENT, HK_NO_DEVICE, HK_MEMORY
   */
  static create(options: ModelOptions): HubertModel {
    const { config, clusters = 0, vocabulary = 0, seed = 0, device = 'cpu' } = options;
    checkConfig(config);
    const model = new HubertModel(
      config,
      { clusters: count('clusters', clusters), vocabulary: count('vocabulary', vocabulary) },
      device,
    );
    model.initialise(model.store.names(), seed);
    return model;
  }

  get store(): ParameterStore {
    return this.parameters;
  }

  /** 'cpu', 'cuda' or 'cuda:N'. */
  get device(): string {
    return this.store.device;
  }

  get clusters(): number {
    return this.heads.clusters;
  }

  get vocabulary(): number {
    return this.heads.vocabulary;
  }

  get parameterCount(): number {
    return this.store.parameterCount;
  }

  /** Frames (20 ms) of so many samples. */
  frames(samples: number): number {
    return frameCount(this.config, samples);
  }

  /** Forward, backward, clip and AdamW of masked prediction, one native call. Throws HK_PRECISION where the processor has no bf16. */
  pretraining(shape: BatchShape & PretrainStepOptions): PretrainStep {
    this.requireHead('clusters');
    const {
      unmasked = false,
      precision = 'f32',
      checkpoint = 'none',
      intermediateLayers = [],
      predictedFrames,
    } = shape;
    for (const layer of intermediateLayers) this.requireLayer(layer);
    const name = `pretraining ${key(shape)} ${unmasked} ${precision} ${checkpoint} ${intermediateLayers} ${predictedFrames}`;
    return this.step(name, () => new PretrainStep(this, shape));
  }

  /** Masked prediction without gradients or dropout; unmasked frames are counted too. */
  evaluating(shape: BatchShape): EvalStep {
    this.requireHead('clusters');
    return this.step(`evaluating ${key(shape)}`, () => new EvalStep(this, shape));
  }

  /** Hidden states in eval mode: layer 0 is the transformer's input, layer l the output of block l. */
  extracting(shape: BatchShape, options: { layers: number[] }): ExtractStep {
    for (const layer of options.layers) this.requireLayer(layer);
    return this.step(`extracting ${key(shape)} ${options.layers}`, () => new ExtractStep(this, shape, options.layers));
  }

  /** Nearest centroids of one layer's features, without storing the features. */
  assigning(shape: BatchShape, options: { layer: number; clusters: number }): AssignStep {
    this.requireLayer(options.layer);
    return this.step(
      `assigning ${key(shape)} ${options.layer} ${options.clusters}`,
      () => new AssignStep(this, shape, options),
    );
  }

  /** CTC fine-tuning. `frozen`: prefixes of parameter names that get no gradient (default: the feature extractor). */
  ctc(shape: BatchShape & { targetLength: number }, options: { frozen?: string[] } = {}): CtcStep {
    this.requireHead('vocabulary');
    const frozen = options.frozen ?? ['feature_extractor.'];
    return this.step(`ctc ${key(shape)} ${shape.targetLength} ${frozen}`, () => new CtcStep(this, shape, frozen));
  }

  /** The best CTC path of each frame. */
  logits(shape: BatchShape): LogitsStep {
    this.requireHead('vocabulary');
    return this.step(`logits ${key(shape)}`, () => new LogitsStep(this, shape));
  }

  /** Re-initialises the top `k` blocks as at pretraining (pre-LN: the final layer norm too). */
  resetLayers(k: number, seed: number): void {
    this.requireLayer(k);
    const { layers, normFirst } = this.config;
    const reset = (name: string) => {
      const block = /^encoder\.layers\.(\d+)\./.exec(name);
      if (block) return Number(block[1]) >= layers - k;
      return k > 0 && normFirst && name.startsWith('encoder.layer_norm.');
    };
    this.initialise(this.store.names().filter(reset), seed);
  }

  /** A copy without the top `k` blocks. */
  dropLayers(k: number): HubertModel {
    this.requireLayer(k);
    if (k === this.config.layers) throw new HubertkitError('HK_ARGUMENT', 'A model keeps at least one layer.');
    const copy = new HubertModel({ ...this.config, layers: this.config.layers - k }, this.heads, this.device);
    copyShared(this.store, copy.store);
    return copy;
  }

  /** A new pretraining head for `clusters` labels; everything else keeps its values (moments are lost). */
  newHead(clusters: number, seed: number): void {
    this.rebuild({ ...this.heads, clusters: count('clusters', clusters) });
    this.initialise(
      this.store.names().filter((n) => n.startsWith('final_proj.') || n === 'label_embs_concat'),
      seed,
    );
  }

  /** A new CTC head. */
  newVocabulary(size: number, seed: number): void {
    this.rebuild({ ...this.heads, vocabulary: count('vocabulary', size) });
    this.initialise(
      this.store.names().filter((n) => n.startsWith('lm_head.')),
      seed,
    );
  }

  /** Writes model.safetensors (Hugging Face names) and model.json into a folder. */
  async save(folder: string): Promise<void> {
    const tensors = new Map(this.store.names().map((n) => [n, float32Tensor(this.store.shape(n), this.store.read(n))]));
    await writeSafetensors(path.join(folder, 'model.safetensors'), tensors, { format: 'pt' });
    await writeJsonAtomic(path.join(folder, 'model.json'), {
      format: formatVersion,
      config: this.config,
      ...this.heads,
    });
  }

  /** Reads what `save` wrote. Throws HK_FORMAT, HK_IO, HK_MISMATCH (a tensor is missing or has another shape). */
  static async load(folder: string, options: { device?: string } = {}): Promise<HubertModel> {
    const file = path.join(folder, 'model.json');
    const description = (await readJson(file)) as {
      format?: number;
      config?: HubertConfig;
      clusters?: number;
      vocabulary?: number;
    };
    if (description?.format !== formatVersion || !description.config)
      throw new HubertkitError('HK_FORMAT', `${file} does not describe a model of format ${formatVersion}.`);
    checkConfig(description.config);
    const heads = {
      clusters: count('clusters', description.clusters ?? 0),
      vocabulary: count('vocabulary', description.vocabulary ?? 0),
    };
    const model = new HubertModel(description.config, heads, options.device ?? 'cpu');
    await model.loadWeights(path.join(folder, 'model.safetensors'));
    return model;
  }

  /** Fills every parameter from a safetensors file with the same names and shapes. */
  async loadWeights(file: string): Promise<void> {
    const { tensors } = await readSafetensors(file);
    for (const name of this.store.names()) {
      const tensor = tensors.get(name);
      const shape = this.store.shape(name);
      if (!tensor) throw new HubertkitError('HK_MISMATCH', `${file} has no tensor '${name}' [${shape}].`);
      if (String(tensor.shape) !== String(shape))
        throw new HubertkitError('HK_MISMATCH', `${file}: '${name}' is [${tensor.shape}], the model has [${shape}].`);
      this.store.write(name, toFloat32(tensor));
    }
  }

  /** Writes the moments of AdamW. */
  async saveOptimizer(file: string): Promise<void> {
    const tensors = new Map(
      this.store
        .names()
        .flatMap((n) =>
          (['m', 'v'] as const).map(
            (w) => [`${w}.${n}`, float32Tensor(this.store.shape(n), this.store.read(n, w))] as const,
          ),
        ),
    );
    await writeSafetensors(file, tensors);
  }

  async loadOptimizer(file: string): Promise<void> {
    const { tensors } = await readSafetensors(file);
    for (const name of this.store.names())
      for (const which of ['m', 'v'] as const) {
        const tensor = tensors.get(`${which}.${name}`);
        if (!tensor) throw new HubertkitError('HK_MISMATCH', `${file} has no moments of '${name}'.`);
        this.store.write(name, toFloat32(tensor), which);
      }
  }

  dispose(): void {
    for (const step of this.steps.values()) step.dispose();
    this.steps.clear();
    this.store.dispose();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  private initialise(names: string[], seed: number): void {
    for (const name of names) this.store.initialise(name, seed);
    if (names.includes(gain)) this.store.write(gain, tapNorms(this.store.read(direction), this.store.shape(direction)));
  }

  private rebuild(heads: { clusters: number; vocabulary: number }): void {
    const store = new ParameterStore(parameterSpecs(this.config, heads), this.device);
    copyShared(this.store, store);
    for (const step of this.steps.values()) step.dispose();
    this.steps.clear();
    this.store.dispose();
    this.parameters = store;
    this.heads = heads;
  }

  private step<S extends { dispose(): void }>(name: string, make: () => S): S {
    const known = this.steps.get(name);
    if (known) return known as unknown as S;
    const step = make();
    this.steps.set(name, step);
    return step;
  }

  private requireHead(head: 'clusters' | 'vocabulary'): void {
    if (this.heads[head] > 0) return;
    const how = head === 'clusters' ? 'newHead(clusters, seed)' : 'newVocabulary(size, seed)';
    throw new HubertkitError(
      'HK_ARGUMENT',
      `This model has no ${head === 'clusters' ? 'pretraining' : 'CTC'} head: call ${how} first.`,
    );
  }

  private requireLayer(layer: number): void {
    const { layers } = this.config;
    if (!Number.isInteger(layer) || layer < 0 || layer > layers)
      throw new HubertkitError('HK_ARGUMENT', `Layers are numbered 0 (transformer input) to ${layers}, got ${layer}.`);
  }
}

const key = (s: BatchShape) => `${s.batch}x${s.samples}`;

function count(name: string, n: number): number {
  if (!Number.isSafeInteger(n) || n < 0)
    throw new HubertkitError('HK_ARGUMENT', `${name} must be a whole number, got ${n}.`);
  return n;
}

/** Every parameter of a model, found by building its graph at the smallest size. */
function parameterSpecs(config: HubertConfig, heads: { clusters: number; vocabulary: number }) {
  const g = new Graph(false);
  const shape = { batch: 1, samples: frameGeometry(config).window };
  const { states, lengths, mask } = hubert(g, shape, config);
  const top = states[config.layers];
  if (heads.clusters)
    predictionHead(top, g.feed('labels', [1, 1], 'i32'), mask, lengths, config, heads.clusters, false);
  if (heads.vocabulary) ctcHead(top, config, heads.vocabulary);
  return [...g.parameters.values()];
}

function copyShared(from: ParameterStore, to: ParameterStore): void {
  for (const name of to.names())
    if (from.has(name) && String(from.shape(name)) === String(to.shape(name))) to.write(name, from.read(name));
}

/** Norm of each kernel tap of v [O, I, K] over O and I. */
function tapNorms(v: Float32Array, shape: number[]): Float32Array {
  const taps = shape[2];
  const squares = new Float64Array(taps);
  for (let i = 0; i < v.length; i++) squares[i % taps] += v[i] * v[i];
  return Float32Array.from(squares, Math.sqrt);
}
