import type { Command } from 'commander';
import { HubertkitError } from '../errors';
import { columns, corpusForms, integer, jsonOption, print, printJson, run } from './command';
import { Progress } from './progress';

export function register(program: Command): void {
  const corpus = program.command('corpus').description('make, list or check a corpus');
  corpus
    .command('make')
    .description('make the embedded corpus: synthetic speech with transcripts and exact phone and word times')
    .argument('[folder]', 'the folder to make', 'corpora/embedded')
    .option('--minutes <n>', 'minutes of audio, 0.5 to 6000', '40')
    .option('--seed <n>', 'everything random comes from it', '1')
    .option('--clean', 'without the random channel (microphone, room, noise, level)')
    .option('--threads <n>', 'processes to work in (default: one for each core, at most 16)')
    .option(...jsonOption)
    .action((folder: string, options: MakeOptions) => run(({ signal }) => make(folder, options, signal)));
  for (const [name, description] of [
    ['list', 'print the utterances of a corpus'],
    ['check', 'decode every file of a corpus and say what can be used and what cannot'],
  ] as const) {
    corpus
      .command(name)
      .description(description)
      .argument('<corpus>', corpusForms)
      .option(...jsonOption)
      .action((spec: string, options: { json?: boolean }) =>
        run(({ signal }) => (name === 'list' ? list(spec, options) : check(spec, options, signal))),
      );
  }
}

interface MakeOptions {
  minutes: string;
  seed: string;
  clean?: boolean;
  threads?: string;
  json?: boolean;
}

async function make(folder: string, options: MakeOptions, signal: AbortSignal): Promise<void> {
  const minutes = Number(options.minutes);
  if (!(minutes > 0)) throw new HubertkitError('HK_USAGE', `--minutes takes a number, got "${options.minutes}".`);
  const { makeEmbeddedCorpus } = require('../data/embedded') as typeof import('../data/embedded');
  const progress = new Progress();
  const made = await makeEmbeddedCorpus({
    out: folder,
    minutes,
    seed: integer('--seed', options.seed),
    clean: !!options.clean,
    threads: options.threads === undefined ? undefined : integer('--threads', options.threads, 1),
    signal,
    onProgress: ({ seconds, total }) =>
      progress.show({ label: 'embedded corpus', done: Math.min(Math.round(seconds), total), total, unit: 's' }),
  });
  progress.close();
  if (options.json) return printJson(made);
  print(
    columns([
      ['split', 'utterances', 'minutes', 'speakers'],
      ...Object.entries(made.splits).map(([split, { utterances, seconds, speakers }]) => [
        split,
        utterances,
        Number((seconds / 60).toFixed(1)),
        speakers.length,
      ]),
    ]),
  );
  print(
    made.generatedSeconds
      ? `made in ${made.generatedSeconds.toFixed(1)} s (${made.realTimeFactor.toFixed(0)}x real time)`
      : 'was there already',
  );
  print(made.root);
}

async function list(spec: string, options: { json?: boolean }): Promise<void> {
  const { openCorpus } = require('../data/corpus') as typeof import('../data/corpus');
  const corpus = await openCorpus(spec);
  if (options.json) return printJson(corpus.utterances.map(({ phones, words, ...rest }) => rest));
  for (const { id, split, speaker, samples, transcript } of corpus.utterances) {
    print([id, split, speaker, (samples / 16000).toFixed(2), transcript ?? ''].join('\t'));
  }
}

async function check(spec: string, options: { json?: boolean }, signal: AbortSignal): Promise<void> {
  const { openCorpus, loadWaveform } = require('../data/corpus') as typeof import('../data/corpus');
  const corpus = await openCorpus(spec);
  const skipped = [...corpus.skipped];
  const progress = new Progress();
  const splits = new Map<
    string,
    { utterances: number; seconds: number; speakers: Set<string>; transcribed: number; aligned: number }
  >();
  for (const [index, utterance] of corpus.utterances.entries()) {
    signal.throwIfAborted();
    try {
      const waveform = await loadWaveform(utterance);
      const entry = splits.get(utterance.split) ?? {
        utterances: 0,
        seconds: 0,
        speakers: new Set(),
        transcribed: 0,
        aligned: 0,
      };
      splits.set(utterance.split, entry);
      entry.utterances++;
      entry.seconds += waveform.length / 16000;
      entry.speakers.add(utterance.speaker);
      if (utterance.transcript) entry.transcribed++;
      if (utterance.phones) entry.aligned++;
    } catch (error) {
      const { code, message } = error as HubertkitError;
      skipped.push({ path: utterance.path, reason: message, code });
    }
    progress.show({ label: corpus.name, done: index + 1, total: corpus.utterances.length, unit: 'files' });
  }
  progress.close();
  const rows = [...splits].map(([split, entry]) => ({ ...entry, split, speakers: entry.speakers.size }));
  if (options.json) return printJson({ name: corpus.name, root: corpus.root, splits: rows, skipped });
  print(
    columns([
      ['split', 'utterances', 'minutes', 'speakers', 'with transcript', 'with phones'],
      ...rows.map((row) => [
        row.split,
        row.utterances,
        Number((row.seconds / 60).toFixed(1)),
        row.speakers,
        row.transcribed,
        row.aligned,
      ]),
    ]),
  );
  for (const { path, reason } of skipped) print(`skipped  ${path}: ${reason}`);
  print(`${corpus.utterances.length - (skipped.length - corpus.skipped.length)} usable, ${skipped.length} skipped`);
}
