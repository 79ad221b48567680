/**
 * Fine-tuning with CTC over characters (wav2vec 2.0, 2006.11477, section 4.3; HuBERT, 2106.07447, section IV-C): a new linear
 * head on the top layer, the convolutions frozen, everything else trained under a tri-stage schedule with time and channel
 * masks, greedy WER on dev all along, the best update kept.
 *
 * Folder of a variant: config.yaml, metrics.jsonl (a line for each evaluation), model/ (the best), dev.jsonl and test.jsonl
 * (a line for each utterance), result.json (written last: the variant is finished when it exists).
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import * as yaml from 'yaml';
import { CrossMoments, ckaFromMoments } from '../analysis/cka';
import { concatenated } from '../analysis/layer-features';
import { type Bucket, batchesOf, lengthBuckets, SpeechSource } from '../analysis/speech';
import { toHubertkitError, wrappedAsync } from '../binding';
import { audioReason } from '../data/audio';
import { openCorpus } from '../data/corpus';
import { Philox } from '../data/philox';
import { sampleRate } from '../data/types';
import { HubertkitError } from '../errors';
import { readJson, readJsonLines, writeFileAtomic, writeJsonAtomic, writeJsonLines } from '../formats/atomic';
import type { HubertConfig } from '../nn/config';
import type { HubertModel } from '../nn/model';
import type { CtcInput } from '../nn/steps';
import { ahead } from '../train/ahead';
import { firstDifference } from '../train/config';
import { hasRun, openRun } from '../train/run';
import { triStageSchedule } from '../train/schedule';
import { secondsOf } from '../train/speech';
import { type Batch, batchStream } from './batches';
import { CharacterVocabulary } from './characters';
import { type FinetuneConfig, type FinetuneOptions, resolveFinetuneConfig, variantName } from './config';
import { cerCurve, meanHeight, updatesToReach, werCurve } from './curve';
import { type Evaluation, evaluate, evaluationBuckets, type Hypothesis } from './evaluate';
import { type Example, type ExampleReport, labelBudget, prepareExamples } from './examples';
import { Lexicon } from './lexicon';
import { channelMasks, timeMasks } from './masks';
import { Snapshot } from './snapshot';
import { fineTuningSplits, type Splits } from './splits';
import { frozenPrefixes, startingModel } from './starting-model';
import type { ErrorCounts } from './wer';

/** One line of metrics.jsonl: an evaluation on the dev subset of the curve. wallSeconds is the only field that depends on the machine. */
export interface FinetunePoint {
  update: number;
  /** CTC loss in nats for each target symbol, mean since the line before; absent at update 0. */
  loss?: number;
  wer: number;
  cer: number;
  blankRate: number;
  learningRate?: number;
  /** Before clipping, mean since the line before. */
  gradientNorm?: number;
  skippedSteps: number;
  /** Audio trained on so far, padding not counted. */
  audioSeconds: number;
  wallSeconds: number;
}

/** result.json. WER and CER are fractions. */
export interface FinetuneResult {
  variant: string;
  source: string;
  /** Of a run: the checkpoint's name and where pretraining stood there. */
  checkpoint?: string;
  random: boolean;
  resetTop: number;
  dropTop: number;
  freeze: FinetuneConfig['freeze'];
  freezeUpdates: number;
  labelMinutes: number;
  trainMinutes: number;
  seed: number;
  updates: number;
  /** The update whose weights were kept: lowest WER on the curve (while it is above .9: lowest CER), the earliest of equals. */
  bestUpdate: number;
  /** On all of dev, with the best weights. */
  wer: number;
  cer: number;
  words: ErrorCounts;
  /** WER of dev decoded with the words of the training transcripts and their frequencies (see Lexicon), and their number. */
  lexiconWer: number;
  lexiconWords: number;
  blankRate: number;
  /** On test; absent when the corpus has none. */
  testWer?: number;
  testLexiconWer?: number;
  testCer?: number;
  testWords?: ErrorCounts;
  tau: number;
  /** Updates until the curve's WER is at most tau; null: never (censored at `updates`). */
  updatesToTau: number | null;
  /** Mean WER of the curve over updates, and over log(1 + update); a WER above 1 counts as 1. */
  auc: number;
  aucLog: number;
  /** Mean CER of the curve over updates. */
  aucCer: number;
  /** Linear CKA (debiased) of each layer 0..L before and after fine-tuning, on the dev subset of the curve. */
  ckaToStart: number[];
  data: Record<'train' | 'dev', ExampleReport> & { test?: ExampleReport };
  audioSeconds: number;
  skippedSteps: number;
  wallSeconds: number;
}

