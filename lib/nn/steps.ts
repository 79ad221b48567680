/** The programs of a model, each compiled at its first run for one batch shape. */
import { wrapped } from '../binding';
import type { TypedArray } from '../binding/core';
import { HubertkitError } from '../errors';
import { frameCount } from './config';
import { type Checkpointing, Graph, type Precision, type Tensor } from './graph';
import { type BatchShape, ctcHead, featurePenalty, hubert, layerGate, predictionHead } from './hubert';
import type { HubertModel } from './model';
import { argmax, ctc, kmeansAssign } from './ops';
import type { Program } from './program';

/** The speech of a batch: `waveform` [B*N], or `mel` [B*T*80] for the mel front end; valid frames of each row. */
export interface SpeechInput {
  waveform?: Float32Array;
  mel?: Float32Array;
  frameLengths: Int32Array;
}

export interface MaskedInput extends SpeechInput {
  /** [B*T]; < 0: no label. */
  labels: Int32Array;
  /** [B*T]; 1: masked. */
  mask: Uint8Array;
}

export interface LossCounts {
  /** Sum over frames, in nats. */
  loss: number;
  frames: number;
  correct: number;
}

export interface MaskedLosses {
  masked: LossCounts;
  unmasked: LossCounts;
  /** Summed losses of the same predictions at middle layers, where the step was made with such. */
  intermediate: { masked: number; unmasked: number };
  /** Mean square of the conv features. */
  featurePenalty: number;
}

/** AdamW with decoupled decay on every parameter; the gradient is clipped by its global norm first. */
export interface UpdateOptions {
  learningRate: number;
  /** 1 for the first update: bias correction. */
  step: number;
  beta1?: number;
  beta2?: number;
  eps?: number;
  weightDecay?: number;
  /** Largest global norm of the gradient; 0: no clipping. */
  clip?: number;
  /** Parameters that are neither counted in the norm nor changed. */
  frozen?: (name: string) => boolean;
}

export interface UpdateResult {
  gradientNorm: number;
  /** The gradient was not finite: nothing was changed. */
  skipped: boolean;
}

export interface StepOptions {
  seed: number | bigint;
  /** Number of this run within the training: random numbers depend on (seed, draw). */
  draw: number | bigint;
  /** Apply the optimiser after this run; absent: gradients accumulate. */
  update?: UpdateOptions;
  /** Time each op: `(await step.ready()).lastProfile`. */
  profile?: boolean;
}

/** Throws HK_PRECISION for an unknown precision and one that this processor does not compute in. */
export function checkedPrecision(precision: Precision, device: string): Precision {
  if (precision !== 'f32' && precision !== 'bf16')
    throw new HubertkitError('HK_PRECISION', `precision must be 'f32' or 'bf16', got '${String(precision)}'.`);
  if (precision === 'bf16' && device === 'cpu' && !wrapped((n) => n.backendInfo()).bf16)
    throw new HubertkitError(
      'HK_PRECISION',
      "precision 'bf16' needs a processor with AVX512_BF16 or AMX; this one has neither. Use precision 'f32'.",
    );
  return precision;
}

/** Shared by all steps: one graph, compiled once. */
abstract class Step {
  private program?: Promise<Program>;
  private compiled?: Program;

  constructor(
    protected readonly model: HubertModel,
    readonly shape: BatchShape,
  ) {
    if (frameCount(model.config, shape.samples) < 1)
      throw new HubertkitError('HK_SHAPE', `${shape.samples} samples are less than one frame.`);
  }

  get frames(): number {
    return frameCount(this.model.config, this.shape.samples);
  }

  protected abstract build(): Graph;

  /** Compiles at the first call. */
  async ready(): Promise<Program> {
    this.program ??= this.build().compile(this.model.store);
    this.compiled = await this.program;
    return this.compiled;
  }

  dispose(): void {
    this.compiled?.dispose();
  }

  protected speech(input: SpeechInput): Record<string, TypedArray> {
    const mel = this.model.config.frontEnd === 'mel';
    const array = mel ? input.mel : input.waveform;
    if (!array)
      throw new HubertkitError(
        'HK_NAME',
        `The ${this.model.config.frontEnd} front end needs '${mel ? 'mel' : 'waveform'}'.`,
      );
    return { [mel ? 'mel' : 'waveform']: array, frameLengths: input.frameLengths };
  }

