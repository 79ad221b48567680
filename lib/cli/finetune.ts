import type { Command } from 'commander';
import type { FinetuneOptions } from '../finetune';
import { assign, collect, integer, jsonOption, print, printJson, run } from './command';
import { Progress } from './progress';

/** Options that finetune and reset-sweep share. */
export interface SharedOptions {
  checkpoint?: string;
  corpus?: string;
  freeze?: string;
  labelMinutes?: string;
  updates?: string;
  set?: string[];
  out?: string;
  json?: boolean;
}

interface Options extends SharedOptions {
  resetTop: string;
  dropTop: string;
  random?: boolean;
  seed: string;
}

export function register(program: Command): void {
  shared(
    program
      .command('finetune')
      .description('fine-tune for transcription (CTC), with the top layers as they are, begun anew or taken off'),
  )
    .option('--reset-top <k>', 'blocks, counted from the top, that begin anew', '0')
    .option('--drop-top <k>', 'blocks, counted from the top, that are taken off', '0')
    .option('--random', 'the control: the whole network begins anew')
    .option('--seed <n>', 'of the head, the reset blocks, data order, masks and dropout', '1')
    .action((source: string, options: Options) => run(({ signal }) => start(source, options, signal)));
}

/** Adds the argument and the options that finetune and reset-sweep share. */
export function shared(command: Command): Command {
  return command
    .argument('<run>', 'a run folder, or the folder of a model')
    .option('--checkpoint <name>', 'of a run: latest, iteration-1 or iteration-1/step-000400 (default latest)')
    .option('--corpus <corpus>', 'transcribed audio (default: that of the run)')
    .option('--freeze <what>', 'what rests at first: pretrained-only, or all (but the head); default pretrained-only')
    .option('--label-minutes <n>', 'minutes of transcribed audio to train on (default or 0: all)')
    .option('--updates <n>', 'updates (default depends on the model)')
    .option('-s, --set <key=value>', 'change any other option, for example learningRate=5e-4 (repeatable)', collect)
    .option(
      '-o, --out <folder>',
      'folder of the fine-tuning, or of a sweep with its variants (default: in finetune of the run folder)',
    )
    .option(...jsonOption);
}

/** The shared options as finetune takes them. */
export function given(source: string, options: SharedOptions): FinetuneOptions {
  const { checkpoint, corpus, freeze, labelMinutes, updates, set } = options;
  return {
    source,
    ...(checkpoint && { checkpoint }),
    ...(corpus && { corpus }),
    ...(freeze && { freeze: freeze as FinetuneOptions['freeze'] }),
    ...(labelMinutes !== undefined && { labelMinutes: Number(labelMinutes) }),
    ...(updates !== undefined && { updates: integer('--updates', updates, 1) }),
    ...assign(set),
  };
}

async function start(source: string, options: Options, signal: AbortSignal): Promise<void> {
  const { finetune } = require('../finetune') as typeof import('../finetune');
  const progress = new Progress();
  const result = await finetune(
    {
      ...given(source, options),
      resetTop: integer('--reset-top', options.resetTop),
      dropTop: integer('--drop-top', options.dropTop),
      random: !!options.random,
      seed: integer('--seed', options.seed),
    },
    {
      out: options.out,
      signal,
      onProgress: ({ variant, update, updates, point }) =>
        progress.show({
          label: variant,
          done: update,
          total: updates,
          unit: 'updates',
          values: point ? errorRates(point) : [],
        }),
    },
  );
  progress.close();
  if (options.json) return printJson(result);
  const { testWer, testCer, testLexiconWer } = result;
  const test = testWer === undefined ? [] : errorRates({ wer: testWer, cer: testCer!, lexiconWer: testLexiconWer });
  print(`${result.variant}: dev ${errorRates(result).join(', ')}${test.length ? `; test ${test.join(', ')}` : ''}`);
}

export function errorRates({ wer, cer, lexiconWer }: { wer: number; cer: number; lexiconWer?: number }): string[] {
  const percent = (value: number) => `${(100 * value).toFixed(1)} %`;
  const lexicon = lexiconWer === undefined ? [] : [`WER with lexicon ${percent(lexiconWer)}`];
  return [`WER ${percent(wer)}`, `CER ${percent(cer)}`, ...lexicon];
}
