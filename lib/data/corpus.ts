/** Opening a corpus: find its files, read their headers, set aside what cannot be used. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { ioError, writeJsonLines } from '../formats/atomic';
import { audioReason, decodeAudio, probeAudio } from './audio';
import { hashText } from './philox';
import {
  audioExtensionList,
  type Findings,
  type Found,
  findInFolder,
  findInManifest,
  findLibrispeech,
} from './sources';
import { type Corpus, frameSamples, type Skipped, sampleRate, type Utterance } from './types';

export type CorpusKind = 'embedded' | 'librispeech' | 'folder' | 'manifest';

export interface OpenOptions {
  /** Refuse when more than this share of the files cannot be used. Default 0.1, 0 to 1. */
  maxSkippedShare?: number;
  signal?: AbortSignal;
  /** Called now and then with the number of files whose header has been read. */
  onProgress?: (done: number, total: number) => void;
}

/**
 * Opens a corpus. `spec` is a kind and a folder, or a folder whose kind is found by looking:
 * - `librispeech:DIR`: `<split>/<speaker>/<chapter>/*.flac` with `.trans.txt` (DIR may also be one split)
 * - `manifest:DIR`: `manifest.tsv` (or `.jsonl`, or the table's own path) with columns path, speaker, duration, transcript, split
 * - `embedded:DIR`: the same with `alignments.jsonl`, as the built-in corpus generator writes it
 * - `folder:DIR`: any WAV, FLAC, OGG, MP3, ... in any rate; the first sub-folder is the speaker
 *
 * Where a corpus has no splits of its own, 5 % become `valid` and 5 % `test`: whole speakers when there are at least 20 of them,
 * utterances otherwise, chosen by a hash of their names.
 * Headers of all files are read; files that cannot be used go to `skipped` with the reason.
 * @throws HK_CORPUS when nothing usable is found (says what was looked for), or more than `maxSkippedShare` is unusable; HK_IO
 */
export async function openCorpus(spec: string, options: OpenOptions = {}): Promise<Corpus> {
  const { kind, location } = await parseSpec(spec);
  const findings = await find(kind, location);
  if (findings.found.length === 0) refuseEmpty(kind, location, findings);
  const { usable, skipped } = await readHeaders(findings, options);
  const corpus: Corpus = {
    name: path.basename(path.resolve(findings.root)),
    root: findings.root,
    utterances: withSplits(usable).sort((a, b) => (a.id < b.id ? -1 : 1)),
    skipped,
  };
  checkSkipped(corpus, options.maxSkippedShare);
  return corpus;
}

/** Decodes an utterance: f32 [samples], 16 kHz mono. Throws HK_AUDIO with the path and the reason. */
export async function loadWaveform(utterance: Utterance): Promise<Float32Array> {
  return (await decodeAudio(utterance.path)).samples;
}

/**
 * Throws HK_CORPUS when more than a share of the files (default 0.1) turned out unusable, or all of them: names some, with their
 * reasons.
 */
export function checkSkipped(corpus: Corpus, maxSkippedShare = 0.1): void {
  const { skipped, utterances } = corpus;
  const paths = new Set(utterances.map((utterance) => utterance.path));
  const outside = skipped.filter((entry) => !paths.has(entry.path)).length; // the others are still among the utterances
  const total = utterances.length + outside;
  if (skipped.length < total && skipped.length <= maxSkippedShare * total) return;
  const some = skipped.slice(0, 5).map(({ path, reason }) => `  ${path}: ${reason}`);
  throw new HubertkitError(
    'HK_CORPUS',
    `${skipped.length} of the ${total} files of ${corpus.root} cannot be used; at most ${(100 * maxSkippedShare).toFixed(0)} % may be ` +
      `skipped (maxSkippedShare):\n${some.join('\n')}${skipped.length > 5 ? `\n  ... and ${skipped.length - 5} more` : ''}\n` +
      'Repair or remove them, or raise the share.',
  );
}

/** Writes `skipped.jsonl`: one line {path, reason, code} for each file set aside. */
export async function skippedReport(corpus: Corpus, file: string): Promise<void> {
  await writeJsonLines(file, corpus.skipped);
}

