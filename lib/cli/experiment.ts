import type { Command } from 'commander';
import { HubertkitError } from '../errors';
import type { AnalysisMetric } from '../analysis';
import type { ExperimentProgress } from '../experiments/engine';
import type { Estimate } from '../experiments/estimate';
import type { ExperimentOptions } from '../experiments/plan';
import type { ExperimentSummary } from '../experiments/summary';
import type { PresetName } from '../nn/config';
import { collect, columns, integer, print, printJson, run } from './command';
import { errorRates } from './finetune';
import { clock, Progress, showCorpus } from './progress';

interface Options {
  preset: string;
  seeds: string;
  budget?: string;
  cells?: string;
  k?: string;
  labelMinutes?: string;
  corpus?: string;
  out?: string;
  finetuneUpdates?: string;
  set?: string[];
  alignments?: string[];
  metrics?: string;
  finetuneCorpus?: string;
  dryRun?: boolean;
  json?: boolean;
}

export function register(program: Command): void {
  program
    .command('experiment')
    .description('run an experiment of the study, or go on with it; without a name, list them')
    .argument('[name...]', 'one or several experiments, or all')
    .option('--preset <preset>', 'nano, tiny, small, base, large or xlarge', 'nano')
    .option('--seeds <n>', 'how many seeds every cell is run with', '3')
    .option(
      '--budget <hours>',
      'hours of audio that pretraining processes for one seed (default depends on the preset)',
    )
    .option('--cells <list>', 'only these cells of the grid, for example layer-1,layer-4 (default: all)')
    .option(
      '--k <list>',
      'of the fine-tunings only those with so many blocks begun anew, for example 2,4 (default: all)',
    )
    .option('--label-minutes <list>', 'minutes of transcribed audio to fine-tune on (default depends on the preset)')
    .option('--corpus <corpus>', 'as pretrain takes it (default: an hour of the embedded corpus)')
    .option('-o, --out <folder>', 'folder of the experiments, each in one of its name (default: runs/experiments)')
    .option('--finetune-updates <n>', 'updates of each fine-tuning (default depends on the preset)')
    .option(
      '-s, --set <key=value>',
      'change a first-level key of the pretraining, for example threads=1 (repeatable)',
      collect,
    )
    .option('--alignments <path>', 'a file or folder of alignments beside those of the corpus (repeatable)', collect)
    .option('--metrics <names>', "what layers are measured by, as analyze takes it (default: the experiment's own)")
    .option('--finetune-corpus <corpus>', 'transcribed speech to fine-tune on (default: the corpus of pretraining)')
    .option('--dry-run', 'print cells, updates, audio-hours and the predicted time; nothing is trained')
    .option('--json', 'end with one JSON line')
    .action((names: string[], options: Options) => run(({ signal }) => start(names, options, signal)));
}

async function start(names: string[], options: Options, signal: AbortSignal): Promise<void> {
  const { allExperiments, experimentNamed } = require('../experiments/plan') as typeof import('../experiments/plan');
  if (names.length === 0) return print(columns(allExperiments().map(({ name, question }) => [name, question])));
  const chosen = names.includes('all') ? [...allExperiments()] : names.map(experimentNamed);
  const given = chosen.map(({ name }) => optionsOf(name, options));
  if (options.dryRun) return predict(given, options, signal);
  const summaries: ExperimentSummary[] = [];
  for (const one of given) summaries.push(await runOne(one, signal));
  if (options.json) printJson(summaries.length === 1 ? summaries[0] : summaries);
}

function optionsOf(experiment: string, o: Options): ExperimentOptions {
  const path = require('node:path') as typeof import('node:path');
  const { presets } = require('../nn/config') as typeof import('../nn/config');
  const { applySet } = require('../train') as typeof import('../train');
  if (!(o.preset in presets))
    throw new HubertkitError('HK_USAGE', `--preset takes ${Object.keys(presets).join(', ')}, got "${o.preset}".`);
  const hours = Number(o.budget);
  if (o.budget !== undefined && !(hours > 0))
    throw new HubertkitError('HK_USAGE', `--budget takes a number of audio-hours, got "${o.budget}".`);
  return {
    experiment,
    preset: o.preset as PresetName,
    seeds: integer('--seeds', o.seeds, 1),
    ...(o.budget !== undefined && { audioHours: hours }),
    ...(o.cells !== undefined && { cells: o.cells.split(',') }),
    ...(o.k !== undefined && { k: o.k.split(',').map(Number) }),
    ...(o.labelMinutes !== undefined && { labelMinutes: o.labelMinutes.split(',').map(Number) }),
    ...(o.corpus && { corpus: o.corpus }),
    out: path.join(o.out ?? path.join('runs', 'experiments'), experiment),
    finetune: {
      ...(o.finetuneUpdates !== undefined && { updates: integer('--finetune-updates', o.finetuneUpdates, 1) }),
      ...(o.finetuneCorpus && { corpus: o.finetuneCorpus }),
    },
    ...(o.metrics !== undefined && { metrics: o.metrics.split(',') as AnalysisMetric[] }),
    ...(o.alignments && { alignments: o.alignments }),
    set: (o.set ?? []).reduce<unknown>(applySet, {}) as ExperimentOptions['set'],
  };
}

