/** Updates: some micro-batches with speech, labels and masks, read while the one before is computed; and what the model does with one. */
import { Philox } from '../data/philox';
import type { HubertModel } from '../nn/model';
import { type MaskedInput, predictedFrames } from '../nn/steps';
import { ahead } from './ahead';
import { type Bucket, labelBatch, type MicroBatch, microBatches } from './batches';
import type { IterationConfig } from './config';
import { pretrainingMasks } from './masks';
import type { Session } from './session';
import { secondsOf, speechBatch } from './speech';
import { addFrames, emptyWindow, type Window } from './window';

export interface LoadedBatch extends MicroBatch {
  input: MaskedInput;
  maskedFrames: number;
  unmaskedFrames: number;
}

export interface Update {
  /** Position of its first micro-batch: numbers its random draws. */
  position: number;
  batches: LoadedBatch[];
  maskedFrames: number;
  unmaskedFrames: number;
  audioSeconds: number;
}

export interface UpdateOutcome {
  /** What it adds to the next line of the log. */
  sums: Window;
  gradientNorm: number;
  /** The gradient was not finite: no parameter has changed. */
  skipped: boolean;
}

const layerDropStream = 0x6c00_0000;

/** Micro-batches of each update. */
export function accumulation({ updateSeconds, batchSeconds }: { updateSeconds: number; batchSeconds: number }): number {
  return Math.max(1, Math.round(updateSeconds / batchSeconds));
}

/** Updates from a position on, without end; the next one is read while the current one is used. */
export function updatesFrom(
  session: Session,
  buckets: Bucket[],
  seed: number,
  position: number,
): AsyncGenerator<Update> {
  return ahead(grouped(microBatches(buckets, seed, position), accumulation(session.config), position), (group) =>
    loadUpdate(session, group.batches, seed, group.position),
  );
}

function* grouped(source: Generator<MicroBatch, never>, count: number, from: number) {
  for (let position = from; ; position += count)
    yield { position, batches: Array.from({ length: count }, () => source.next().value) };
}

async function loadUpdate(session: Session, batches: MicroBatch[], seed: number, position: number): Promise<Update> {
  const loaded = await Promise.all(batches.map((batch, i) => loadBatch(session, batch, seed, position + i)));
  const sum = (value: (b: LoadedBatch) => number) => loaded.reduce((total, b) => total + value(b), 0);
  return {
    position,
    batches: loaded,
    maskedFrames: sum((b) => b.maskedFrames),
    unmaskedFrames: sum((b) => b.unmaskedFrames),
    audioSeconds: sum((b) => secondsOf(b.crops.length * b.shape.frames)),
  };
}

/** What a micro-batch is read with. */
export type BatchSource = Pick<Session, 'speech'> & {
  model: Pick<Session['model'], 'frontEnd'>;
  config: Pick<Session['config'], 'mask'>;
};

/** Reads the speech of a micro-batch and draws its masks. */
export async function loadBatch(
  session: BatchSource,
  batch: MicroBatch,
  seed: number,
  draw: number,
): Promise<LoadedBatch> {
  const { shape, crops } = batch;
  const speech = await speechBatch(session.speech, session.model.frontEnd, crops, shape);
  const mask = pretrainingMasks(shape.batch, shape.frames, session.config.mask, seed, draw);
  mask.fill(0, crops.length * shape.frames);
  const maskedFrames = mask.reduce((sum, masked) => sum + masked, 0);
  const unmaskedFrames = crops.length * shape.frames - maskedFrames;
  return { ...batch, input: { ...speech, labels: labelBatch(batch), mask }, maskedFrames, unmaskedFrames };
}

/**
 * One update: each micro-batch adds its gradient of
 *   maskedWeight * (mean cross-entropy of all masked frames of the update) + unmaskedWeight * (the same of the unmasked)
 *   + penalty * (mean square of the features, batches weighed by their masked frames),
 * the cross-entropies of intermediate layers added to those of the top,
 * the last one applies AdamW. Returns undefined when the caller's signal stopped it before that: then nothing has changed.
 */
export async function runUpdate(
  session: Session,
  model: HubertModel,
  entry: IterationConfig,
  update: Update,
  at: { update: number; learningRate: number },
): Promise<UpdateOutcome | undefined> {
  const { config } = session;
  const { maskedWeight, unmaskedWeight, penalty, intermediateLayers } = config.loss;
  const sums = { ...emptyWindow(), updates: 1, audioSeconds: update.audioSeconds };
  const weights = {
    masked: maskedWeight / Math.max(1, update.maskedFrames),
    unmasked: unmaskedWeight / Math.max(1, update.unmaskedFrames),
  };
  for (const [i, { shape, input, maskedFrames }] of update.batches.entries()) {
    if (session.signal?.aborted) return undefined;
    const draw = update.position + i;
    const { batch, samples } = shape;
    const step = model.pretraining({
      batch,
      samples,
      unmasked: unmaskedWeight > 0,
      precision: config.precision,
      checkpoint: config.checkpoint,
      intermediateLayers,
      predictedFrames: unmaskedWeight > 0 ? undefined : predictedFrames(input.mask),
    });
    const share = maskedFrames / Math.max(1, update.maskedFrames);
    const result = await step.run(input, {
      seed: entry.seed,
      draw,
      weights: { ...weights, penalty: penalty * share },
      openLayers: openLayers(model, entry.seed, draw),
      update: i === update.batches.length - 1 ? optimiserOptions(session, at) : undefined,
    });
    addFrames(sums.masked, result.masked);
    addFrames(sums.unmasked, result.unmasked);
    sums.featurePenalty += share * result.featurePenalty;
    const { masked, unmasked, intermediate, featurePenalty } = result;
    sums.objective +=
      weights.masked * (masked.loss + intermediate.masked) +
      weights.unmasked * (unmasked.loss + intermediate.unmasked) +
      penalty * share * featurePenalty;
    if (!result.update) continue;
    const { gradientNorm, skipped } = result.update;
    return { sums: skipped ? emptyWindow() : { ...sums, gradientNorm }, gradientNorm, skipped };
  }
  return undefined;
}

function optimiserOptions({ config }: Session, { update, learningRate }: { update: number; learningRate: number }) {
  const { eps, weightDecay, clip, betas } = config;
  return { learningRate, step: update, beta1: betas[0], beta2: betas[1], eps, weightDecay, clip };
}

/** LayerDrop: which blocks run, drawn for each micro-batch. */
export function openLayers({ config }: HubertModel, seed: number, draw: number): boolean[] {
  const random = new Philox(seed, draw, layerDropStream);
  return Array.from({ length: config.layers }, () => random.uniform() >= config.layerDrop);
}
