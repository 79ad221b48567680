/**
 * The order of pretraining. Utterances are put into a few buckets by length and cropped to the shortest of their bucket, so that
 * a program is compiled for a few shapes only and nothing is padded. Everything is a function of the seed and of the position:
 * a resumed run continues at its cursor as if it had never stopped.
 */
import { Philox } from '../data/philox';
import type { Utterance } from '../data/types';
import { type Piece, type Shape, shapeOf } from './speech';

/** An utterance with its labels, one cluster for each 20 ms frame. */
export interface Labelled {
  utterance: Utterance;
  labels: Int32Array;
}

export interface Bucket extends Shape {
  members: Labelled[];
}

/** A cropped piece of a labelled utterance. */
export interface Crop extends Piece {
  labels: Int32Array;
}

/** What one native call trains on, before the audio is read. */
export interface MicroBatch {
  shape: Shape;
  crops: Crop[];
}

/** Programs are compiled for so many batch shapes at most. */
const maxBuckets = 6;
const orderStream = 0x6f00_0000;
const cropStream = 0x6300_0000;

/**
 * Sorts by length (at most `maxFrames`) and cuts into at most 6 buckets where cropping loses the fewest frames.
 * @param batchFrames frames of a micro-batch: a bucket has as many rows as fit, at least 1.
 */
export function cropBuckets(labelled: readonly Labelled[], maxFrames: number, batchFrames: number): Bucket[] {
  const length = (l: Labelled) => Math.min(maxFrames, l.labels.length);
  const sorted = [...labelled].sort((a, b) => length(a) - length(b) || (a.utterance.id < b.utterance.id ? -1 : 1));
  const cuts = cheapestCuts(sorted.map(length));
  return cuts.map((begin, i) => {
    const members = sorted.slice(begin, cuts[i + 1]);
    const frames = length(members[0]);
    return { ...shapeOf(Math.max(1, Math.floor(batchFrames / frames)), frames), members };
  });
}

/** Beginnings of the groups of ascending lengths that lose least when each is cut to its first; tried at up to 64 positions. */
function cheapestCuts(lengths: readonly number[]): number[] {
  const places = Math.min(64, lengths.length);
  const begins = Array.from({ length: places }, (_, i) => Math.floor((i * lengths.length) / places));
  const kept = (from: number, to: number) => (to - from) * lengths[from];
  // best[i]: the most frames that the lengths from begins[i] on can keep in g groups
  let best = begins.map((begin) => ({ frames: kept(begin, lengths.length), cuts: [begin] }));
  for (let g = 1; g < maxBuckets; g++) {
    best = begins.map((begin, i) => {
      let choice = best[i];
      for (let j = i + 1; j < places; j++) {
        const frames = kept(begin, begins[j]) + best[j].frames;
        if (frames > choice.frames) choice = { frames, cuts: [begin, ...best[j].cuts] };
      }
      return choice;
    });
  }
  return best[0]?.cuts ?? [];
}

/** Micro-batches of one epoch. */
export function batchesPerEpoch(buckets: readonly Bucket[]): number {
  return buckets.reduce((sum, { members, batch }) => sum + Math.ceil(members.length / batch), 0);
}

/** Micro-batches without end, the first one at position `from`. */
export function* microBatches(buckets: readonly Bucket[], seed: number, from = 0): Generator<MicroBatch, never> {
  const perEpoch = batchesPerEpoch(buckets);
  for (let position = from; ; ) {
    const epoch = Math.floor(position / perEpoch);
    for (const { bucket, members } of epochOrder(buckets, seed, epoch).slice(position % perEpoch)) {
      const random = new Philox(seed, position, cropStream);
      yield { shape: bucket, crops: members.map((member) => crop(member, bucket.frames, random)) };
      position++;
    }
  }
}

/**
 * Each bucket shuffled and cut into batches, the batches of all buckets shuffled. A last batch that is not full is filled from the
 * beginning of its bucket.
 */
function epochOrder(
  buckets: readonly Bucket[],
  seed: number,
  epoch: number,
): { bucket: Bucket; members: Labelled[] }[] {
  const batches = buckets.flatMap((bucket, b) => {
    const order = new Philox(seed, epoch, orderStream + 1 + b).shuffle([...bucket.members]);
    return Array.from({ length: Math.ceil(order.length / bucket.batch) }, (_, i) => ({
      bucket,
      members: Array.from({ length: bucket.batch }, (_, row) => order[(i * bucket.batch + row) % order.length]),
    }));
  });
  return new Philox(seed, epoch, orderStream).shuffle(batches);
}

/** A random stretch of whole frames: starts are multiples of 320 samples, so that the labels fit exactly. */
function crop({ utterance, labels }: Labelled, frames: number, random: Philox): Crop {
  const start = random.below(labels.length - frames + 1);
  return { utterance, start, frames, labels: labels.subarray(start, start + frames) };
}

/** The labels of a batch, i32 [batch * frames], -1 where there is no crop. */
export function labelBatch({ shape, crops }: MicroBatch): Int32Array {
  const labels = new Int32Array(shape.batch * shape.frames).fill(-1);
  crops.forEach((one, row) => {
    labels.set(one.labels, row * shape.frames);
  });
  return labels;
}

/** Utterances in order, in batches of their buckets' shapes, cropped at their beginning: the same each time. */
export function fixedBatches(buckets: readonly Bucket[]): MicroBatch[] {
  return buckets.flatMap((shape) =>
    Array.from({ length: Math.ceil(shape.members.length / shape.batch) }, (_, i) => ({
      shape,
      crops: shape.members.slice(i * shape.batch, (i + 1) * shape.batch).map(({ utterance, labels }) => ({
        utterance,
        start: 0,
        frames: shape.frames,
        labels: labels.subarray(0, shape.frames),
      })),
    })),
  );
}
