import type { Command } from 'commander';
import type { AnalysisMetric, AnalysisProgress, AnalyzeOptions, CheckpointAnalysis } from '../analysis';
import { collect, columns, integer, jsonOption, print, printJson, run } from './command';
import { Progress } from './progress';

interface Options {
  metrics?: string;
  alignments?: string[];
  abxItems?: string;
  clusters?: string;
  fitFrames?: string;
  testFrames?: string;
  abxTriples?: string;
  memory?: string;
  seed?: string;
  threads?: string;
  json?: boolean;
}

export function register(program: Command): void {
  program
    .command('analyze')
    .description(
      'measure every layer of every kept checkpoint of a run: PNMI, CKA, phone probe, and what --metrics names',
    )
    .argument('<run>', 'a run folder')
    .option(
      '--metrics <names>',
      'what to measure, separated by commas (default clusters,cka and, at the ends of iterations, probe); "all" is everything',
    )
    .option(
      '--alignments <path>',
      'a TextGrid, *.alignment.txt, 100 Hz *.tsv or *.jsonl file, or a folder of them; may be given again',
      collect,
    )
    .option('--abx-items <file>', 'an .item file (default: triphones of the phone alignments)')
    .option('--abx-triples <n>', 'ABX triples within, and as many across speakers (default 10000)')
    .option('--clusters <n>', 'of the k-means that layers are measured with (default 100)')
    .option(
      '--fit-frames <n>',
      'frames of training speakers that k-means, probes and CCA are fitted on (default 20000)',
    )
    .option('--test-frames <n>', 'frames of held-out speakers that everything is measured on (default 12000)')
    .option('--memory <MiB>', 'features held at a time (default 1024)')
    .option('--seed <n>', 'of the choice of utterances, of k-means, probes and ABX triples (default 1)')
    .option('--threads <n>', "CPU threads (0: all cores; default: the run's)")
    .option(...jsonOption)
    .addHelpText('after', () => `\nMetrics:\n${metricTable()}`)
    .action((folder: string, options: Options) => run(({ signal }) => analyze(folder, options, signal)));
}

function metricTable(): string {
  const { metrics } = require('../analysis') as typeof import('../analysis');
  return columns(Object.entries(metrics).map(([name, { description }]) => [`  ${name}`, description]));
}

async function analyze(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  const { analyzeRun } = require('../analysis') as typeof import('../analysis');
  const { describeCoverage } = require('../data/alignment-files') as typeof import('../data/alignment-files');
  const progress = new Progress();
  const analyses = await analyzeRun(folder, {
    ...numberOptions(options),
    ...(options.metrics !== undefined && { metrics: metricsOf(options.metrics) }),
    abxItems: options.abxItems,
    alignments: options.alignments,
    onAlignments: (coverage) => process.stderr.write(`${describeCoverage(coverage)}\n`),
    signal,
    onProgress: (event) => showAnalysis(progress, event),
  });
  progress.close();
  if (options.json) return printJson(analyses);
  const last = analyses.at(-1);
  print(last ? summary(last) : 'The run has no checkpoint yet.');
}

/** The checkpoint and layer that were measured last. */
export function showAnalysis(progress: Progress, { checkpoint, done, of, layer }: AnalysisProgress): void {
  const values = [checkpoint, layer === undefined ? '' : `layer ${layer}`];
  progress.show({ label: 'analysis', done, total: of, unit: 'checkpoints', values });
}

function numberOptions(options: Options): AnalyzeOptions {
  const number = (key: keyof Options & keyof AnalyzeOptions, flag: string, low: number) =>
    options[key] === undefined ? {} : { [key]: integer(flag, options[key] as string, low) };
  return {
    ...number('clusters', '--clusters', 2),
    ...number('fitFrames', '--fit-frames', 1),
    ...number('testFrames', '--test-frames', 1),
    ...number('abxTriples', '--abx-triples', 1),
    ...number('seed', '--seed', 0),
    ...number('threads', '--threads', 0),
    ...(options.memory !== undefined && { memoryMiB: integer('--memory', options.memory, 1) }),
  };
}

function metricsOf(names: string): AnalysisMetric[] {
  const { metricNames } = require('../analysis') as typeof import('../analysis');
  return names === 'all' ? metricNames : (names.split(',').map((name) => name.trim()) as AnalysisMetric[]);
}

/** One row a measure, one column a layer. */
function summary(last: CheckpointAnalysis): string {
  const { presentMeasures } = require('../report/measures') as typeof import('../report/measures');
  const short = (value: number | undefined) =>
    value === undefined ? '' : Number.isInteger(value) ? `${value}` : value.toFixed(value < 100 ? 3 : 1);
  const rows = presentMeasures(last.layers as { layer: number }[]).map(({ key, name }) => [
    name,
    ...last.layers.map((row) => short(row[key as keyof typeof row])),
  ]);
  const table = columns([['layer', ...last.layers.map(({ layer }) => `${layer}`)], ...rows]);
  const facts = {
    'MFCC labels: PNMI': last.mfcc?.pnmi,
    'chance: PNMI': last.chance?.pnmi,
    'autoencoder index (CKA)': last.autoencoderIndex,
    'autoencoder index (PWCCA)': last.autoencoderIndexCca,
    'drop at the top (PNMI)': last.dropAtTop,
    'drop at the top (PWCCA to phones)': last.dropAtTopCca,
  };
  const known = Object.entries(facts).flatMap(([name, value]) =>
    value === undefined ? [] : [`${name} ${short(value)}`],
  );
  return `${table}\n${[last.checkpoint, ...known].join('; ')}`;
}
