/** Makes the embedded corpus: labelled speech for trying everything out, from a seed and nothing else. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { wrapped } from '../../binding';
import { HubertkitError } from '../../errors';
import { ioError, syncFolder, writeFileAtomic, writeJsonAtomic, writeJsonLines } from '../../formats/atomic';
import { inProcesses, isRunning } from '../../processes';
import { channelRanges } from './channel';
import type { Split } from './grammar';
import { type Speaker, speakers } from './speakers';
import type { Recording, Stream, StreamOptions } from './stream';
import type { StreamJob } from './worker';

/** Changes with anything that changes the audio or the labels. */
const generator = 1;
const kind = 'hubertkit embedded corpus';
const shares: Record<Split, number> = { train: 0.8, valid: 0.08, test: 0.12 };
/** A speaker is worth having in the validation split from this many seconds on. */
const validSecondsOfSpeaker = 10;

const licence =
  'Synthetic speech made with CMU Flite (http://cmuflite.org; free software under a BSD-like licence) and its voices slt, rms, awb ' +
  '(from the CMU ARCTIC databases, free for any use) and kal16. The sentences come from a grammar of hubertkit. ' +
  'No recording of a person is part of this corpus; it may be used and shared without restriction.';

export interface EmbeddedCorpusOptions {
  /** The folder to make. */
  out: string;
  /** Minutes of audio, 0.5 to 6000. Default 40. */
  minutes?: number;
  /** A whole number from 0 to 2^32 - 1: everything random comes from it. Default 1. */
  seed?: number;
  /** Leave out the random channel (microphone, room, noise, level). Default false. */
  clean?: boolean;
  /** Processes to work in; the corpus does not depend on it. Default: one for each core, 16 at most. */
  threads?: number;
  /** Called after every utterance with the seconds made so far and the seconds aimed at. */
  onProgress?: (progress: { seconds: number; total: number }) => void;
  /** Aborting it ends the work with HK_INTERRUPTED and leaves nothing behind. */
  signal?: AbortSignal;
}

export interface SplitSummary {
  utterances: number;
  seconds: number;
  speakers: string[];
}

export interface EmbeddedCorpus {
  root: string;
  utterances: number;
  seconds: number;
  /** All speakers, in the order of the speaker table. */
  speakers: string[];
  splits: Record<Split, SplitSummary>;
  /** Wall-clock seconds that making it took, 0 when it was there already. */
  generatedSeconds: number;
  /** Seconds of audio for each second of work, 0 when it was there already. */
  realTimeFactor: number;
}

/** What corpus.json says. */
interface CorpusFile {
  kind: string;
  generator: number;
  options: { minutes: number; seed: number; clean: boolean };
  utterances: number;
  seconds: number;
  splits: Record<Split, SplitSummary>;
  licence: string;
  speakers: readonly Speaker[];
  channel: typeof channelRanges | null;
}

/**
 * Makes the corpus in `out`, or returns at once when it is there with the same options. The folder then holds
 * `<split>/<speaker>/<id>.flac` (16 kHz, 16 bit), `manifest.tsv`, `alignments.jsonl` (phones and words with exact times) and
 * `corpus.json`. It appears under its name only when complete. The same options give the same bytes on the same machine.
 *
 * The test split has speakers that are in no other split; no sentence is in two splits.
 *
 * @throws HK_NOT_BUILT without flite; HK_ARGUMENT; HK_MISMATCH when `out` holds a corpus with other options; HK_CORPUS when `out`
 * holds anything else; HK_INTERRUPTED; HK_IO.
 */
