/**
 * Batches of whole utterances. Utterances of similar length share a bucket, a bucket has one shape (a program is compiled once
 * for each shape), audio is padded to the bucket's length and never cropped.
 */
import { Philox } from '../data/philox';
import { frameSamples, frameStride, sampleRate } from '../data/types';
import type { Example } from './examples';

export interface Bucket {
  /** Rows of a batch. */
  batch: number;
  /** Padded length in samples: a whole number of frames. */
  samples: number;
  frames: number;
  examples: Example[];
}

export interface Batch {
  bucket: Bucket;
  examples: Example[];
}

/** Buckets must not multiply programs: at most this many shapes. */
const maxBuckets = 4;

/**
 * Sorts examples by length and cuts them where the padding is least: dynamic programming over at most 4 buckets, each padded to
 * its longest utterance. A batch has at most `batchSeconds` of padded audio, and at least one utterance.
 */
export function lengthBuckets(examples: readonly Example[], batchSeconds: number): Bucket[] {
  const sorted = [...examples].sort((a, b) => a.frames - b.frames || (a.utterance.id < b.utterance.id ? -1 : 1));
  const cuts = cheapestCuts(
    sorted.map((e) => e.frames),
    maxBuckets,
  );
  const buckets: Bucket[] = [];
  for (let i = 0; i < cuts.length; i++) {
    const members = sorted.slice(i === 0 ? 0 : cuts[i - 1], cuts[i]);
    const frames = members[members.length - 1].frames;
    const samples = frames * frameStride + (frameSamples - frameStride);
    const fitting = Math.max(1, Math.floor((batchSeconds * sampleRate) / samples));
    buckets.push({ batch: Math.min(fitting, members.length), samples, frames, examples: members });
  }
  return buckets;
}

/**
 * Ends of the groups of sorted lengths that minimise the padded total. Group ends are only tried at up to 64 evenly spaced
 * positions, so that long lists stay cheap.
 */
function cheapestCuts(lengths: readonly number[], groups: number): number[] {
  const steps = Math.min(64, lengths.length);
  const ends = Array.from({ length: steps }, (_, i) => Math.round(((i + 1) * lengths.length) / steps));
  const cost = (from: number, to: number) => (to - from) * lengths[to - 1];
  let best = ends.map((end) => ({ total: cost(0, end), cuts: [end] }));
  for (let g = 1; g < groups; g++) {
    best = ends.map((end, i) => {
      let choice = best[i];
      for (let j = 0; j < i; j++) {
        const total = best[j].total + cost(ends[j], end);
        if (total < choice.total) choice = { total, cuts: [...best[j].cuts, end] };
      }
      return choice;
    });
  }
  return best[best.length - 1].cuts;
}

/**
 * The batches of one epoch: each bucket shuffled and cut into full batches, the batches of all buckets shuffled. A last batch
 * that is not full is filled from the beginning of its bucket. A function of (seed, epoch) alone, so that runs can be paired
 * and resumed.
 */
export function epochBatches(buckets: readonly Bucket[], seed: number, epoch: number): Batch[] {
  const batches: Batch[] = [];
  buckets.forEach((bucket, b) => {
    const order = new Philox(seed, epoch, b + 1).shuffle([...bucket.examples]);
    for (let start = 0; start < order.length; start += bucket.batch) {
      const rows = Array.from({ length: bucket.batch }, (_, i) => order[(start + i) % order.length]);
      batches.push({ bucket, examples: rows });
    }
  });
  return new Philox(seed, epoch, 0).shuffle(batches);
}

/** Batches without end, starting before update `from` (0-based): epoch after epoch. */
export function* batchStream(buckets: readonly Bucket[], seed: number, from = 0): Generator<Batch> {
  const perEpoch = buckets.reduce((sum, bucket) => sum + Math.ceil(bucket.examples.length / bucket.batch), 0);
  for (let epoch = Math.floor(from / perEpoch), skip = from % perEpoch; ; epoch++, skip = 0) {
    yield* epochBatches(buckets, seed, epoch).slice(skip);
  }
}

/** Every example exactly once, longest bucket last; the rows of a last batch may be fewer than the bucket's. */
export function evaluationBatches(buckets: readonly Bucket[]): Batch[] {
  const batches: Batch[] = [];
  for (const bucket of buckets) {
    for (let start = 0; start < bucket.examples.length; start += bucket.batch) {
      batches.push({ bucket, examples: bucket.examples.slice(start, start + bucket.batch) });
    }
  }
  return batches;
}
