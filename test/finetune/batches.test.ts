import type { Utterance } from '../../lib/data/types';
import { batchesOf, lengthBuckets } from '../../lib/analysis/speech';
import { batchStream, epochBatches } from '../../lib/finetune/batches';
import { CharacterVocabulary } from '../../lib/finetune/characters';
import { type Example, labelBudget, prepareExamples } from '../../lib/finetune/examples';
import { channelMasks, spanMask, timeMasks } from '../../lib/finetune/masks';
import { Philox } from '../../lib/data/philox';

function utterance(id: string, seconds: number, transcript?: string): Utterance {
  return { id, path: `${id}.wav`, speaker: 's', split: 'train', samples: Math.round(seconds * 16000), transcript };
}

function examplesOf(seconds: number[]): Example[] {
  const utterances = seconds.map((s, i) => utterance(`u${String(i).padStart(3, '0')}`, s, 'a'));
  return prepareExamples(utterances, new CharacterVocabulary(), 'the test').examples;
}

const lengths = Array.from({ length: 37 }, (_, i) => 1 + ((i * 7) % 37) / 6);

test('no utterance is longer than its bucket and none is lost', () => {
  const buckets = lengthBuckets(examplesOf(lengths), 16);
  expect(buckets.length).toBeLessThanOrEqual(4);
  expect(buckets.flatMap((b) => b.members)).toHaveLength(37);
  for (const bucket of buckets) {
    expect(Math.max(...bucket.members.map((e) => e.frames))).toBe(bucket.frames);
    expect(bucket.samples).toBe(bucket.frames * 320 + 80);
    expect(bucket.batch * bucket.samples).toBeLessThanOrEqual(16 * 16000);
  }
});

test('buckets waste less than one padded batch would', () => {
  const buckets = lengthBuckets(examplesOf(lengths), 16);
  const padded = buckets.reduce((sum, b) => sum + b.frames * b.members.length, 0);
  const real = buckets.flatMap((b) => b.members).reduce((sum, e) => sum + e.frames, 0);
  expect(padded / real).toBeLessThan(1.2);
});

test('an epoch visits every utterance, the next one in another order, the same seed in the same order', () => {
  const buckets = lengthBuckets(examplesOf(lengths), 16);
  const ids = (epoch: number, seed = 1) =>
    epochBatches(buckets, seed, epoch).map((b) => b.examples.map((e) => e.utterance.id));
  expect(new Set(ids(0).flat()).size).toBe(37);
  expect(ids(0)).toEqual(ids(0));
  expect(ids(0)).not.toEqual(ids(1));
  expect(ids(0)).not.toEqual(ids(0, 2));
  for (const batch of epochBatches(buckets, 1, 0)) expect(batch.examples).toHaveLength(batch.bucket.batch);
});

test('a stream that starts late continues exactly where the first would be', () => {
  const buckets = lengthBuckets(examplesOf(lengths), 16);
  const take = (from: number, count: number) => {
    const stream = batchStream(buckets, 5, from);
    return Array.from({ length: count }, () =>
      (stream.next().value as { examples: Example[] }).examples.map((e) => e.utterance.id),
    );
  };
  expect(take(13, 10)).toEqual(take(0, 23).slice(13));
});

test('evaluation visits every utterance exactly once', () => {
  const batches = [...batchesOf(lengthBuckets(examplesOf(lengths), 16))];
  const ids = batches.flatMap((b) => b.members.map((e) => e.utterance.id));
  expect(ids).toHaveLength(37);
  expect(new Set(ids).size).toBe(37);
});

test('transcripts that cannot be learnt are set aside and counted', () => {
  const utterances = [
    utterance('good', 2, 'Hello, there'),
    utterance('none', 2),
    utterance('empty', 2, '...'),
    utterance('long', 0.1, 'far too many letters for five frames'),
  ];
  const { examples, report } = prepareExamples(utterances, new CharacterVocabulary(), 'the test');
  expect(examples.map((e) => e.text)).toEqual(['HELLO THERE']);
  expect(report).toMatchObject({
    utterances: 4,
    usable: 1,
    withoutTranscript: 1,
    emptyTranscript: 1,
    targetsLongerThanAudio: 1,
    alphabetCoverage: 1,
  });
});

test('transcripts in another alphabet are refused, naming the letters', () => {
  const utterances = [utterance('a', 2, 'привет')];
  expect(() => prepareExamples(utterances, new CharacterVocabulary(), 'the test')).toThrow(
    expect.objectContaining({ code: 'HK_CORPUS', message: expect.stringContaining('П') }),
  );
});

test('a corpus without transcripts is refused', () => {
  expect(() => prepareExamples([utterance('a', 2)], new CharacterVocabulary(), 'the test')).toThrow(
    expect.objectContaining({ code: 'HK_CORPUS' }),
  );
});

test('a small label budget is a part of a larger one', () => {
  const examples = examplesOf(lengths);
  const small = labelBudget(examples, 0.5, 3);
  const large = labelBudget(examples, 1, 3);
  const seconds = small.reduce((sum, e) => sum + e.utterance.samples, 0) / 16000;
  expect(seconds).toBeLessThanOrEqual(30);
  expect(seconds).toBeGreaterThan(20);
  for (const example of small) expect(large).toContain(example);
  expect(labelBudget(examples, 1000, 3)).toEqual(examples);
});

test('masks cover what their probability says, and nothing beyond the row', () => {
  let covered = 0;
  for (let i = 0; i < 200; i++)
    covered += spanMask(500, { probability: 0.5, length: 10 }, new Philox(1, i)).reduce((a, b) => a + b, 0);
  expect(covered / (200 * 500)).toBeCloseTo(1 - Math.exp(-0.5), 1);
  const masks = timeMasks(Int32Array.from([40, 100]), 100, { probability: 0.75, length: 10 }, 1, 7);
  expect(masks.subarray(40, 100).every((m) => m === 0)).toBe(true);
  expect(masks.subarray(0, 40).some((m) => m === 1)).toBe(true);
});

test('a mask depends on seed and update only, and rows differ', () => {
  const of = (seed: number, update: number) => channelMasks(2, 128, { probability: 0.5, length: 11 }, seed, update);
  expect(of(1, 1)).toEqual(of(1, 1));
  expect(of(1, 1)).not.toEqual(of(1, 2));
  expect(of(1, 1)).not.toEqual(of(2, 1));
  expect(of(1, 1).subarray(0, 128)).not.toEqual(of(1, 1).subarray(128));
});

test('a row shorter than a span is not masked', () => {
  expect(spanMask(8, { probability: 1, length: 10 }, new Philox(1))).toEqual(new Uint8Array(8));
});
