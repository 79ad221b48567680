import type { Command } from 'commander';
import type { SweepProgress } from '../finetune';
import { HubertkitError } from '../errors';
import { columns, integer, print, printJson, run } from './command';
import { errorRates, given, type SharedOptions, shared } from './finetune';
import { Progress } from './progress';

interface Options extends SharedOptions {
  k?: string;
  seeds: string;
  mode: string;
  random: boolean;
}

export function register(program: Command): void {
  shared(
    program
      .command('reset-sweep')
      .description(
        'fine-tune with the top k layers reset, for each k and several seeds, and from random initialisation',
      ),
  )
    .option('--k <list>', 'numbers of blocks, for example 0,1,2 (default: 0 to all)')
    .option('--seeds <n>', 'how many seeds, or a list of them', '3')
    .option('--mode <mode>', 'reset: the top k blocks begin anew; drop: they are taken off', 'reset')
    .option('--no-random', 'leave out the control from random initialisation')
    .action((source: string, options: Options) => run(({ signal }) => start(source, options, signal)));
}

async function start(source: string, options: Options, signal: AbortSignal): Promise<void> {
  if (options.mode !== 'reset' && options.mode !== 'drop') {
    throw new HubertkitError('HK_USAGE', `--mode takes reset or drop, got "${options.mode}".`);
  }
  const { resetSweep } = require('../finetune') as typeof import('../finetune');
  const list = (name: string, text: string) => text.split(',').map((part) => integer(name, part));
  const progress = new Progress();
  const summary = await resetSweep(
    {
      ...given(source, options),
      mode: options.mode,
      random: options.random,
      ...(options.k !== undefined && { k: list('--k', options.k) }),
      seeds: options.seeds.includes(',') ? list('--seeds', options.seeds) : upTo(integer('--seeds', options.seeds, 1)),
    },
    {
      out: options.out,
      signal,
      onProgress: (event) => showSweep(progress, event),
    },
  );
  progress.close();
  if (options.json) return printJson(summary);
  const rate = (value?: { mean: number; sd: number }) =>
    value ? `${(100 * value.mean).toFixed(1)} ± ${(100 * value.sd).toFixed(1)}` : '';
  print(
    columns([
      ['', 'dev WER %', 'dev CER %', 'test WER %', 'test CER %', 'with lexicon %', 'test WER against k = 0 (95 %)'],
      ...summary.rows.map((row) => {
        const interval = row.difference?.testWer ?? row.difference?.wer;
        const difference = interval
          ? [interval.estimate, interval.low, interval.high].map((value) => (100 * value).toFixed(1))
          : [];
        return [
          row.name,
          rate(row.wer),
          rate(row.cer),
          rate(row.testWer),
          rate(row.testCer),
          rate(row.testLexiconWer ?? row.lexiconWer),
          difference.length ? `${difference[0]} [${difference[1]}, ${difference[2]}]` : '',
        ];
      }),
    ]),
  );
}

/** The updates of all variants, and the last measurement of the one that has just moved on. */
export function showSweep(progress: Progress, { variant, update, point, done, total }: SweepProgress): void {
  const values = point ? [`${variant} at ${update}:`, ...errorRates(point)] : [];
  progress.show({ label: 'fine-tuning', done, total, unit: 'updates', values });
}

function upTo(count: number): number[] {
  return Array.from({ length: count }, (_, i) => i + 1);
}
