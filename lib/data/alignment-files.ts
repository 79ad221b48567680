/** Alignments that come apart from their corpus: reading the forms they have, and joining them to utterances by name. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { ioError } from '../formats/atomic';
import { isSilence, readAlignments } from './alignments';
import { listFiles } from './sources';
import { parseTextGrid } from './textgrid';
import { type Segment, type Skipped, sampleRate, type Utterance } from './types';
import { utterancesByName } from './utterance-names';

export interface Tiers {
  phones?: Segment[];
  words?: Segment[];
}

/** Alignments by the name that their file calls the utterance. */
export type NamedTiers = Map<string, Tiers>;

const readers: { ending: RegExp; what: string; read: (file: string, name: string) => Promise<NamedTiers> }[] = [
  { ending: /\.textgrid$/i, what: '*.TextGrid', read: readTextGrid },
  { ending: /\.alignment\.txt$/, what: '*.alignment.txt', read: readWordEnds },
  { ending: /\.tsv$/, what: '*.tsv', read: readFrameLabels },
  { ending: /\.jsonl$/, what: '*.jsonl', read: (file) => readAlignments(file) },
];

/**
 * Reads alignments from a file, or from all files of a folder:
 * - `*.TextGrid`, long or short form, with tiers named phones and words (`speaker - phones` counts); the name is the path
 * - `*.alignment.txt` of CorentinJ's LibriSpeech alignments: `UTTERANCE "w,,w" "t,t,t"`, end times, an empty word is silence
 * - `*.tsv`: `UTTERANCE<TAB>p,p,...`, phones of frames of 10 ms
 * - `*.jsonl`: as alignments.jsonl beside a manifest (see readAlignments)
 *
 * @throws HK_IO, HK_FORMAT with the file and what is wrong, HK_CORPUS when a folder has none of these
 */
export async function readAlignmentFiles(location: string): Promise<NamedTiers> {
  const stat = await fs.promises.stat(location).catch((cause) => {
    throw ioError('read the alignments', location, cause);
  });
  const unreadable: Skipped[] = [];
  const [root, files] = stat.isDirectory()
    ? [location, await listFiles(location, unreadable)]
    : [path.dirname(location), [path.basename(location)]];
  if (unreadable.length > 0)
    throw new HubertkitError('HK_IO', `Cannot read ${unreadable[0].path}: ${unreadable[0].reason}.`);
  const all: NamedTiers = new Map();
  let read = 0;
  for (const file of files) {
    const reader = readers.find(({ ending }) => ending.test(file));
    if (!reader) continue;
    read++;
    const found = await reader.read(path.join(root, file), file.replace(reader.ending, '').normalize('NFC'));
    for (const [name, tiers] of found) all.set(name, { ...all.get(name), ...tiers });
  }
  if (read === 0) {
    const kinds = readers.map(({ what }) => what).join(', ');
    throw new HubertkitError('HK_CORPUS', `${location} has no alignments: looked for ${kinds}.`);
  }
  return all;
}

async function readTextGrid(file: string, name: string): Promise<NamedTiers> {
  const bytes = await fs.promises.readFile(file).catch((cause) => {
    throw ioError('read', file, cause);
  });
  const tiers = parseTextGrid(bytes, file);
  const named = (pattern: RegExp) => tiers.find((tier) => pattern.test(tier.name))?.segments;
  const phones = named(/\bphon(e|eme)s?$/i);
  const words = named(/\bwords?$/i);
  if (!phones && !words) {
    const names = tiers.map((tier) => `"${tier.name}"`).join(', ') || 'none';
    throw new HubertkitError('HK_FORMAT', `${file}: expected interval tiers named phones or words, found ${names}.`);
  }
  return new Map([[name, tiersOf(phones, words)]]);
}

/** Phones where nobody speaks are all called `sil`; such words are left out. */
function tiersOf(phones?: Segment[], words?: Segment[]): Tiers {
  return {
    ...(phones && { phones: phones.map((phone) => (phone.label.trim() === '' ? { ...phone, label: 'sil' } : phone)) }),
    ...(words && { words: words.filter(({ label }) => !isSilence(label)) }),
  };
}

async function readWordEnds(file: string): Promise<NamedTiers> {
  return byLine(file, (line) => {
    const [, name, words, ends] = /^(\S+) "([^"]*)" "([^"]*)"\s*$/.exec(line) ?? [];
    if (name === undefined) return undefined;
    const labels = words.split(',');
    const times = ends.split(',').map(Number);
    if (labels.length !== times.length || !times.every((end, i) => end >= (times[i - 1] ?? 0))) return undefined;
    const segments = labels.map((label, i) => ({ label, start: times[i - 1] ?? 0, end: times[i] }));
    return [name, tiersOf(undefined, segments)];
  });
}

const labelsPerSecond = 100;