export interface FinetuneProgress {
  variant: string;
  update: number;
  updates: number;
  point?: FinetunePoint;
}

export interface FinetuneHooks {
  /** The variant's folder. Default: finetune/<variant> in the run, or beside the model folder. */
  out?: string;
  onProgress?: (progress: FinetuneProgress) => void;
  /** Stops after the update under way; what was done is kept and continued by the next call. */
  signal?: AbortSignal;
  /** Shared by several variants, so that audio is decoded once; asked for only when there is something to train. */
  corpus?: () => Promise<FinetuneCorpus>;
}

/** A corpus made ready for fine-tuning. */
export interface FinetuneCorpus {
  examples: Splits<Example>;
  reports: FinetuneResult['data'];
  vocabulary: CharacterVocabulary;
  speech: SpeechSource;
}

/** What one variant takes of it: as much as its label budget allows, and the words of that. */
interface TuningCorpus extends FinetuneCorpus {
  lexicon: Lexicon;
}

/** How often a fine-tuning that takes long can be resumed from, in seconds of wall time. */
const checkpointSeconds = 300;

/**
 * Fine-tunes one variant, or returns the result of one that is finished. Interrupted ones continue from their last checkpoint
 * (one is written every 5 minutes and when `signal` stops them) or, without one, from the start.
 *
 * @throws HK_CONFIG, HK_CORPUS (see prepareExamples), HK_MISMATCH when the folder holds another configuration, HK_INTERRUPTED
 */
export async function finetune(options: FinetuneOptions, hooks: FinetuneHooks = {}): Promise<FinetuneResult> {
  const { config, source } = await resolveSource(options);
  const variant = variantName(config);
  const folder = hooks.out ?? path.join(config.source, hasRun(config.source) ? '' : '..', 'finetune', variant);
  const finished = await claimFolder(folder, config);
  if (finished) return finished;
  const whole = await (hooks.corpus?.() ?? finetuneCorpus(config, source.model));
  const corpus = withBudget(whole, config.labelMinutes);
  await wrappedAsync((n) => n.setThreads(config.threads || os.availableParallelism()));
  const model = await startingModel(source.folder, corpus.vocabulary.size, config);
  await using tuning = new Tuning(folder, variant, config, corpus, model, hooks);
  await tuning.begin();
  while (tuning.update < config.updates) await tuning.advance();
  return await tuning.finish(source.checkpoint);
}

/** The configuration with its defaults, and where the pretrained network is. */
export async function resolveSource(options: FinetuneOptions): Promise<{
  config: FinetuneConfig;
  source: { folder: string; model: HubertConfig; checkpoint?: string };
}> {
  const { source, checkpoint = 'latest' } = options;
  if (!hasRun(source)) {
    const model = (await readJson<{ config: HubertConfig }>(path.join(source, 'model.json'))).config;
    return { config: resolveFinetuneConfig(options, model), source: { folder: source, model } };
  }
  const run = openRun(source);
  const found = run.checkpoint(checkpoint);
  const model = (await readJson<{ config: HubertConfig }>(path.join(found.folder, 'model.json'))).config;
  const { corpus, device, threads } = run.config;
  const config = resolveFinetuneConfig({ corpus, device, threads, ...options, checkpoint: found.name }, model);
  return { config, source: { folder: found.folder, model, checkpoint: found.name } };
}

