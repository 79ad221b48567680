/** Phones and words in time, and their labels at the frames of the model. */
import { HubertkitError } from '../errors';
import { readJsonLines } from '../formats/atomic';
import { frameSamples, frameStride, type Segment, sampleRate, type Utterance } from './types';

/** Time of the centre of frame `i`: sample 320 i + 200. */
export function frameSeconds(frame: number): number {
  return (frameStride * frame + frameSamples / 2) / sampleRate;
}

/**
 * Reads `alignments.jsonl`: one line per utterance, `{"id": "a/b", "phones": [["sil", 0, 0.21], ...], "words": [...]}`, times in
 * seconds. An absent file gives an empty map. Throws HK_FORMAT with the utterance for segments that are not [label, start, end].
 */
export async function readAlignments(file: string): Promise<Map<string, { phones?: Segment[]; words?: Segment[] }>> {
  const rows = await readJsonLines<{ id?: unknown; phones?: unknown; words?: unknown }>(file, { optional: true });
  return new Map(
    rows.map((row, i) => {
      const where = `${file}, line ${i + 1}`;
      if (typeof row?.id !== 'string') throw new HubertkitError('HK_FORMAT', `${where}: no "id".`);
      return [
        row.id.normalize('NFC'),
        { phones: segments(where, 'phones', row.phones), words: segments(where, 'words', row.words) },
      ];
    }),
  );
}

function segments(where: string, tier: string, value: unknown): Segment[] | undefined {
  if (value === undefined || value === null) return undefined;
  const bad = (found: unknown) => {
    const expected = 'expected [label, start, end] with 0 <= start <= end in seconds';
    return new HubertkitError(
      'HK_FORMAT',
      `${where}: ${tier} has ${JSON.stringify(found)?.slice(0, 100)}, ${expected}.`,
    );
  };
  if (!Array.isArray(value)) throw bad(value);
  const list = value.map((entry) => {
    const [label, start, end] = Array.isArray(entry) ? entry : [];
    if (typeof label !== 'string' || !Number.isFinite(end) || !(Number.isFinite(start) && start >= 0 && end >= start))
      throw bad(entry);
    return { label, start, end };
  });
  return list.sort((a, b) => a.start - b.start);
}

/** What aligners write where nobody speaks. */
const silences = new Set(['', 'sil', 'sp', 'spn', 'pau', 'h#', '#', '<eps>', '<sil>', '[sil]', '<p:>']);

export function isSilence(label: string): boolean {
  return silences.has(label.trim().toLowerCase());
}

/** Labels as numbers: their places in this list. */
export type Vocabulary = readonly string[];

/** The labels that occur in one tier, sorted. */
export function labelVocabulary(utterances: Iterable<Utterance>, tier: 'phones' | 'words'): string[] {
  const labels = new Set<string>();
  for (const utterance of utterances) for (const { label } of utterance[tier] ?? []) labels.add(label);
  return [...labels].sort();
}

/** The first of the frames whose centres lie in a segment, and the one after the last; the two are equal where none does. */
export function framesWithin(
  { start, end }: Pick<Segment, 'start' | 'end'>,
  frames: number,
): [from: number, to: number] {
  const first = (seconds: number) => {
    let frame = Math.max(0, Math.floor((seconds * sampleRate - frameSamples / 2) / frameStride));
    while (frameSeconds(frame) < seconds) frame++;
    return Math.min(frame, frames);
  };
  return [first(start), first(end)];
}

/**
 * The phone at the centre of each of the first `frames` frames, as its place in `vocabulary`; -1 where no segment lies, the label
 * is not in the vocabulary, or the utterance has no alignment. A centre on a boundary belongs to the segment that starts there.
 */
export function phoneOfFrames(utterance: Utterance, frames: number, vocabulary: Vocabulary): Int32Array {
  return labelsOfFrames(utterance.phones, frames, vocabulary);
}

/** The word at the centre of each frame: as {@link phoneOfFrames}. */
export function wordOfFrames(utterance: Utterance, frames: number, vocabulary: Vocabulary): Int32Array {
  return labelsOfFrames(utterance.words, frames, vocabulary);
}

const numbered = new WeakMap<Vocabulary, Map<string, number>>();

function numbers(vocabulary: Vocabulary): Map<string, number> {
  let map = numbered.get(vocabulary);
  if (!map || map.size !== vocabulary.length) {
    map = new Map(vocabulary.map((label, i) => [label, i]));
    numbered.set(vocabulary, map);
  }
  return map;
}

function labelsOfFrames(segments: readonly Segment[] = [], frames: number, vocabulary: Vocabulary): Int32Array {
  const labels = new Int32Array(frames).fill(-1);
  const places = numbers(vocabulary);
  const tier = [...segments].sort((a, b) => a.start - b.start);
  let at = 0;
  for (let frame = 0; frame < frames; frame++) {
    const seconds = frameSeconds(frame);
    while (at < tier.length && tier[at].end <= seconds) at++;
    if (at === tier.length) break;
    if (tier[at].start <= seconds) labels[frame] = places.get(tier[at].label) ?? -1;
  }
  return labels;
}
