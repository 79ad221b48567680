import type { Command } from 'commander';
import type { Progress as Event } from '../train';
import { collect, corpusForms, print, run } from './command';
import { clock, Progress } from './progress';

interface Options {
  set?: string[];
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
    .description('features, k-means labels, masked prediction, iteration by iteration; continues what is in the folder')
    .argument('[config]', 'a YAML file; corpus, model and out are enough')
    .option('--corpus <corpus>', corpusForms)
    .option('--model <preset>', 'nano, tiny, small, base, large or xlarge')
    .option('-o, --out <folder>', 'the run folder')
    .option('--seed <n>', 'of weights, order, masks and dropout')
    .option('--threads <n>', 'CPU threads (0: all cores)')
    .option('-s, --set <key=value>', 'change one value, for example mask.probability=.65 (repeatable)', collect)
    .option('--print-config', 'print the configuration with every default, and stop')
    .action((file: string | undefined, options: Options) => run(({ signal }) => start(file, options, signal)));
}

async function start(file: string | undefined, options: Options, signal: AbortSignal): Promise<void> {
  const train = require('../train') as typeof import('../train');
  const flags = (['corpus', 'model', 'out', 'seed', 'threads'] as const).flatMap((key) =>
    options[key] === undefined
      ? []
      : [`${key}=${/^\d+$/.test(options[key]) ? options[key] : JSON.stringify(options[key])}`],
  );
  const sets = [...flags, ...(options.set ?? [])];
  const config = file ? train.loadConfig(file, sets) : train.resolveConfig(sets.reduce<unknown>(train.applySet, {}));
  if (options.printConfig) return print(train.configYaml(config).trimEnd());
  const progress = new Progress();
  try {
    const result = await train.pretrain(config, { signal, onProgress: (event) => showPretraining(progress, event) });
    print(result.folder);
  } finally {
    progress.close();
  }
}

/** Shows what a pretraining tells. */
export function showPretraining(progress: Progress, event: Event): void {
  const say = (text: string) => {
    progress.close();
    process.stderr.write(`${text}\n`);
  };
  const minutes = (seconds: number) => `${(seconds / 60).toFixed(1)} min`;
  switch (event.kind) {
    case 'run': {
      const { folder, trainUtterances, trainSeconds, validUtterances, validSeconds, skipped, resumedFrom } = event;
      const set = `${trainUtterances} utterances (${minutes(trainSeconds)}) to train on, ${validUtterances} (${minutes(validSeconds)}) to validate on`;
      say(
        `${folder}: ${set}${skipped ? `, ${skipped} files skipped (skipped.jsonl)` : ''}${resumedFrom ? `; goes on from ${resumedFrom.name}` : ''}`,
      );
      if (event.deviceNote) say(event.deviceNote);
      break;
    }
    case 'labels': {
      const phase = { features: 'features', fit: 'k-means', assign: 'labels' }[event.phase];
      progress.show({ label: `iteration ${event.iteration}: ${phase}`, done: event.done, total: event.of });
      break;
    }
    case 'labelled':
      say(
        `iteration ${event.iteration}: ${event.activeClusters} of ${event.clusters} clusters in use, unigram entropy ${event.unigramBits.toFixed(2)} bits`,
      );
      break;
    case 'update': {
      const { metrics } = event;
      progress.show({
        label: `iteration ${metrics.iteration}`,
        done: metrics.update,
        total: event.updates,
        unit: 'updates',
        values: [
          `loss ${metrics.maskedLossBits.toFixed(2)} bits (unigram ${metrics.unigramBits.toFixed(2)})`,
          `accuracy ${metrics.maskedAccuracy.toFixed(3)}`,
          `lr ${(metrics.learningRate ?? 0).toExponential(1)}`,
          `${(metrics.audioSecondsPerSecond ?? 0).toFixed(0)} audio-s/s`,
          `all done in ${clock(event.etaSeconds)}`,
        ],
      });
      break;
    }
    case 'alarm':
      say(`WARNING: ${event.message}`);
      break;
  }
}