/** Opens the corpus and makes its transcripts targets; a label budget does not matter yet. */
export async function finetuneCorpus(o: FinetuneConfig, model: HubertConfig): Promise<FinetuneCorpus> {
  const vocabulary = new CharacterVocabulary(o.letters);
  const corpus = await openCorpus(o.corpus);
  const splits = fineTuningSplits(corpus.utterances, o);
  const train = prepareExamples(splits.train, vocabulary, `the training split of ${o.corpus}`);
  const dev = prepareExamples(splits.dev, vocabulary, `the dev split of ${o.corpus}`);
  const transcribed = splits.test.some((u) => u.transcript !== undefined);
  const test = transcribed ? prepareExamples(splits.test, vocabulary, `the test split of ${o.corpus}`) : undefined;
  const speech = new SpeechSource(model);
  for (const { examples, report } of [train, dev, ...(test ? [test] : [])]) {
    report.unreadable = await removeUnreadable(examples, speech);
  }
  return {
    examples: { train: train.examples, dev: dev.examples, test: test?.examples ?? [] },
    reports: { train: train.report, dev: dev.report, ...(test && { test: test.report }) },
    vocabulary,
    speech,
  };
}

function withBudget(corpus: FinetuneCorpus, labelMinutes: number): TuningCorpus {
  const { examples, vocabulary } = corpus;
  const train = labelMinutes > 0 ? labelBudget(examples.train, labelMinutes, 0) : examples.train;
  const texts = train.map(({ text }) => text);
  return { ...corpus, examples: { ...examples, train }, lexicon: new Lexicon(texts, vocabulary) };
}

/** Decodes everything once and takes out what cannot be: bad audio never stops a run. Returns them with their reasons. */
async function removeUnreadable(
  examples: Example[],
  speech: SpeechSource,
): Promise<{ path: string; reason: string }[]> {
  const bad = new Map<Example, string>();
  const read = async (example: Example) => {
    try {
      await speech.load(example.utterance);
    } catch (error) {
      const { code, message } = toHubertkitError(error);
      if (code !== 'HK_AUDIO') throw error;
      bad.set(example, message);
    }
  };
  for await (const _ of ahead(examples, read));
  const kept = examples.filter((example) => !bad.has(example));
  examples.splice(0, examples.length, ...kept);
  return [...bad].map(([{ utterance }, reason]) => ({
    path: utterance.path,
    reason: audioReason(utterance.path, { message: reason }),
  }));
}

/** Writes config.yaml, or checks that it is the same where something was done already; the result when there is one. */
async function claimFolder(folder: string, config: FinetuneConfig): Promise<FinetuneResult | undefined> {
  const file = path.join(folder, 'config.yaml');
  if (!fs.existsSync(file) || !fs.existsSync(path.join(folder, 'metrics.jsonl'))) {
    await writeFileAtomic(file, yaml.stringify(config));
    return undefined;
  }
  const difference = firstDifference(comparable(config), comparable(yaml.parse(fs.readFileSync(file, 'utf8'))));
  if (difference !== undefined) {
    throw new HubertkitError(
      'HK_MISMATCH',
      `${folder} holds a fine-tuning with another configuration: "${difference}" differs. Remove the folder or choose another one.`,
    );
  }
  const result = path.join(folder, 'result.json');
  return fs.existsSync(result) ? readJson<FinetuneResult>(result) : undefined;
}

/** Threads may change between resumes, and a path may be written otherwise. */
const comparable = (config: FinetuneConfig) => ({ ...config, threads: 0, source: path.resolve(config.source) });

/** What a resume needs beside the weights. */
interface TuningState {
  update: number;
  points: number;
  best?: { update: number; wer: number; cer: number };
  window: Window;
  audioSeconds: number;
  skippedSteps: number;
  wallSeconds: number;
}

/** Sums since the last evaluation. */
interface Window {
  loss: number;
  symbols: number;
  gradientNorm: number;
  updates: number;
}

const emptyWindow = (): Window => ({ loss: 0, symbols: 0, gradientNorm: 0, updates: 0 });
const layerDropStream = 0x7300_0000;

/** One fine-tuning under way. */
class Tuning implements AsyncDisposable {
  update = 0;
  private points: FinetunePoint[] = [];
  private best: TuningState['best'];
  private bestWeights: Snapshot | undefined;
  private window = emptyWindow();
  private audioSeconds = 0;
  private skippedSteps = 0;
  private wallSeconds = 0;
  private lastClock = performance.now();
  private lastCheckpoint = performance.now();
  private start: Map<number, Float32Array> | undefined;
  private stream: Generator<Batch, never> | undefined;
  private upcoming: Promise<Prepared> | undefined;
  private readonly buckets: Bucket<Example>[];
  private readonly curve: Bucket<Example>[];
  private readonly targetLength: number;
  private readonly learningRate: (update: number) => number;