  protected noMask(): Uint8Array {
    return new Uint8Array(this.shape.batch * this.frames);
  }
}

const updateGate = 'update';

/** Adds AdamW over the whole store behind the gate `update`. */
function addOptimiser(g: Graph, model: HubertModel): void {
  const { store } = model;
  const segments = store.segmentEnds.length;
  const inputs = [
    ...(['values', 'gradients', 'm', 'v'] as const).map((which) => g.flat(which, store.size)),
    g.feed('segmentEnds', [segments], 'i32'),
    g.feed('trainable', [segments], 'u8'),
    g.feed('hyper', [7]),
  ];
  const [info] = g.whenOpen(g.gateIndex(updateGate), () =>
    g.emit('adamw', inputs, {}, [{ shape: [2] }], { requiresGradient: false }),
  );
  g.output('update', info!);
}

function optimiserFeeds(model: HubertModel, u: UpdateOptions | undefined): Record<string, TypedArray> {
  const { store } = model;
  const frozen = u?.frozen ?? (() => false);
  const { learningRate = 0, step = 1, beta1 = 0.9, beta2 = 0.98, eps = 1e-6, weightDecay = 0.01, clip = 0 } = u ?? {};
  return {
    segmentEnds: store.segmentEnds,
    trainable: Uint8Array.from(store.parameterNames(), (name) => (frozen(name) ? 0 : 1)),
    hyper: Float32Array.of(learningRate, beta1, beta2, eps, weightDecay, clip, step),
  };
}

const updateResult = (u: UpdateOptions | undefined, info: TypedArray): UpdateResult | undefined =>
  u && { gradientNorm: info[0], skipped: info[1] !== 0 };

/** The output that holds the sums of an intermediate loss. */
const sumsOf = (layer: number) => `sums of layer ${layer}`;

function maskedLosses(results: Record<string, TypedArray>, intermediate: readonly number[] = []): MaskedLosses {
  const s = results.sums;
  const ofLayers = (at: number) => intermediate.reduce((total, layer) => total + results[sumsOf(layer)][at], 0);
  return {
    intermediate: { masked: ofLayers(0), unmasked: ofLayers(3) },
    masked: { loss: s[0], frames: s[1], correct: s[2] },
    unmasked: { loss: s[3], frames: s[4], correct: s[5] },
    featurePenalty: results.penalty?.[0] ?? 0,
  };
}

export interface PretrainOptions extends StepOptions {
  /**
   * What a masked frame's loss, an unmasked frame's and the mean-square penalty weigh in the objective, e.g. alpha / masked frames of
   * the whole update, and 10 * this batch's share of them. Unmasked frames count only where the step was made with `unmasked`.
   */
  weights: { masked: number; unmasked?: number; penalty?: number };
  /** LayerDrop: false leaves out block l + 1 (default: all run). */
  openLayers?: boolean[];
}

/** What a pretraining step is compiled for, beside its batch shape. */
export interface PretrainStepOptions {
  /** Also predict frames that are not masked. Default false. */
  unmasked?: boolean;
  /** 'bf16' stores activations in bf16; parameters, their gradients, statistics and losses stay f32. Default 'f32'. */
  precision?: Precision;
  /** 'layers' keeps only the input of each block and computes the rest again for its gradient: less memory, the same bits. Default 'none'. */
  checkpoint?: Checkpointing;
  /** Layers below the top that predict the labels too, with the head of the top layer (ILS-SSL, 2112.08778). Default none. */
  intermediateLayers?: readonly number[];
  /**
   * Most frames that a batch has to predict: the top block, but for its attention, and the head compute so many rows, not all. Frames to
   * predict have a label and are valid and, without `unmasked`, masked. Default: all frames of the batch shape. See {@link predictedFrames}.
   */
  predictedFrames?: number;
}

/** The masked frames of a batch, rounded up to a sixteenth of all: `predictedFrames` of a step, so that few programs are compiled. */
export function predictedFrames(mask: Uint8Array): number {
  const masked = mask.reduce((sum, m) => sum + Number(m !== 0), 0);
  const sixteenths = Math.ceil((16 * Math.max(1, masked)) / mask.length);
  return Math.ceil((sixteenths * mask.length) / 16);
}