async function readFrameLabels(file: string): Promise<NamedTiers> {
  return byLine(file, (line) => {
    const [name, labels, ...rest] = line.split('\t');
    if (!name || !labels || rest.length > 0) return undefined;
    const phones: Segment[] = [];
    labels.split(',').forEach((label, i) => {
      const last = phones.at(-1);
      const end = (i + 1) / labelsPerSecond;
      if (last?.label === label) last.end = end;
      else phones.push({ label, start: i / labelsPerSecond, end });
    });
    return [name, tiersOf(phones)];
  });
}

/** One utterance a line. @param parse undefined: the line is not what it should be */
async function byLine(file: string, parse: (line: string) => [string, Tiers] | undefined): Promise<NamedTiers> {
  const text = await fs.promises.readFile(file, 'utf8').catch((cause) => {
    throw ioError('read', file, cause);
  });
  const all: NamedTiers = new Map();
  for (const [i, line] of text
    .replace(/^\ufeff/, '')
    .split(/\r?\n/)
    .entries()) {
    if (line.trim() === '') continue;
    const found = parse(line);
    if (!found) {
      const expected = file.endsWith('.tsv')
        ? 'an utterance, a tab and phones separated by commas'
        : 'UTTERANCE "word,,word" "end,end,end" with as many rising times as words';
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}, line ${i + 1}: expected ${expected}, got "${line.slice(0, 80)}".`,
      );
    }
    all.set(found[0].normalize('NFC'), found[1]);
  }
  return all;
}

/** How alignments and a corpus fit together. */
export interface AlignmentCoverage {
  utterances: number;
  /** Utterances that have phones, that have words. */
  phones: number;
  words: number;
  /** The first utterance that has neither. */
  firstWithout?: string;
  /** Names in the files that belong to no utterance. */
  unknown: number;
  firstUnknown?: string;
  /** Alignments that do not fit their audio and are not used. */
  mismatched: number;
  firstMismatch?: { id: string; alignedSeconds: number; audioSeconds: number };
}

/** An alignment may end this much after its audio, and phones this much before it, in seconds. */
const slack = { after: 0.05, before: 0.5 };

/** Utterances with the alignments that bear their names; what they had is replaced tier by tier. */
export function joinAlignments(
  utterances: readonly Utterance[],
  alignments: NamedTiers,
): { utterances: Utterance[]; coverage: AlignmentCoverage } {
  const named = utterancesByName(utterances);
  const tiers = new Map<Utterance, Tiers>();
  const unknown: string[] = [];
  const mismatches: NonNullable<AlignmentCoverage['firstMismatch']>[] = [];
  for (const [name, found] of alignments) {
    const utterance = named(name);
    if (!utterance) unknown.push(name);
    else if (fits(utterance, found)) tiers.set(utterance, { ...tiers.get(utterance), ...found });
    else {
      const alignedSeconds = endOf([...(found.phones ?? []), ...(found.words ?? [])]);
      mismatches.push({ id: utterance.id, alignedSeconds, audioSeconds: utterance.samples / sampleRate });
    }
  }
  const joined = utterances.map((utterance) => ({ ...utterance, ...tiers.get(utterance) }));
  const having = (tier: keyof Tiers) => joined.filter((utterance) => utterance[tier]?.length).length;
  return {
    utterances: joined,
    coverage: {
      utterances: joined.length,
      phones: having('phones'),
      words: having('words'),
      firstWithout: joined.find(({ phones, words }) => !phones?.length && !words?.length)?.id,
      unknown: unknown.length,
      firstUnknown: unknown[0],
      mismatched: mismatches.length,
      firstMismatch: mismatches[0],
    },
  };
}

const endOf = (segments: Segment[]) => segments.reduce((end, segment) => Math.max(end, segment.end), 0);

function fits({ samples }: Utterance, { phones, words = [] }: Tiers): boolean {
  const audio = samples / sampleRate;
  if (endOf([...(phones ?? []), ...words]) > audio + slack.after) return false;
  return !phones || endOf(phones) >= audio - slack.before;
}

/** In a line. */
export function describeCoverage(c: AlignmentCoverage): string {
  const parts = [`alignments: of ${c.utterances} utterances ${c.phones} have phones and ${c.words} have words`];
  if (c.firstWithout !== undefined) parts.push(`the first without any is ${c.firstWithout}`);
  if (c.firstUnknown !== undefined)
    parts.push(`${c.unknown} names belong to no utterance, the first is ${c.firstUnknown}`);
  if (c.firstMismatch) {
    const { id, alignedSeconds, audioSeconds } = c.firstMismatch;
    parts.push(
      `${c.mismatched} do not fit their audio and are not used, the first is ${id}: aligned to ${alignedSeconds.toFixed(2)} s, the audio has ${audioSeconds.toFixed(2)} s`,
    );
  }
  return `${parts.join('; ')}.`;
}