  constructor(
    private readonly folder: string,
    private readonly variant: string,
    private readonly o: FinetuneConfig,
    private readonly corpus: TuningCorpus,
    private readonly model: HubertModel,
    private readonly hooks: FinetuneHooks,
  ) {
    this.buckets = lengthBuckets(corpus.examples.train, o.batchSeconds);
    this.curve = evaluationBuckets(labelBudget(corpus.examples.dev, o.curveSeconds / 60, 0));
    this.targetLength = Math.max(...corpus.examples.train.map((example) => example.targets.length));
    this.learningRate = triStageSchedule({
      peak: o.learningRate,
      updates: o.updates,
      phases: o.phases,
      finalScale: o.finalScale,
    });
  }

  /** Features before anything is learnt, then the last checkpoint, or the evaluation of update 0. */
  async begin(): Promise<void> {
    this.start = await this.features();
    if (fs.existsSync(path.join(this.checkpointFolder, 'DONE'))) await this.resume();
    else await this.evaluateNow();
    this.stream = batchStream(this.buckets, this.o.seed, this.update);
    this.prepareNext();
  }

  /** One update, and what is due after it. */
  async advance(): Promise<void> {
    const { o, model } = this;
    if (this.hooks.signal?.aborted) await this.stop();
    this.update++;
    const { input, bucket, openLayers, symbols } = await this.upcoming!;
    if (this.update < o.updates) this.prepareNext();
    const phase = this.update <= o.freezeUpdates ? 'freeze' : 'train';
    const step = model.ctc(
      { batch: bucket.batch, samples: bucket.samples, targetLength: this.targetLength },
      { frozen: frozenPrefixes(o, model.config, phase) },
    );
    const [beta1, beta2] = o.betas;
    const { loss, update } = await step.run(input, {
      seed: o.seed,
      draw: this.update,
      openLayers,
      update: {
        learningRate: this.learningRate(this.update),
        step: this.update,
        beta1,
        beta2,
        eps: o.eps,
        weightDecay: o.weightDecay,
        clip: o.clip,
      },
    });
    this.audioSeconds += secondsOf(input.frameLengths.reduce((sum, length) => sum + length, 0));
    if (update!.skipped) this.skippedSteps++;
    else {
      this.window.loss += loss.reduce((sum, value) => sum + value, 0);
      this.window.symbols += symbols;
      this.window.gradientNorm += update!.gradientNorm;
      this.window.updates++;
    }
    if (this.evaluationDue()) await this.evaluateNow();
    else this.hooks.onProgress?.({ variant: this.variant, update: this.update, updates: o.updates });
    if (performance.now() - this.lastCheckpoint > checkpointSeconds * 1000) await this.checkpoint();
  }

  /** Best weights, all of dev and test, result.json. */
  async finish(checkpoint?: string): Promise<FinetuneResult> {
    const { o, model, corpus } = this;
    this.bestWeights!.restore(model.store);
    await model.save(path.join(this.folder, 'model'));
    const dev = await this.judge('dev', corpus.examples.dev);
    const test = corpus.examples.test.length > 0 ? await this.judge('test', corpus.examples.test) : undefined;
    const curve = werCurve(this.points);
    const result: FinetuneResult = {
      variant: this.variant,
      source: o.source,
      ...(checkpoint !== undefined && { checkpoint }),
      random: o.random,
      resetTop: o.resetTop,
      dropTop: o.dropTop,
      freeze: o.freeze,
      freezeUpdates: o.freezeUpdates,
      labelMinutes: o.labelMinutes,
      trainMinutes: corpus.examples.train.reduce((sum, e) => sum + e.utterance.samples, 0) / sampleRate / 60,
      seed: o.seed,
      updates: o.updates,
      bestUpdate: this.best!.update,
      wer: dev.wer,
      cer: dev.cer,
      words: dev.words,
      lexiconWer: dev.lexiconWer!,
      lexiconWords: corpus.lexicon.words.length,
      blankRate: dev.blankRate,
      ...(test && {
        testWer: test.wer,
        testLexiconWer: test.lexiconWer,
        testCer: test.cer,
        testWords: test.words,
      }),
      tau: o.tau,
      updatesToTau: updatesToReach(curve, o.tau),
      auc: meanHeight(curve, 'linear'),
      aucLog: meanHeight(curve, 'log'),
      aucCer: meanHeight(cerCurve(this.points), 'linear'),
      ckaToStart: await this.similarityToStart(),
      data: corpus.reports,
      audioSeconds: this.audioSeconds,
      skippedSteps: this.skippedSteps,
      wallSeconds: this.clock(),
    };
    await writeJsonAtomic(path.join(this.folder, 'result.json'), result);
    fs.rmSync(this.checkpointFolder, { recursive: true, force: true });
    return result;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.upcoming?.catch(() => undefined);
    this.model.dispose();
  }

