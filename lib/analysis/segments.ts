/** Phones and words as single vectors: the mean of the frames whose centres lie in the segment. */
import { framesWithin, isSilence, type Vocabulary } from '../data/alignments';
import type { Segment } from '../data/types';
import type { PhonedUtterance } from './evaluation-set';
import type { FrameMatrix } from './layer-features';

/** Labelled ranges of rows of a set's features. */
export interface Segments {
  /** i32 [segments]: first row. */
  from: Int32Array;
  /** i32 [segments]: the row after the last. */
  to: Int32Array;
  /** i32 [segments]: places in the vocabulary. */
  labels: Int32Array;
}

/** The segments of a tier with a label in `vocabulary` and at least one frame; rows run through the utterances in order. */
export function segmentsOf(
  set: readonly PhonedUtterance[],
  tier: 'phones' | 'words',
  vocabulary: Vocabulary,
): Segments {
  const places = new Map(vocabulary.map((label, i) => [label, i]));
  const [from, to, labels]: number[][] = [[], [], []];
  let start = 0;
  for (const { utterance, frames } of set) {
    for (const segment of utterance[tier] ?? []) {
      const label = places.get(segment.label);
      const [first, end] = framesWithin(segment, frames);
      if (label === undefined || first === end) continue;
      from.push(start + first);
      to.push(start + end);
      labels.push(label);
    }
    start += frames;
  }
  return { from: Int32Array.from(from), to: Int32Array.from(to), labels: Int32Array.from(labels) };
}

/** f32 [segments, dimensions]: the mean of each segment's rows. */
export function meanPooled({ dimensions, data }: FrameMatrix, { from, to }: Segments): Float32Array {
  const pooled = new Float32Array(from.length * dimensions);
  const sum = new Float64Array(dimensions);
  for (let s = 0; s < from.length; s++) {
    sum.fill(0);
    for (let row = from[s]; row < to[s]; row++) {
      for (let d = 0; d < dimensions; d++) sum[d] += data[row * dimensions + d];
    }
    for (let d = 0; d < dimensions; d++) pooled[s * dimensions + d] = sum[d] / (to[s] - from[s]);
  }
  return pooled;
}

/** f32 [labels, classes]: 1 at the place of the label. */
export function oneHot(labels: Int32Array, classes: number): Float32Array {
  const rows = new Float32Array(labels.length * classes);
  labels.forEach((label, i) => {
    rows[i * classes + label] = 1;
  });
  return rows;
}

/** The most frequent words of a set, at most `most` of those that occur `least` times, silences left out; sorted. */
export function frequentWords(set: readonly PhonedUtterance[], most: number, least: number): string[] {
  const counts = new Map<string, number>();
  const count = ({ label }: Segment) => counts.set(label, (counts.get(label) ?? 0) + 1);
  for (const { utterance } of set) utterance.words?.filter(({ label }) => !isSilence(label)).forEach(count);
  const frequent = [...counts].filter(([, count]) => count >= least);
  const byFrequency = frequent.sort(([a, m], [b, n]) => n - m || (a < b ? -1 : 1));
  return byFrequency
    .slice(0, most)
    .map(([word]) => word)
    .sort();
}
