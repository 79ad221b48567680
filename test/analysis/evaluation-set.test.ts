import { evaluationSet } from '../../lib/analysis/evaluation-set';
import { phoneOfFrames } from '../../lib/data/alignments';
import type { Utterance } from '../../lib/data/types';

function utterance(id: string, speaker: string, seconds = 1): Utterance {
  const phones = [
    { label: 'a', start: 0, end: seconds / 2 },
    { label: 'b', start: seconds / 2, end: seconds },
  ];
  return { id, path: id, speaker, split: 'x', samples: seconds * 16000, phones };
}

test('a frame has the phone that sample 320 i + 200 lies in', () => {
  const boundary = (320 * 3 + 200) / 16000;
  const segments = [
    { label: 'b', start: boundary, end: 0.2 },
    { label: 'a', start: 0, end: boundary },
  ];
  expect([...phoneOfFrames({ ...utterance('u', 's'), phones: segments }, 6, ['a', 'b'])]).toEqual([0, 0, 0, 1, 1, 1]);
});

test('frames in gaps, after the last segment and with unknown phones have no label', () => {
  const segments = [
    { label: 'a', start: 0, end: 0.03 },
    { label: 'zh', start: 0.03, end: 0.06 },
    { label: 'b', start: 0.1, end: 0.12 },
  ];
  // centres: .0125, .0325, .0525, .0725, .0925, .1125, .1325
  expect([...phoneOfFrames({ ...utterance('u', 's'), phones: segments }, 7, ['a', 'b'])]).toEqual([
    0, -1, -1, -1, -1, 1, -1,
  ]);
});

test('test utterances come from speakers that training has never heard', () => {
  const set = evaluationSet({
    train: [utterance('t1', 's1'), utterance('t2', 's2')],
    heldOut: [utterance('h1', 's1'), utterance('h2', 's3'), utterance('h3', 's4')],
    maxFitFrames: 1000,
    maxTestFrames: 1000,
    seed: 1,
  });
  expect(set.unseenSpeakers).toBe(true);
  expect(set.test.map((p) => p.utterance.id).sort()).toEqual(['h2', 'h3']);
  expect(set.phones).toEqual(['a', 'b']);
  expect(set.fitFrames).toBe(98);
});

test('frame budgets hold, and the choice is the same each time', () => {
  const train = Array.from({ length: 50 }, (_, i) => utterance(`t${i}`, 's1'));
  const of = (seed: number) =>
    evaluationSet({ train, heldOut: [utterance('h', 's2')], maxFitFrames: 500, maxTestFrames: 10, seed });
  expect(of(1).fitFrames).toBeLessThanOrEqual(500);
  expect(of(1).fitFrames).toBeGreaterThan(400);
  expect(of(1)).toEqual(of(1));
  expect(of(2).fit).not.toEqual(of(1).fit);
});

test('where training or held-out utterances have no phones any of them is chosen, and there are no phones', () => {
  const { phones: _, ...bare } = utterance('t', 's1');
  const options = { train: [bare, utterance('u', 's1')], maxFitFrames: 1000, maxTestFrames: 1000, seed: 1 };
  const set = evaluationSet({ ...options, heldOut: [{ ...bare, id: 'h' }] });
  expect(set.phones).toEqual([]);
  expect(set.fit.map(({ utterance }) => utterance.id).sort()).toEqual(['t', 'u']);
  expect(set.test[0].labels.every((label) => label === -1)).toBe(true);
  expect(() => evaluationSet({ ...options, heldOut: [] })).toThrow(expect.objectContaining({ code: 'HK_CORPUS' }));
});