/** Which of the three uses a split serves: LibriSpeech's `train-clean-100` trains, `dev-other` validates. */
export function splitUse(split: string): 'train' | 'valid' | 'test' {
  if (/^(valid|val|dev)([-_.]|$)/.test(split)) return 'valid';
  return /^test([-_.]|$)/.test(split) ? 'test' : 'train';
}

/**
 * The utterances by use. A corpus without validation data (a single `train-clean-100`, say) gives 5 % of its training utterances
 * to `valid`, by the same hash as in {@link openCorpus}.
 */
export function partition(utterances: readonly Utterance[]): Record<'train' | 'valid' | 'test', Utterance[]> {
  const parts: Record<'train' | 'valid' | 'test', Utterance[]> = { train: [], valid: [], test: [] };
  for (const utterance of utterances) parts[splitUse(utterance.split)].push(utterance);
  if (parts.valid.length === 0) {
    const held = new Set(hashOrder(parts.train).slice(0, shareOf(unitsOf(parts.train).size)));
    const unit = unitOf(parts.train);
    const all = parts.train;
    parts.train = all.filter((utterance) => !held.has(unit(utterance)));
    parts.valid = all.filter((utterance) => held.has(unit(utterance)));
  }
  return parts;
}

/** Kind and place of a corpus. Throws HK_CORPUS when the folder is absent. */
async function parseSpec(spec: string): Promise<{ kind: CorpusKind; location: string }> {
  if (typeof spec !== 'string' || spec === '') {
    throw new HubertkitError(
      'HK_ARGUMENT',
      'A corpus is named by a folder, e.g. librispeech:/data/LibriSpeech or /data/recordings.',
    );
  }
  const [, prefix, rest] = /^(embedded|librispeech|folder|manifest):(.*)$/s.exec(spec) ?? [];
  const location = path.resolve(prefix ? rest : spec);
  const stat = await fs.promises.stat(location).catch((cause) => {
    const unknown = /^([a-z]{2,}):/.exec(spec)?.[1];
    const hint =
      unknown && !prefix ? ` ("${unknown}:" is no kind of corpus: embedded, librispeech, folder, manifest.)` : '';
    throw new HubertkitError('HK_CORPUS', `${ioError('open the corpus', location, cause).message}${hint}`, { cause });
  });
  if (prefix) return { kind: prefix as CorpusKind, location };
  if (stat.isFile()) return { kind: 'manifest', location };
  return { kind: await lookForKind(location), location };
}

async function lookForKind(folder: string): Promise<CorpusKind> {
  if (await manifestIn(folder)) return 'manifest';
  const { found } = await findLibrispeech(folder);
  return found.some(({ transcript }) => transcript !== undefined) ? 'librispeech' : 'folder';
}

/** The table of a manifest corpus: the file itself, or the one in the folder. */
async function manifestIn(location: string): Promise<string | undefined> {
  const candidates = [location, path.join(location, 'manifest.tsv'), path.join(location, 'manifest.jsonl')];
  for (const file of candidates) {
    const stat = await fs.promises.stat(file).catch(() => undefined);
    if (stat?.isFile()) return file;
  }
  return undefined;
}

async function find(kind: CorpusKind, location: string): Promise<Findings> {
  if (kind === 'folder') return findInFolder(location);
  if (kind === 'librispeech') return findLibrispeech(location);
  const manifest = await manifestIn(location);
  if (!manifest)
    throw new HubertkitError('HK_CORPUS', `${location}: looked for manifest.tsv or manifest.jsonl, found neither.`);
  return findInManifest(manifest);
}

function refuseEmpty(kind: CorpusKind, location: string, { skipped }: Findings): never {
  const lookedFor = {
    folder: `files ending in ${audioExtensionList}, in all sub-folders`,
    librispeech: '<split>/<speaker>/<chapter>/<speaker>-<chapter>-<number>.flac',
    manifest: 'rows of the manifest with a path',
    embedded: 'rows of the manifest with a path',
  }[kind];
  const reasons = skipped.slice(0, 3).map(({ path, reason }) => `\n  ${path}: ${reason}`);
  throw new HubertkitError(
    'HK_CORPUS',
    `${location} has no audio: looked for ${lookedFor}, found none.${reasons.join('')}`,
  );
}

