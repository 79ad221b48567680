import type { Command } from 'commander';
import type { AnalysisMetric, AnalyzeOptions, CheckpointAnalysis } from '../analysis';
import { columns, integer, print, printJson, run } from './command';
import { Progress } from './progress';

/** Options that are whole numbers: what analyzeRun calls them, their least value, and what they say. */
const numbers = {
  clusters: [2, 'of the k-means that layers are measured with (default 100)'],
  fitFrames: [1, 'frames of training speakers that k-means, probes and CCA are fitted on (default 20000)'],
  testFrames: [1, 'frames of held-out speakers that everything is measured on (default 12000)'],
  abxTriples: [1, 'ABX triples within and across speakers (default 10000)'],
  memoryMiB: [1, 'features held at a time (default 1024)'],
  seed: [0, 'of the choice of utterances, of k-means, probes and ABX triples (default 1)'],
  threads: [0, 'CPU threads (0: all cores)'],
} as const;
type NumberName = keyof typeof numbers;

/** fitFrames -> --fit-frames; the unit at the end of memoryMiB is left out. */
const flag = (name: NumberName) =>
  `--${name.replace('MiB', '').replace(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)}`;

interface Options extends Partial<Record<string, string | boolean>> {
  metrics?: string;
  abxItems?: string;
  json?: boolean;
}

export function register(program: Command): void {
  const command = program
    .command('analyze')
    .description(
      'measure every layer of every kept checkpoint of a run: PNMI, CKA, phone probe, and what --metrics names',
    )
    .argument('<run>', 'a run folder')
    .option(
      '--metrics <names>',
      'what to measure, separated by commas (default clusters,cka,probe); "all" is everything',
    )
    .option('--abx-items <file>', 'an .item file (default: triphones of the phone alignments)');
  for (const [name, [, says]] of Object.entries(numbers)) command.option(`${flag(name as NumberName)} <n>`, says);
  command
    .option('--json', 'print one JSON line')
    .addHelpText(
      'after',
      () =>
        `\nMetrics:\n${metricTable()}\n\nWhat a run's analysis/ holds already is kept: another metric measures only that one.`,
    )
    .action((folder: string, options: Options) => run(({ signal }) => analyze(folder, options, signal)));
}

function metricTable(): string {
  const { metrics } = require('../analysis') as typeof import('../analysis');
  return columns(Object.entries(metrics).map(([name, { description }]) => [`  ${name}`, description]));
}

async function analyze(folder: string, options: Options, signal: AbortSignal): Promise<void> {
  const { analyzeRun } = require('../analysis') as typeof import('../analysis');
  const progress = new Progress();
  const analyses = await analyzeRun(folder, {
    ...numberOptions(options),
    ...(options.metrics !== undefined && { metrics: metricsOf(options.metrics) }),
    abxItems: options.abxItems,
    signal,
    onProgress: ({ checkpoint, done, of, layer }) =>
      progress.show({
        label: 'analysis',
        done,
        total: of,
        unit: 'checkpoints',
        values: [checkpoint, layer === undefined ? '' : `layer ${layer}`],
      }),
  });
  progress.close();
  if (options.json) return printJson(analyses);
  const last = analyses.at(-1);
  print(last ? summary(last) : 'The run has no checkpoint yet.');
}

function numberOptions(options: Options): AnalyzeOptions {
  const given = (Object.keys(numbers) as NumberName[]).map((name) => {
    const key = name.replace('MiB', '');
    const text = options[key];
    return typeof text === 'string' ? { [name]: integer(flag(name), text, numbers[name][0]) } : {};
  });
  return Object.assign({}, ...given);
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
