import type { Utterance } from '../../lib/data/types';
import {
  batchesPerEpoch,
  type Bucket,
  cropBuckets,
  fixedBatches,
  labelBatch,
  microBatches,
} from '../../lib/train/batches';
import { pretrainingMasks } from '../../lib/train/masks';

const utterance = (id: string, frames: number): Utterance => ({
  id,
  path: `/audio/${id}.wav`,
  speaker: 'a',
  split: 'train',
  samples: frames * 320 + 80,
});
/** Label of frame i is i, so that a crop shows where it was cut. */
const labelled = (lengths: number[]) =>
  lengths.map((frames, i) => ({
    utterance: utterance(`u${i}`, frames),
    labels: Int32Array.from({ length: frames }, (_, frame) => frame),
  }));
const take = (buckets: Bucket[], seed: number, from: number, count: number) => {
  const source = microBatches(buckets, seed, from);
  return Array.from({ length: count }, () => source.next().value);
};

describe('buckets', () => {
  test('crop to the shortest member, never pad, and stay within the batch', () => {
    const lengths = Array.from({ length: 200 }, (_, i) => 50 + ((i * 37) % 400));
    const buckets = cropBuckets(labelled(lengths), 300, 1000);
    expect(buckets.length).toBeLessThanOrEqual(6);
    expect(buckets.flatMap(({ members }) => members)).toHaveLength(200);
    for (const { frames, batch, samples, members } of buckets) {
      expect(Math.min(300, ...members.map(({ labels }) => labels.length))).toBe(frames);
      expect(batch * frames).toBeLessThanOrEqual(1000);
      expect(samples).toBe(frames * 320 + 80);
    }
    const kept = buckets.reduce((sum, { frames, members }) => sum + frames * members.length, 0);
    const all = lengths.reduce((sum, length) => sum + Math.min(300, length), 0);
    expect(kept / all).toBeGreaterThan(0.85);
  });

  test('two lengths far apart are not cropped at all', () => {
    const buckets = cropBuckets(labelled([100, 100, 400, 400, 400]), 500, 800);
    expect(buckets.map(({ frames, batch }) => [frames, batch])).toEqual([
      [100, 8],
      [400, 2],
    ]);
  });

  test('an utterance longer than a batch is still one row', () => {
    expect(cropBuckets(labelled([900]), 1000, 500)[0].batch).toBe(1);
  });
});

describe('the order', () => {
  const buckets = cropBuckets(labelled([60, 60, 70, 70, 200, 210, 220, 230, 250]), 220, 440);

  test('shows every utterance once an epoch, another order in the next', () => {
    const perEpoch = batchesPerEpoch(buckets);
    const seen = (epoch: number) =>
      take(buckets, 7, epoch * perEpoch, perEpoch).flatMap(({ crops }) => crops.map(({ utterance: { id } }) => id));
    expect(new Set(seen(0)).size).toBe(9);
    expect(new Set(seen(1)).size).toBe(9);
    expect(seen(0)).not.toEqual(seen(1));
  });

  test('is the same from a cursor as from the beginning, and another with another seed', () => {
    const all = take(buckets, 7, 0, 40);
    for (const cursor of [1, 7, 23]) expect(take(buckets, 7, cursor, 10)).toEqual(all.slice(cursor, cursor + 10));
    expect(take(buckets, 8, 0, 40)).not.toEqual(all);
  });

  test('cuts labels with the audio, at random places of whole frames', () => {
    const starts = new Set<number>();
    for (const batch of take(buckets, 7, 0, 200)) {
      const labels = labelBatch(batch);
      batch.crops.forEach(({ start, frames, utterance: { samples } }, row) => {
        expect(labels[row * frames]).toBe(start);
        expect(labels[(row + 1) * frames - 1]).toBe(start + frames - 1);
        expect(320 * (start + frames) + 80).toBeLessThanOrEqual(samples);
        starts.add(start);
      });
    }
    expect(starts.size).toBeGreaterThan(20);
  });

  test('of validation is fixed, with each utterance once from its beginning', () => {
    const crops = fixedBatches(buckets).flatMap((batch) => batch.crops);
    expect(crops.map(({ utterance: { id } }) => id).sort()).toEqual([...Array(9).keys()].map((i) => `u${i}`));
    expect(crops.every(({ start }) => start === 0)).toBe(true);
  });
});

describe('masks', () => {
  const options = { probability: 0.8, length: 10 };
  const rows = (masks: Uint8Array, frames: number) =>
    Array.from({ length: masks.length / frames }, (_, row) => masks.subarray(row * frames, (row + 1) * frames));
  const count = (mask: Uint8Array) => mask.reduce((a, b) => a + b, 0);

  test('cover what the published recipe covers: 56.6 % of 781 frames at p = .8', () => {
    let masked = 0;
    for (let draw = 0; draw < 100; draw++) masked += count(pretrainingMasks(1, 781, options, 1, draw));
    expect(masked / (100 * 781)).toBeGreaterThan(0.555);
    expect(masked / (100 * 781)).toBeLessThan(0.577);
  });

  test('have as many frames in every row, never the last one, and come in spans', () => {
    for (let draw = 0; draw < 50; draw++) {
      const [first, ...others] = rows(pretrainingMasks(6, 120, options, 3, draw), 120);
      for (const row of others) expect(count(row)).toBe(count(first));
      expect([first, ...others].every((row) => row[119] === 0)).toBe(true);
    }
    const one = pretrainingMasks(1, 120, options, 3, 0);
    expect(/(^|0)1{1,9}(0|$)/.test(one.join(''))).toBe(false);
  });

  test('have at least two spans, and are empty where none fits', () => {
    for (let draw = 0; draw < 50; draw++)
      expect(count(pretrainingMasks(1, 40, { probability: 0.05, length: 10 }, 1, draw))).toBeGreaterThan(10);
    expect(count(pretrainingMasks(3, 10, options, 1, 0))).toBe(0);
    expect(count(pretrainingMasks(1, 11, options, 1, 0))).toBe(10);
  });

  test('depend on seed and draw alone', () => {
    const mask = (seed: number, draw: number) => pretrainingMasks(2, 200, options, seed, draw).join('');
    expect(mask(1, 2)).toBe(mask(1, 2));
    expect(mask(1, 2)).not.toBe(mask(1, 3));
    expect(mask(1, 2)).not.toBe(mask(2, 2));
  });
});
