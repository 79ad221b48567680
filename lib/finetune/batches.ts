/** The order of training: batches of whole utterances, epoch after epoch. Audio is padded, never cropped under a transcript. */
import type { Bucket } from '../analysis/speech';
import { Philox } from '../data/philox';
import type { Example } from './examples';

export interface Batch {
  bucket: Bucket<Example>;
  /** As many as the bucket has rows. */
  examples: Example[];
}

/**
 * The batches of one epoch: each bucket shuffled and cut into full batches, the batches of all buckets shuffled. A last batch
 * that is not full is filled from the beginning of its bucket. A function of (seed, epoch) alone, so that runs can be paired
 * and resumed.
 */
export function epochBatches(buckets: readonly Bucket<Example>[], seed: number, epoch: number): Batch[] {
  const batches: Batch[] = [];
  buckets.forEach((bucket, b) => {
    const order = new Philox(seed, epoch, b + 1).shuffle([...bucket.members]);
    for (let start = 0; start < order.length; start += bucket.batch) {
      const examples = Array.from({ length: bucket.batch }, (_, i) => order[(start + i) % order.length]);
      batches.push({ bucket, examples });
    }
  });
  return new Philox(seed, epoch, 0).shuffle(batches);
}

/** Batches without end, the first one that of update `from` + 1: epoch after epoch. */
export function* batchStream(buckets: readonly Bucket<Example>[], seed: number, from = 0): Generator<Batch, never> {
  const perEpoch = buckets.reduce((sum, bucket) => sum + Math.ceil(bucket.members.length / bucket.batch), 0);
  for (let epoch = Math.floor(from / perEpoch), skip = from % perEpoch; ; epoch++, skip = 0) {
    yield* epochBatches(buckets, seed, epoch).slice(skip);
  }
}
