import type { Command } from 'commander';
import { columns, integer, print, printJson, run } from './command';
import { Progress } from './progress';

interface Options {
  clusters?: string;
  threads?: string;
  seed?: string;
  json?: boolean;
}

export function register(program: Command): void {
  program
    .command('analyze')
    .description('measure every layer of every kept checkpoint of a run: PNMI, CKA, phone probe, autoencoder index')
    .argument('<run>', 'a run folder')
    .option('--clusters <n>', 'of the k-means that layers are measured with (default 100)')
    .option('--seed <n>', 'of the choice of utterances, of k-means and of the probe (default 1)')
    .option('--threads <n>', 'CPU threads (0: all cores)')
    .option('--json', 'print one JSON line')
    .action((folder: string, options: Options) => run(({ signal }) => analyze(folder, options, signal)));
}

async function analyze(folder: string, { json, ...options }: Options, signal: AbortSignal): Promise<void> {
  const { analyzeRun } = require('../analysis') as typeof import('../analysis');
  const number = (key: keyof typeof options, low: number) =>
    options[key] === undefined ? {} : { [key]: integer(`--${key}`, options[key], low) };
  const progress = new Progress();
  const analyses = await analyzeRun(folder, {
    ...number('clusters', 2),
    ...number('threads', 0),
    ...number('seed', 0),
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
  if (json) return printJson(analyses);
  const last = analyses.at(-1);
  if (!last) return print('The run has no checkpoint yet.');
  const number3 = (value: number | undefined) => (value === undefined ? '' : value.toFixed(3));
  print(
    columns([
      ['layer', 'PNMI', 'phone purity', 'cluster purity', 'CKA layer 0', 'CKA log-mel', 'probe'],
      ...last.layers.map((row) => [
        `${row.layer}`,
        ...[row.pnmi, row.phonePurity, row.clusterPurity, row.ckaLayer0, row.ckaLogMel, row.phoneProbeAccuracy].map(
          number3,
        ),
      ]),
    ]),
  );
  print(
    `${last.checkpoint}; MFCC labels: PNMI ${number3(last.mfcc?.pnmi)}; chance ${number3(last.chance?.pnmi)}; autoencoder index ${number3(last.autoencoderIndex)}`,
  );
}