async function runOne(options: ExperimentOptions, signal: AbortSignal): Promise<ExperimentSummary> {
  const { runExperiment } = require('../experiments/engine') as typeof import('../experiments/engine');
  const progress = new Progress();
  try {
    const summary = await runExperiment(options, { signal, onProgress: (event) => show(progress, event) });
    progress.close();
    printSummary(summary, options.out!);
    return summary;
  } finally {
    progress.close();
  }
}

function show(progress: Progress, event: ExperimentProgress): void {
  if (event.phase === 'corpus') {
    showCorpus(progress, event);
    return;
  }
  const label = `${event.index + 1}/${event.cells} seed ${event.seed} ${event.cell}`;
  if (event.phase === 'analysis') {
    const { done, of, checkpoint } = event.event;
    progress.show({ label: `${label}: analysis`, done, total: of, unit: 'checkpoints', values: [checkpoint] });
  } else if (event.phase === 'fine-tuning') {
    const { variant, done, total, point } = event.event;
    const values = [variant, ...(point ? errorRates(point) : [])];
    progress.show({ label: `${label}: fine-tuning`, done, total, unit: 'updates', values });
  } else if (event.event.kind === 'update') {
    const { metrics, updates } = event.event;
    const values = [
      `loss ${metrics.maskedLossBits.toFixed(2)} bits`,
      `${(metrics.audioSecondsPerSecond ?? 0).toFixed(0)} audio-s/s`,
    ];
    progress.show({
      label: `${label}: iteration ${metrics.iteration}`,
      done: metrics.update,
      total: updates,
      unit: 'updates',
      values,
    });
  } else if (event.event.kind === 'labels') {
    const { iteration, phase, done, of } = event.event;
    progress.show({ label: `${label}: iteration ${iteration}: labels (${phase})`, done, total: of });
  }
}

function printSummary({ experiment, question, verdicts, seeds, cost }: ExperimentSummary, out: string): void {
  print(`\n${experiment}: ${question}`);
  for (const { sentence } of verdicts) print(`- ${sentence}`);
  const hours = (cost.audioSeconds / 3600).toFixed(1);
  print(
    `${cost.cells} cells, ${seeds.length} seeds, ${hours} hours of audio trained on, ${clock(cost.seconds)}: ${out}`,
  );
}

async function predict(given: ExperimentOptions[], { json }: Options, signal: AbortSignal): Promise<void> {
  const { estimateExperiments } = require('../experiments/estimate') as typeof import('../experiments/estimate');
  const estimate = await estimateExperiments(given, { signal });
  if (json) return printJson(estimate);
  printEstimate(estimate);
}

function printEstimate({ cells, speed, seconds, audioSeconds }: Estimate): void {
  const hours = (value: number) => (value / 3600).toFixed(2);
  print(
    columns([
      [
        'experiment',
        'seed',
        'cell',
        'updates',
        'shared',
        'audio-hours',
        'fine-tunings',
        'pretraining',
        'analysis',
        'fine-tuning',
      ],
      ...cells.map((cell) => [
        cell.experiment,
        `${cell.seed}`,
        cell.cell,
        `${cell.updates}`,
        `${cell.sharedUpdates}`,
        hours(cell.audioSeconds),
        `${cell.fineTunings}`,
        ...(cell.complete
          ? ['done', '', '']
          : [cell.pretrainingSeconds, cell.analysisSeconds, cell.finetuningSeconds].map(clock)),
      ]),
    ]),
  );
  const rates = [
    `pretraining ${speed.pretraining.toFixed(0)}`,
    `a forward pass ${speed.forward.toFixed(0)}`,
    ...(Number.isNaN(speed.finetuning) ? [] : [`fine-tuning ${speed.finetuning.toFixed(0)}`]),
  ];
  print(`\nMeasured here, audio-seconds a second: ${rates.join(', ')}.`);
  print(`Left to do: ${hours(audioSeconds)} audio-hours of pretraining, ${clock(seconds)} in all.`);
}