export class PretrainStep extends Step {
  private readonly unmasked: boolean;
  private readonly precision: Precision;
  private readonly checkpoint: Checkpointing;
  private readonly intermediateLayers: readonly number[];
  private readonly predictedFrames: number | undefined;

  constructor(model: HubertModel, shape: BatchShape & PretrainStepOptions) {
    super(model, shape);
    const all = shape.batch * this.frames;
    const { predictedFrames: most } = shape;
    if (most !== undefined && !(Number.isInteger(most) && most >= 1 && most <= all))
      throw new HubertkitError('HK_ARGUMENT', `predictedFrames must be a whole number from 1 to ${all}, got ${most}.`);
    this.predictedFrames = most;
    this.unmasked = shape.unmasked ?? false;
    this.checkpoint = shape.checkpoint ?? 'none';
    this.intermediateLayers = shape.intermediateLayers ?? [];
    this.precision = checkedPrecision(shape.precision ?? 'f32', model.device);
  }

  /** Throws HK_ARGUMENT when more frames are to be predicted than the step was made for. */
  async run(input: MaskedInput, options: PretrainOptions): Promise<MaskedLosses & { update?: UpdateResult }> {
    const program = await this.ready();
    const { weights, update } = options;
    const feeds = {
      ...this.speech(input),
      ...(this.predictedFrames !== undefined && this.topFeeds(input, this.predictedFrames)),
      labels: input.labels,
      mask: input.mask,
      'loss weights': Float32Array.of(weights.masked, 0, 0, weights.unmasked ?? 0, 0, 0),
      ...(this.model.config.frontEnd === 'waveform' && { 'penalty weight': Float32Array.of(weights.penalty ?? 0) }),
      ...optimiserFeeds(this.model, update),
    };
    const gates: Record<string, boolean> = { [updateGate]: update !== undefined };
    if (this.model.config.layerDrop > 0)
      options.openLayers?.forEach((open, i) => {
        gates[layerGate(i + 1)] = open;
      });
    const { seed, draw, profile } = options;
    const results = await program.run(feeds, { seed, draw, gates, profile });
    return { ...maskedLosses(results, this.intermediateLayers), update: updateResult(update, results.update) };
  }

  protected build(): Graph {
    const { model, shape, precision, checkpoint } = this;
    const g = new Graph(true, { precision });
    const rows = this.predictedFrames;
    const topFrames = rows === undefined ? undefined : g.feed('top frames', [rows], 'i32');
    const { features, states, lengths, mask, frames } = hubert(g, shape, model.config, { checkpoint, topFrames });
    const whole = { labels: g.feed('labels', [shape.batch, frames], 'i32'), mask, lengths };
    const top =
      rows === undefined
        ? whole
        : {
            labels: g.feed('top labels', [1, rows], 'i32'),
            mask: g.feed('top mask', [1, rows], 'u8'),
            lengths: g.feed('top length', [1], 'i32'),
          };
    const predict = (layer: number, x = whole) =>
      predictionHead(states[layer], x.labels, x.mask, x.lengths, model.config, model.clusters, this.unmasked);
    const sums = predict(model.config.layers, top);
    const weights = g.feed('loss weights', [6]);
    const seeds: [Tensor, Tensor][] = [[sums, weights]];
    for (const layer of this.intermediateLayers) {
      const middle = predict(layer);
      seeds.push([middle, weights]);
      g.output(sumsOf(layer), middle);
    }
    const penalty = featurePenalty(features, model.config);
    if (penalty) {
      seeds.push([penalty, g.feed('penalty weight', [1])]);
      g.output('penalty', penalty);
    }
    g.output('sums', sums);
    g.backward(seeds);
    addOptimiser(g, model);
    return g;
  }

