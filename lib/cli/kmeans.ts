import type { Command } from 'commander';
import { HubertkitError } from '../errors';
import { columns, corpusForms, integer, jsonOption, print, printJson, run } from './command';
import { Progress } from './progress';

interface Options {
  clusters: string;
  model?: string;
  checkpoint?: string;
  layer?: string;
  share: string;
  method: string;
  seed: string;
  threads: string;
  out: string;
  json?: boolean;
}

export function register(program: Command): void {
  program
    .command('kmeans')
    .description(
      'cluster MFCCs, or a layer of a model, over a corpus: centroids, labels, and how well they match phones',
    )
    .argument('<corpus>', corpusForms)
    .option('--clusters <n>', 'number of clusters', '100')
    .option('--model <folder>', 'a run or model folder whose layer is clustered (default: MFCCs)')
    .option('--checkpoint <name>', 'of a run: latest, iteration-1 or iteration-1/step-000400 (default latest)')
    .option('--layer <n>', 'layer of the model; 0 is the input of the transformer')
    .option('--share <x>', 'share of the training utterances that centroids are fitted on', '1')
    .option('--method <name>', 'minibatch or lloyd', 'minibatch')
    .option('--seed <n>', 'of the fit', '1')
    .option('--threads <n>', 'CPU threads (0: all cores)', '0')
    .option('-o, --out <folder>', 'for centroids.safetensors, <split>.labels and <split>.km', 'kmeans')
    .option(...jsonOption)
    .action((corpus: string, options: Options) => run(({ signal }) => start(corpus, options, signal)));
}

async function start(corpus: string, options: Options, signal: AbortSignal): Promise<void> {
  const { model, checkpoint, layer, method, out } = options;
  if ((model === undefined) !== (layer === undefined))
    throw new HubertkitError('HK_USAGE', '--model and --layer go together.');
  if (method !== 'minibatch' && method !== 'lloyd')
    throw new HubertkitError('HK_USAGE', `--method takes minibatch or lloyd, got "${method}".`);
  const share = Number(options.share);
  if (!(share > 0 && share <= 1))
    throw new HubertkitError('HK_USAGE', `--share takes a number from 0 to 1, got "${options.share}".`);
  const { clusterCorpus } = require('../experiments/cluster-corpus') as typeof import('../experiments/cluster-corpus');
  const progress = new Progress();
  const result = await clusterCorpus({
    corpus,
    out,
    clusters: integer('--clusters', options.clusters, 2),
    teacher: model === undefined ? 'mfcc' : { model, checkpoint, layer: integer('--layer', layer!) },
    share,
    method,
    seed: integer('--seed', options.seed),
    threads: integer('--threads', options.threads),
    signal,
    onProgress: ({ phase, done, of }) => progress.show({ label: phase === 'fit' ? 'k-means' : phase, done, total: of }),
  }).finally(() => progress.close());
  if (options.json) return printJson(result);
  print(
    columns([
      ['split', 'utterances', 'PNMI', 'chance', 'phone purity', 'cluster purity'],
      ...Object.entries(result.splits).map(([split, { utterances, measures: m }]) => [
        split,
        utterances,
        ...(m ? [m.pnmi, m.chancePnmi, m.phonePurity, m.clusterPurity] : []).map((value) => value.toFixed(3)),
        ...(m ? [] : ['', '', '', '']),
      ]),
    ]),
  );
  print(`centroids ${result.fingerprint}: ${result.folder}`);
}
