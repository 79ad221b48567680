import type { Command } from 'commander';
import type { DemoProgress, DemoResult } from '../experiments/demo';
import { columns, integer, print, printJson, run, seconds } from './command';
import { showAnalysis } from './analyze';
import { errorRates } from './finetune';
import { showSweep } from './reset-sweep';
import { clock, Progress, showCorpus } from './progress';

interface Options {
  budget: string;
  out?: string;
  corpus?: string;
  seed: string;
  json?: boolean;
}

export function register(program: Command): void {
  program
    .command('demo')
    .description('run the whole study at small scale, from a corpus to a report')
    .option('--budget <time>', 'how long it should take on two ordinary cores: 90s, 10m, 2h', '10m')
    .option(
      '-o, --out <folder>',
      'the run folder (default: runs/demo; with another budget or seed runs/demo-60m, runs/demo-60m-seed-2)',
    )
    .option(
      '--corpus <folder>',
      'the embedded corpus, made when it is not there (default: corpora/demo-120; the number, its minutes, follows the budget)',
    )
    .option('--seed <n>', 'of weights, order, masks and dropout', '1')
    .option('--json', 'end with one JSON line')
    .action((options: Options) => run(({ signal }) => start(options, signal)));
}

async function start(options: Options, signal: AbortSignal): Promise<void> {
  const budgetSeconds = seconds('--budget', options.budget);
  const seed = integer('--seed', options.seed);
  const { demo } = require('../experiments/demo') as typeof import('../experiments/demo');
  const progress = new Progress();
  try {
    const { out, corpus } = options;
    const result = await demo({
      budgetSeconds,
      out,
      corpus,
      seed,
      signal,
      onProgress: (event) => show(progress, event),
    });
    progress.close();
    printResult(result);
    if (options.json) printJson(result);
  } finally {
    progress.close();
  }
}

function show(progress: Progress, event: DemoProgress): void {
  if (event.phase === 'corpus') {
    showCorpus(progress, event);
  } else if (event.phase === 'pretraining') {
    const { showPretraining } = require('./pretrain') as typeof import('./pretrain');
    showPretraining(progress, event.event);
  } else if (event.phase === 'analysis') {
    showAnalysis(progress, event.event);
  } else {
    showSweep(progress, event.event);
  }
}

function printResult({ pnmi, bestLayers, wer, cer, lexiconWer, audioSeconds, wallSeconds, report }: DemoResult): void {
  const three = (value: number) => value.toFixed(3);
  print('\nPhone information on unseen speakers (PNMI; 1: the clusters tell everything about the phone)');
  print(
    columns([
      ['  chance', three(pnmi.chance)],
      ['  random initialisation, best layer', three(pnmi.random)],
      ['  MFCC labels', three(pnmi.mfcc)],
      [`  iteration 1, best layer (${bestLayers.iteration1})`, three(pnmi.iteration1)],
      [`  iteration 2, best layer (${bestLayers.iteration2})`, three(pnmi.iteration2)],
    ]),
  );
  print(
    '\nTranscription on unseen speakers after fine-tuning (greedy; and with the words of the training transcripts)',
  );
  const name = (key: string) => (key === 'random' ? '  random initialisation' : `  top ${key.slice(1)} layers reset`);
  const rates = (key: string) => errorRates({ wer: wer[key], cer: cer[key], lexiconWer: lexiconWer[key] });
  print(columns(Object.keys(wer).map((key) => [name(key), ...rates(key)])));
  print(`\n${(audioSeconds / 3600).toFixed(1)} hours of audio processed, this call took ${clock(wallSeconds)}.`);
  print(report);
}