export async function makeEmbeddedCorpus(options: EmbeddedCorpusOptions): Promise<EmbeddedCorpus> {
  const { out, minutes = 40, seed = 1, clean = false, onProgress, signal } = options;
  const threads = options.threads ?? Math.min(16, os.availableParallelism());
  check(typeof out === 'string' && out !== '', 'out must be the path of a folder');
  check(minutes >= 0.5 && minutes <= 6000, `minutes must be 0.5 to 6000, not ${minutes}`);
  check(isWhole(seed, 0, 2 ** 32 - 1), `seed must be a whole number from 0 to 4294967295, not ${seed}`);
  check(typeof clean === 'boolean', `clean must be true or false, not ${clean}`);
  check(isWhole(threads, 1, 256), `threads must be a whole number from 1 to 256, not ${threads}`);
  const root = path.resolve(out);
  const wanted = { minutes, seed, clean };

  const existing = await readExisting(root, wanted);
  if (existing) return existing;
  wrapped((n) => n.speechVoices());

  const began = performance.now();
  const folder = `${root}.partial-${process.pid}`;
  try {
    await removeAbandoned(root);
    await fs.promises.mkdir(folder, { recursive: true });
    let seconds = 0;
    const recordings = await render(
      planStreams(minutes * 60),
      { folder, seed, clean },
      threads,
      signal,
      (recording) => {
        seconds += recording.seconds;
        onProgress?.({ seconds, total: minutes * 60 });
      },
    );
    const file = describe(recordings, wanted);
    await writeFileAtomic(path.join(folder, 'manifest.tsv'), manifest(recordings));
    await writeJsonLines(path.join(folder, 'alignments.jsonl'), recordings.map(alignment));
    await writeJsonAtomic(path.join(folder, 'corpus.json'), file);
    await putInPlace(folder, root);
    const generatedSeconds = (performance.now() - began) / 1000;
    return summary(root, file, generatedSeconds);
  } catch (error) {
    throw ioError('make the corpus', root, error);
  } finally {
    await fs.promises.rm(folder, { recursive: true, force: true });
  }
}

/** All recordings, in the order of the streams; the longest streams begin first, so that no process waits long at the end. */
async function render(
  streams: Stream[],
  options: StreamOptions,
  processes: number,
  signal: AbortSignal | undefined,
  onRecording: (recording: Recording) => void,
): Promise<Recording[]> {
  const recordings = new Map(streams.map((stream) => [stream, [] as Recording[]]));
  const longestFirst = [...streams].sort((a, b) => b.seconds - a.seconds);
  const jobs = longestFirst.map((stream): StreamJob => ({ stream, options }));
  await inProcesses<StreamJob, Recording, void>(path.join(__dirname, 'worker.js'), jobs, {
    processes,
    does: 'synthesises speech',
    whenStopped: 'kill',
    signal,
    onEvent: (index, recording) => {
      recordings.get(jobs[index].stream)!.push(recording);
      onRecording(recording);
    },
  });
  return [...recordings.values()].flat();
}

/** Who says how much in which split: train, valid and test get 80, 8 and 12 % of the seconds, shared equally by their speakers. */
function planStreams(seconds: number): Stream[] {
  const seen = speakers.filter((s) => !s.testOnly);
  const validSpeakers = Math.max(
    1,
    Math.min(seen.length, Math.floor((seconds * shares.valid) / validSecondsOfSpeaker)),
  );
  const validEvery = seen.length / validSpeakers;
  const members: Record<Split, Speaker[]> = {
    train: seen,
    valid: Array.from({ length: validSpeakers }, (_, i) => seen[Math.floor(i * validEvery)]),
    test: speakers.filter((s) => s.testOnly),
  };
  return (Object.keys(shares) as Split[]).flatMap((split) =>
    members[split].map((speaker) => ({ speaker, split, seconds: (seconds * shares[split]) / members[split].length })),
  );
}

function manifest(recordings: Recording[]): string {
  const rows = recordings.map((r) => [`${r.id}.flac`, r.speaker, r.split, r.seconds.toFixed(5), r.transcript]);
  return [['path', 'speaker', 'split', 'duration', 'transcript'], ...rows].map((row) => `${row.join('\t')}\n`).join('');
}

function alignment({ id, phones, words }: Recording) {
  return { id, phones, words };
}

