/** Batches that visit every utterance once and whole: for validation, relabelling and feature extraction. */
import { HubertkitError } from '../errors';
import { assemble, checkLabels, type SpeechBatch } from './batches';
import { type BatchShape, framesOfSeconds, padLengths, shapeOf } from './buckets';
import { drawMask, type MaskOptions } from './masks';
import { hashText, Philox, type Seed } from './philox';
import { frameCount, type Utterance } from './types';
import type { WaveformStore } from './waveforms';

export interface EvalBatchOptions {
  store: WaveformStore;
  /** Audio in a batch, padding included. Above 0. */
  batchSeconds: number;
  /** Longer utterances are split into equal pieces of whole frames. Default 30. */
  maxSeconds?: number;
  /** Different row lengths, each a program to compile. Default 6. */
  buckets?: number;
  /** Labels at 50 Hz, as for pretraining. Absent: -1. */
  labels?: (id: string) => Int32Array | undefined;
  /** Masks, the same each time for the same seed. Absent: nothing is masked. */
  mask?: MaskOptions & { seed: Seed };
  /** Batches prepared ahead. Default 2. */
  depth?: number;
}

/** Where the speech of an utterance, or a part of it, lies in a batch. */
export interface Piece {
  utterance: Utterance;
  row: number;
  /** The first frame of the utterance that is in the row (0 but for the later pieces of a long one). */
  first: number;
  /** Valid frames: the row holds frames first .. first + frames - 1 of the utterance. */
  frames: number;
}

export interface EvalBatch extends SpeechBatch {
  /** In the order of their rows; fewer than rows in a last batch. Other rows are silent, with frameLengths 1 and no labels. */
  pieces: Piece[];
}

interface Part {
  utterance: Utterance;
  first: number;
  frames: number;
  last: boolean;
}

interface Plan {
  shape: BatchShape;
  parts: Part[];
}

/**
 * Every utterance once, in order of length (not in the given order: see `pieces`), padded with zeros to a few row lengths. Rows are
 * never cropped; an utterance beyond `maxSeconds` is split at frame boundaries, so that its pieces' frames together are its frames.
 * Padding is part of what a group norm over time sees: features of a padded row differ slightly from those of the row alone.
 * Files that cannot be decoded are left out and recorded in the corpus's `skipped`.
 */
export async function* evalBatches(
  utterances: readonly Utterance[],
  options: EvalBatchOptions,
): AsyncGenerator<EvalBatch, void, void> {
  const plans = plan(utterances, options);
  const depth = Math.max(1, options.depth ?? 2);
  const ahead: Promise<EvalBatch>[] = [];
  for (let next = 0; next < plans.length || ahead.length > 0; ) {
    while (next < plans.length && ahead.length < depth) {
      const batch = make(plans[next++], options);
      batch.catch(() => {}); // reported when its turn comes
      ahead.push(batch);
    }
    const batch = await (ahead.shift() as Promise<EvalBatch>);
    if (batch.pieces.length > 0) yield batch;
  }
}

/** The shapes that {@link evalBatches} will give, shortest first. */
export function evalShapes(utterances: readonly Utterance[], options: Omit<EvalBatchOptions, 'store'>): BatchShape[] {
  return [...new Set(plan(utterances, options).map(({ shape }) => shape))];
}

function plan(utterances: readonly Utterance[], options: Omit<EvalBatchOptions, 'store'>): Plan[] {
  const { batchSeconds, maxSeconds = 30, buckets = 6 } = options;
  if (!(batchSeconds > 0)) {
    throw new HubertkitError('HK_ARGUMENT', `batchSeconds is ${batchSeconds}, expected a number above 0.`);
  }
  const most = framesOfSeconds(maxSeconds, 'maxSeconds');
  const parts = utterances.flatMap((utterance) => split(utterance, most));
  parts.sort((a, b) => a.frames - b.frames || (a.utterance.id < b.utterance.id ? -1 : 1));
  const plans: Plan[] = [];
  let at = 0;
  for (const length of padLengths(
    parts.map(({ frames }) => frames),
    buckets,
  )) {
    let end = at;
    while (end < parts.length && parts[end].frames <= length) end++;
    const fitting = shapeOf(length, batchSeconds);
    const shape = { ...fitting, batch: Math.min(fitting.batch, end - at) };
    for (; at < end; at += shape.batch) plans.push({ shape, parts: parts.slice(at, Math.min(end, at + shape.batch)) });
    at = end;
  }
  return plans;
}

/** Equal parts of at most `most` frames. */
function split(utterance: Utterance, most: number): Part[] {
  const frames = frameCount(utterance.samples);
  const count = Math.ceil(frames / most);
  const bounds = Array.from({ length: count + 1 }, (_, i) => Math.round((i * frames) / count));
  return Array.from({ length: count }, (_, i) => {
    return { utterance, first: bounds[i], frames: bounds[i + 1] - bounds[i], last: i === count - 1 };
  });
}

async function make({ shape, parts }: Plan, options: EvalBatchOptions): Promise<EvalBatch> {
  const { store } = options;
  const loaded = await Promise.all(parts.map(({ utterance }) => store.tryLoad(utterance)));
  const rows: Parameters<typeof assemble>[1][number][] = [];
  const pieces: Piece[] = [];
  for (const [i, speech] of loaded.entries()) {
    if (!speech) continue;
    const { utterance, first, last } = parts[i];
    const whole = store.frames(speech);
    const labels = options.labels && checkLabels(utterance.id, options.labels(utterance.id), whole);
    const available = Math.min(whole, labels?.length ?? whole) - first;
    const frames = Math.min(available, last ? shape.frames : parts[i].frames);
    if (frames <= 0) continue;
    pieces.push({ utterance, row: rows.length, first, frames });
    rows.push({ speech, labels, start: first, frames });
  }
  const batch = assemble(shape, rows, store.mel);
  for (const { utterance, row, first } of options.mask ? pieces : []) {
    const random = new Philox(options.mask?.seed ?? 0, first, hashText(`mask ${utterance.id}`));
    batch.mask.set(drawMask(batch.frameLengths[row], options.mask ?? {}, random), row * shape.frames);
  }
  return { ...batch, pieces };
}