  private async judge(name: 'dev' | 'test', examples: Example[]): Promise<Evaluation> {
    const { model, corpus } = this;
    const evaluation = await evaluate(model, evaluationBuckets(examples), corpus, this.hooks.signal);
    await writeJsonLines(path.join(this.folder, `${name}.jsonl`), evaluation.hypotheses satisfies Hypothesis[]);
    return evaluation;
  }

  /** Begins the next batch while this one is computed; an error of it is thrown where it is awaited. */
  private prepareNext(): void {
    this.upcoming = this.prepare(this.update + 1);
    this.upcoming.catch(() => undefined);
  }

  /** Everything that update `update` is fed with, a function of (seed, update) alone: the same for every variant of a seed. */
  private async prepare(update: number): Promise<Prepared> {
    const { o } = this;
    const { bucket, examples } = this.stream!.next().value;
    const speech = await this.corpus.speech.batch(
      examples.map((example) => example.utterance),
      bucket,
    );
    const targets = new Int32Array(bucket.batch * this.targetLength);
    examples.forEach((example, row) => {
      targets.set(example.targets, row * this.targetLength);
    });
    const channels = this.model.config.hiddenSize;
    const random = new Philox(o.seed, update, layerDropStream);
    return {
      bucket,
      symbols: examples.reduce((sum, example) => sum + example.targets.length, 0),
      openLayers: Array.from({ length: this.model.config.layers }, () => random.uniform() >= o.layerDrop),
      input: {
        ...speech,
        targets,
        targetLengths: Int32Array.from(examples, (example) => example.targets.length),
        timeMask: timeMasks(speech.frameLengths, bucket.frames, o.timeMask, o.seed, update),
        channelMask: channelMasks(bucket.batch, channels, o.channelMask, o.seed, update),
      },
    };
  }

  private evaluationDue(): boolean {
    const { evaluations, updates } = this.o;
    const place = (update: number) => Math.floor((update * evaluations) / updates);
    return place(this.update) > place(this.update - 1);
  }

  private async evaluateNow(): Promise<void> {
    const { o, model, corpus, window } = this;
    const { speech, vocabulary } = corpus;
    const { wer, cer, blankRate } = await evaluate(model, this.curve, { speech, vocabulary });
    const learnt = window.updates > 0 && {
      loss: window.loss / window.symbols,
      learningRate: this.learningRate(this.update),
      gradientNorm: window.gradientNorm / window.updates,
    };
    const point: FinetunePoint = {
      update: this.update,
      ...learnt,
      wer,
      cer,
      blankRate,
      skippedSteps: this.skippedSteps,
      audioSeconds: this.audioSeconds,
      wallSeconds: this.clock(),
    };
    this.points.push(point);
    this.window = emptyWindow();
    await writeJsonLines(path.join(this.folder, 'metrics.jsonl'), this.points);
    if (isBetter({ wer, cer }, this.best)) {
      this.best = { update: this.update, wer, cer };
      this.bestWeights = Snapshot.of(model.store);
    }
    this.hooks.onProgress?.({ variant: this.variant, update: this.update, updates: o.updates, point });
  }

  private clock(): number {
    const now = performance.now();
    this.wallSeconds += (now - this.lastClock) / 1000;
    this.lastClock = now;
    return this.wallSeconds;
  }

  private get checkpointFolder(): string {
    return path.join(this.folder, 'checkpoint');
  }