  /**
   * Where the frames to predict are, and what is known of them; rows that are left over have no label. Arrays that are missing are left to
   * the program.
   */
  private topFeeds(input: Partial<MaskedInput>, rows: number): Record<string, TypedArray> {
    const { labels = [], mask = [], frameLengths = [] } = input;
    const wanted: number[] = [];
    for (let b = 0; b < frameLengths.length; b++)
      for (let i = b * this.frames; i < b * this.frames + Math.min(this.frames, frameLengths[b]); i++)
        if ((this.unmasked || mask[i]) && labels[i] >= 0) wanted.push(i);
    if (wanted.length > rows)
      throw new HubertkitError(
        'HK_ARGUMENT',
        `The batch has ${wanted.length} frames to predict, the step was made for at most ${rows} (predictedFrames).`,
      );
    const padded = <T extends TypedArray>(array: T, value: (frame: number) => number) => {
      array.set(wanted.map(value));
      return array;
    };
    return {
      'top frames': padded(new Int32Array(rows).fill(-1), (frame) => frame),
      'top labels': padded(new Int32Array(rows).fill(-1), (frame) => labels[frame]),
      'top mask': padded(new Uint8Array(rows), (frame) => mask[frame]),
      'top length': Int32Array.of(rows),
    };
  }
}

export class EvalStep extends Step {
  async run(input: MaskedInput): Promise<MaskedLosses> {
    const program = await this.ready();
    return maskedLosses(await program.run({ ...this.speech(input), labels: input.labels, mask: input.mask }));
  }

  protected build(): Graph {
    const { model, shape } = this;
    const g = new Graph(false);
    const { features, states, lengths, mask, frames } = hubert(g, shape, model.config);
    const labels = g.feed('labels', [shape.batch, frames], 'i32');
    g.output(
      'sums',
      predictionHead(states[model.config.layers], labels, mask, lengths, model.config, model.clusters, true),
    );
    const penalty = featurePenalty(features, model.config);
    if (penalty) g.output('penalty', penalty);
    return g;
  }
}

export class ExtractStep extends Step {
  constructor(
    model: HubertModel,
    shape: BatchShape,
    private readonly layers: number[],
  ) {
    super(model, shape);
  }

  /** Hidden states [B*T*D] by layer. */
  async run(input: SpeechInput): Promise<Map<number, Float32Array>> {
    const program = await this.ready();
    const results = await program.run({ ...this.speech(input), mask: this.noMask() });
    return new Map(this.layers.map((layer) => [layer, results[`layer ${layer}`] as Float32Array]));
  }

  protected build(): Graph {
    const g = new Graph(false);
    const { states } = hubert(g, this.shape, this.model.config, { depth: Math.max(...this.layers) });
    for (const layer of this.layers) g.output(`layer ${layer}`, states[layer]);
    return g;
  }
}

export class AssignStep extends Step {
  constructor(
    model: HubertModel,
    shape: BatchShape,
    private readonly options: { layer: number; clusters: number },
  ) {
    super(model, shape);
  }

  /** Labels [B*T] by `centroids` [clusters * D]; frames past a row's length are -1. */
  async run(input: SpeechInput, centroids: Float32Array): Promise<Int32Array> {
    const program = await this.ready();
    const results = await program.run({ ...this.speech(input), mask: this.noMask(), centroids });
    const labels = results.labels as Int32Array;
    for (let b = 0; b < this.shape.batch; b++)
      labels.fill(-1, b * this.frames + input.frameLengths[b], (b + 1) * this.frames);
    return labels;
  }

  protected build(): Graph {
    const { layer, clusters } = this.options;
    const g = new Graph(false);
    const { states } = hubert(g, this.shape, this.model.config, { depth: layer });
    g.output(
      'labels',
      kmeansAssign(states[layer], g.feed('centroids', [clusters, this.model.config.hiddenSize])).labels,
    );
    return g;
  }
}

export interface CtcInput extends SpeechInput {
  /** [B * targetLength], 0 where padded. */
  targets: Int32Array;
  targetLengths: Int32Array;
  /** Frames replaced by the mask embedding [B*T]; none by default. */
  timeMask?: Uint8Array;
  /** Channels set to zero [B*D]; none by default. */
  channelMask?: Uint8Array;
}

/**
 * Throws HK_ARGUMENT for a row that CTC cannot take: the op refuses it only on the CPU, on a GPU its loss would be NaN. Arrays that are
 * missing or of another type are left to the program.
 */
