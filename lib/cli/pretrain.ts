import type { Command } from 'commander';
import { print, run } from './command';
import { Progress } from './progress';

interface Options {
  set: string[];
  corpus?: string;
  model?: string;
  out?: string;
  seed?: string;
  threads?: string;
  printConfig?: boolean;
}

export function register(program: Command): void {
  program
    .command('pretrain')
    .description(
      'pretrain HuBERT: features, k-means labels, masked prediction, iteration by iteration; continues what is in the folder',
    )
    .argument('[config]', 'a YAML file; corpus, model and out are enough')
    .option('--corpus <corpus>', "'librispeech:DIR', 'folder:DIR', 'manifest:DIR', 'embedded:DIR' or DIR")
    .option('--model <preset>', 'nano, tiny, small, base, large or xlarge')
    .option('-o, --out <folder>', 'the run folder')
    .option('--seed <n>', 'of weights, order, masks and dropout')
    .option('--threads <n>', 'CPU threads (0: all cores)')
    .option('-s, --set <key=value>', 'change one value, for example mask.probability=.65 (repeatable)', collect, [])
    .option('--print-config', 'print the configuration with every default, and stop')
    .action((file: string | undefined, options: Options) => run(({ signal }) => start(file, options, signal)));
}

async function start(file: string | undefined, options: Options, signal: AbortSignal): Promise<void> {
  const { applySet, configYaml, loadConfig, resolveConfig } =
    require('../train/config') as typeof import('../train/config');
  const flags = (['corpus', 'model', 'out', 'seed', 'threads'] as const).flatMap((key) =>
    options[key] === undefined ? [] : [`${key}=${JSON.stringify(options[key]).replace(/^"(\d+)"$/, '$1')}`],
  );
  const sets = [...flags, ...options.set];
  const config = file ? loadConfig(file, sets) : resolveConfig(sets.reduce<unknown>(applySet, {}));
  if (options.printConfig) return print(configYaml(config).trimEnd());
  const { pretrain } = require('../train') as typeof import('../train');
  const progress = new Progress();
  await pretrain(config, { signal, onProgress: (event) => showPretraining(progress, event) });
  progress.close();
  print(config.out);
}

function collect(value: string, all: string[]): string[] {
  return [...all, value];
}