  private async checkpoint(): Promise<void> {
    const folder = this.checkpointFolder;
    const temporary = `${folder}.tmp`;
    fs.rmSync(temporary, { recursive: true, force: true });
    fs.mkdirSync(temporary, { recursive: true });
    const state: TuningState = {
      update: this.update,
      points: this.points.length,
      best: this.best,
      window: this.window,
      audioSeconds: this.audioSeconds,
      skippedSteps: this.skippedSteps,
      wallSeconds: this.clock(),
    };
    await this.model.save(temporary);
    await this.model.saveOptimizer(path.join(temporary, 'optimizer.safetensors'));
    await this.bestWeights!.save(temporary, this.model.store);
    await writeJsonAtomic(path.join(temporary, 'state.json'), state);
    await writeFileAtomic(path.join(temporary, 'DONE'), '');
    fs.rmSync(folder, { recursive: true, force: true });
    fs.renameSync(temporary, folder);
    this.lastCheckpoint = performance.now();
  }

  private async resume(): Promise<void> {
    const folder = this.checkpointFolder;
    const state = await readJson<TuningState>(path.join(folder, 'state.json'));
    await this.model.loadWeights(path.join(folder, 'model.safetensors'));
    await this.model.loadOptimizer(path.join(folder, 'optimizer.safetensors'));
    this.bestWeights = await Snapshot.load(folder);
    const points = await readJsonLines<FinetunePoint>(path.join(this.folder, 'metrics.jsonl'));
    this.points = points.slice(0, state.points);
    const { update, best, window, audioSeconds, skippedSteps, wallSeconds } = state;
    Object.assign(this, { update, best, window, audioSeconds, skippedSteps, wallSeconds });
  }

  private async stop(): Promise<never> {
    await this.checkpoint();
    throw new HubertkitError(
      'HK_INTERRUPTED',
      `Fine-tuning ${this.variant} was stopped at update ${this.update} of ${this.o.updates}. The same command continues it.`,
    );
  }

  /** Hidden states of every layer on the dev subset of the curve, f32 [frames, D] each; at most 2000 frames. */
  private async features(): Promise<Map<number, Float32Array>> {
    const layers = Array.from({ length: this.model.config.layers + 1 }, (_, layer) => layer);
    const size = this.model.config.hiddenSize;
    const pieces = new Map(layers.map((layer) => [layer, [] as Float32Array[]]));
    let frames = 0;
    for (const { bucket, members } of batchesOf(this.curve)) {
      if (frames >= comparedFrames) break;
      const utterances = members.map((example) => example.utterance);
      const input = await this.corpus.speech.batch(utterances, bucket);
      const states = await this.model.extracting(bucket, { layers }).run(input);
      members.forEach((_, row) => {
        const own = Math.min(input.frameLengths[row], comparedFrames - frames);
        const from = row * bucket.frames * size;
        for (const layer of layers) pieces.get(layer)!.push(states.get(layer)!.slice(from, from + own * size));
        frames += own;
      });
    }
    return new Map(layers.map((layer) => [layer, concatenated(pieces.get(layer)!)]));
  }

  private async similarityToStart(): Promise<number[]> {
    const size = this.model.config.hiddenSize;
    const now = await this.features();
    return [...now].map(([layer, features]) => {
      const [xy, xx, yy] = [0, 1, 2].map(() => new CrossMoments(size, size));
      const before = this.start!.get(layer)!;
      xy.add(before, features);
      xx.add(before, before);
      yy.add(features, features);
      return ckaFromMoments(xy, xx, yy, true);
    });
  }
}

/** Above this WER hardly a word is right, and which one is, is chance. */
const nothingRecognised = 0.9;

/** Lower WER, then lower CER; while hardly a word is right, lower CER alone. */
export function isBetter(a: { wer: number; cer: number }, b: { wer: number; cer: number } | undefined): boolean {
  if (!b) return true;
  const [wa, wb] = [Math.min(a.wer, nothingRecognised), Math.min(b.wer, nothingRecognised)];
  return wa < wb || (wa === wb && a.cer < b.cer);
}

/** Frames that layers are compared on before and after. */
const comparedFrames = 2000;

interface Prepared {
  input: CtcInput;
  bucket: Bucket<Example>;
  openLayers: boolean[];
  symbols: number;
}