function checkCtcRows(input: CtcInput, limits: { frames: number; targetLength: number; vocabulary: number }): void {
  const { frames, targetLength, vocabulary } = limits;
  const check = (what: string, value: number | undefined, lowest: number, highest: number) => {
    if (value !== undefined && !(value >= lowest && value <= highest))
      throw new HubertkitError('HK_ARGUMENT', `CTC: ${what} must lie in ${lowest}..${highest}, got ${value}.`);
  };
  Array.from(input.targetLengths ?? []).forEach((length, row) => {
    check(`frameLengths[${row}]`, input.frameLengths?.[row], 0, frames);
    check(`targetLengths[${row}]`, length, 0, targetLength);
    for (let i = 0; i < length; i++)
      check(`targets[${row}, ${i}]`, input.targets?.[row * targetLength + i], 1, vocabulary - 1);
  });
}

export class CtcStep extends Step {
  private readonly targetLength: number;

  constructor(
    model: HubertModel,
    shape: BatchShape & { targetLength: number },
    private readonly frozen: string[],
  ) {
    super(model, shape);
    this.targetLength = shape.targetLength;
  }

  /** `weight`: what each row's loss weighs in the objective (default 1 / rows). Returns the loss of each row in nats. */
  async run(
    input: CtcInput,
    options: StepOptions & { weight?: number; openLayers?: boolean[] },
  ): Promise<{ loss: Float32Array; update?: UpdateResult }> {
    const program = await this.ready();
    const { model, shape, frames, targetLength } = this;
    checkCtcRows(input, { frames, targetLength, vocabulary: model.vocabulary });
    const isFrozen = (name: string) => this.isFrozen(name) || (options.update?.frozen?.(name) ?? false);
    const update = options.update && { ...options.update, frozen: isFrozen };
    const feeds = {
      ...this.speech(input),
      mask: input.timeMask ?? this.noMask(),
      channels: input.channelMask ?? new Uint8Array(shape.batch * model.config.hiddenSize),
      targets: input.targets,
      targetLengths: input.targetLengths,
      'loss weights': new Float32Array(shape.batch).fill(options.weight ?? 1 / shape.batch),
      ...optimiserFeeds(model, update),
    };
    const gates: Record<string, boolean> = { [updateGate]: update !== undefined };
    if (model.config.layerDrop > 0)
      options.openLayers?.forEach((open, i) => {
        gates[layerGate(i + 1)] = open;
      });
    const results = await program.run(feeds, { seed: options.seed, draw: options.draw, gates });
    return { loss: results.loss as Float32Array, update: updateResult(update, results.update) };
  }

  protected build(): Graph {
    const { model, shape } = this;
    const g = new Graph(true, { frozen: (name) => this.isFrozen(name) });
    const { states, lengths } = hubert(g, shape, model.config, { channels: true });
    const logits = ctcHead(states[model.config.layers], model.config, model.vocabulary);
    const targets = g.feed('targets', [shape.batch, this.targetLength], 'i32');
    const loss = ctc(logits, lengths, targets, g.feed('targetLengths', [shape.batch], 'i32'));
    g.output('loss', loss);
    g.backward([[loss, g.feed('loss weights', [shape.batch])]]);
    addOptimiser(g, model);
    return g;
  }

  private isFrozen(name: string): boolean {
    return this.frozen.some((prefix) => name.startsWith(prefix));
  }
}

export class LogitsStep extends Step {
  /** Scores of the outputs of each frame [B*T*V] (not normalised; 0: blank) and the most likely one [B*T]. */
  async run(input: SpeechInput): Promise<{ logits: Float32Array; path: Int32Array }> {
    const program = await this.ready();
    const { logits, path } = await program.run({ ...this.speech(input), mask: this.noMask() });
    return { logits: logits as Float32Array, path: path as Int32Array };
  }

  protected build(): Graph {
    const { model } = this;
    const g = new Graph(false);
    const { states } = hubert(g, this.shape, model.config);
    const logits = ctcHead(states[model.config.layers], model.config, model.vocabulary);
    g.output('logits', logits);
    g.output('path', argmax(logits));
    return g;
  }
}
