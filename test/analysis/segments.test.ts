import { frequentWords, meanPooled, oneHot, segmentsOf } from '../../lib/analysis/segments';
import { frameSeconds, framesWithin } from '../../lib/data/alignments';
import type { Utterance } from '../../lib/data/types';

const utterance = (id: string, words: [string, number, number][]): Utterance => ({
  id,
  path: id,
  speaker: 's',
  split: 'train',
  samples: 16000,
  words: words.map(([label, start, end]) => ({ label, start, end })),
});

const phoned = (u: Utterance, frames: number) => ({ utterance: u, frames, labels: new Int32Array(frames) });

test('frames within a segment are those whose centres lie in it, the start included and the end not', () => {
  for (const [start, end] of [
    [0, 0.1],
    [0.0125, 0.0325],
    [0.0126, 0.4],
    [0.3, 0.301],
    [0.9, 9],
    [5, 6],
  ]) {
    const [from, to] = framesWithin({ start, end }, 50);
    const inside = [...Array(50).keys()].filter((i) => frameSeconds(i) >= start && frameSeconds(i) < end);
    expect([...Array(to - from).keys()].map((i) => from + i)).toEqual(inside);
  }
});

test('a segment is the mean of its rows, in the order of utterances; others are left out', () => {
  const set = [
    phoned(
      utterance('u', [
        ['no', 0, 0.02],
        ['yes', 0.02, 0.06],
      ]),
      4,
    ),
    phoned(
      utterance('v', [
        ['what', 0, 0.02],
        ['yes', 0.031, 0.032],
        ['no', 0.02, 0.08],
      ]),
      4,
    ),
  ];
  const segments = segmentsOf(set, 'words', ['no', 'yes']);
  expect([...segments.labels]).toEqual([0, 1, 0]);
  expect([...segments.from]).toEqual([0, 1, 5]);
  expect([...segments.to]).toEqual([1, 3, 8]);
  const features = { rows: 8, dimensions: 2, data: Float32Array.from({ length: 16 }, (_, i) => i) };
  expect([...meanPooled(features, segments)]).toEqual([0, 1, 3, 4, 12, 13]);
});

test('one-hot rows have their 1 at the label', () => {
  expect([...oneHot(Int32Array.of(2, 0), 3)]).toEqual([0, 0, 1, 1, 0, 0]);
});

test('the most frequent words are kept, silences are none, ties go by the alphabet', () => {
  const words = ['b', 'a', 'a', '', '', '', 'c', '<eps>', 'd'].map((w): [string, number, number] => [w, 0, 1]);
  expect(frequentWords([phoned(utterance('u', words), 9)], 3, 1)).toEqual(['a', 'b', 'c']);
  expect(frequentWords([phoned(utterance('u', words), 9)], 3, 2)).toEqual(['a']);
});