function describe(recordings: Recording[], options: CorpusFile['options']): CorpusFile {
  const total = (some: Recording[]) => Math.round(some.reduce((sum, r) => sum + r.seconds, 0) * 1000) / 1000;
  const splits = {} as Record<Split, SplitSummary>;
  for (const split of Object.keys(shares) as Split[]) {
    const some = recordings.filter((r) => r.split === split);
    splits[split] = {
      utterances: some.length,
      seconds: total(some),
      speakers: [...new Set(some.map((r) => r.speaker))],
    };
  }
  return {
    kind,
    generator,
    options,
    utterances: recordings.length,
    seconds: total(recordings),
    splits,
    licence,
    speakers,
    channel: options.clean ? null : channelRanges,
  };
}

function summary(root: string, file: CorpusFile, generatedSeconds: number): EmbeddedCorpus {
  const { utterances, seconds, splits } = file;
  const realTimeFactor = generatedSeconds > 0 ? seconds / generatedSeconds : 0;
  return {
    root,
    utterances,
    seconds,
    speakers: file.speakers.map((s) => s.name),
    splits,
    generatedSeconds,
    realTimeFactor,
  };
}

/** The corpus at `root`; undefined when there is nothing (or an empty folder). */
async function readExisting(root: string, wanted: CorpusFile['options']): Promise<EmbeddedCorpus | undefined> {
  const entries = await fs.promises.readdir(root).catch((cause: NodeJS.ErrnoException): string[] => {
    if (cause.code === 'ENOENT') return [];
    throw ioError('look into', root, cause);
  });
  if (entries.length === 0) return undefined;
  const file = entries.includes('corpus.json') ? await readCorpusFile(path.join(root, 'corpus.json')) : undefined;
  if (file?.kind !== kind) {
    throw new HubertkitError(
      'HK_CORPUS',
      `${root} is not empty and is no embedded corpus. Choose another folder, or remove this one.`,
    );
  }
  const had = { generator: file.generator, ...file.options };
  const differences = Object.entries({ generator, ...wanted })
    .filter(([name, value]) => had[name as keyof typeof had] !== value)
    .map(([name, value]) => `${name} is ${had[name as keyof typeof had]} there, ${value} was asked for`);
  if (differences.length > 0) {
    throw new HubertkitError(
      'HK_MISMATCH',
      `${root} holds an embedded corpus made with other options: ${differences.join('; ')}. Choose another folder, or remove this one.`,
    );
  }
  return summary(root, file, 0);
}

async function readCorpusFile(file: string): Promise<CorpusFile | undefined> {
  try {
    return JSON.parse(await fs.promises.readFile(file, 'utf8')) as CorpusFile;
  } catch (cause) {
    if (cause instanceof SyntaxError) return undefined;
    throw ioError('read', file, cause);
  }
}

/** Renames the finished folder. An empty folder of that name gives way; a full one (another process was faster) does not. */
async function putInPlace(folder: string, root: string): Promise<void> {
  await syncFolder(folder);
  await fs.promises.rename(folder, root);
  await syncFolder(path.dirname(root));
}

/** Removes what a killed process left beside `root`. */
async function removeAbandoned(root: string): Promise<void> {
  const parent = path.dirname(root);
  const prefix = `${path.basename(root)}.partial-`;
  const entries = await fs.promises.readdir(parent).catch(() => [] as string[]);
  const abandoned = entries.filter((e) => e.startsWith(prefix) && !isRunning(Number(e.slice(prefix.length))));
  await Promise.all(abandoned.map((e) => fs.promises.rm(path.join(parent, e), { recursive: true, force: true })));
}

function isWhole(value: unknown, low: number, high: number): boolean {
  return Number.isInteger(value) && (value as number) >= low && (value as number) <= high;
}

function check(holds: boolean, message: string): void {
  if (!holds) throw new HubertkitError('HK_ARGUMENT', `${message}.`);
}