/** Utterances before their split is settled. */
type Unsplit = Omit<Utterance, 'split'> & { split?: string };

async function readHeaders(
  findings: Findings,
  options: OpenOptions,
): Promise<{ usable: Unsplit[]; skipped: Skipped[] }> {
  const skipped = [...findings.skipped];
  const usable: Unsplit[] = [];
  const { found } = findings;
  const ids = new Map<string, Found>();
  let done = 0;
  const one = async (file: Found): Promise<void> => {
    try {
      usable.push({ ...file, speaker: file.speaker ?? 'unknown', samples: await samplesOf(file, ids) });
    } catch (error) {
      const { code } = error as HubertkitError;
      if (code !== 'HK_AUDIO' && code !== 'HK_CORPUS') throw error;
      skipped.push({ path: file.path, reason: audioReason(file.path, error), code });
    }
    done++;
    if (done % 256 === 0 || done === found.length) options.onProgress?.(done, found.length);
  };
  for (const file of found) if (!ids.has(file.id)) ids.set(file.id, file);
  await eachOf(found, 8, (file) => {
    if (options.signal?.aborted)
      throw new HubertkitError('HK_INTERRUPTED', `Reading ${findings.root} was interrupted.`);
    return one(file);
  });
  return { usable, skipped: skipped.sort((a, b) => (a.path < b.path ? -1 : 1)) };
}

/** Length at 16 kHz from the header; by decoding where the header leaves it open. */
async function samplesOf(file: Found, ids: Map<string, Found>): Promise<number> {
  const first = ids.get(file.id);
  if (first !== file)
    throw new HubertkitError('HK_CORPUS', `${file.path}: its id ${file.id} is that of ${first?.path}`);
  const info = await probeAudio(file.path);
  if (info.frames === undefined) return (await decodeAudio(file.path)).samples.length;
  const samples = Math.round((info.frames * sampleRate) / info.sampleRate);
  if (samples >= frameSamples) return samples;
  const reason =
    samples === 0
      ? 'it holds no samples'
      : `it is too short: ${samples} samples at 16 kHz, one frame needs ${frameSamples}`;
  throw new HubertkitError('HK_AUDIO', `${file.path}: ${reason}`);
}

/** Calls `work` for each item, at most `width` at a time. */
async function eachOf<T>(items: readonly T[], width: number, work: (item: T) => Promise<void>): Promise<void> {
  let next = 0;
  const lane = async () => {
    while (next < items.length) await work(items[next++]);
  };
  await Promise.all(Array.from({ length: width }, lane));
}

/** What is held out as a whole: speakers when at least 20 are known, else utterances. */
function unitOf(
  utterances: readonly { id: string; speaker: string }[],
): (utterance: { id: string; speaker: string }) => string {
  const speakers = new Set(utterances.map(({ speaker }) => speaker));
  return speakers.size >= 20 && !speakers.has('unknown') ? ({ speaker }) => speaker : ({ id }) => id;
}

function unitsOf(utterances: readonly { id: string; speaker: string }[]): Set<string> {
  return new Set(utterances.map(unitOf(utterances)));
}

function hashOrder(utterances: readonly { id: string; speaker: string }[]): string[] {
  return [...unitsOf(utterances)].sort((a, b) => hashText(a) - hashText(b) || (a < b ? -1 : 1));
}

/** 5 %, at least one where three or more are there. */
const shareOf = (units: number) => (units < 3 ? 0 : Math.max(1, Math.round(0.05 * units)));

/** Gives utterances without a split one: the first 5 % of the units in hash order validate, the next 5 % test. */
function withSplits(utterances: Unsplit[]): Utterance[] {
  const open = utterances.filter(({ split }) => split === undefined);
  const named = open.length < utterances.length;
  const order = named ? [] : hashOrder(open); // a corpus that names splits: rows without one train
  const share = shareOf(order.length);
  const valid = new Set(order.slice(0, share));
  const test = new Set(order.slice(share, 2 * share));
  const unit = unitOf(open);
  return utterances.map((utterance) => {
    const key = unit(utterance);
    return { ...utterance, split: utterance.split ?? (valid.has(key) ? 'valid' : test.has(key) ? 'test' : 'train') };
  });
}
