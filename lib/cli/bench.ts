import type { Command } from 'commander';
import type { ProfiledOp } from '../bench/profile';
import { HubertkitError } from '../errors';
import { columns, deviceOf, integer, print, printJson, run } from './command';

interface StepOptions {
  device: string;
  preset: string;
  batch: string;
  seconds: string;
  precision: string;
  checkpoint: string;
  threads?: string;
  steps: string;
  dropout?: boolean;
  profile?: boolean;
  json?: boolean;
}

interface KmeansOptions {
  clusters: string;
  dim: string;
  frames: string;
  threads?: string;
  json?: boolean;
}

interface DataOptions {
  minutes: string;
  threads?: string;
  json?: boolean;
}

export function register(program: Command): void {
  const bench = program.command('bench').description('time one part on this machine (npm run bench: the whole suite)');
  bench
    .command('step')
    .description('a whole training step: forward, backward, clip, AdamW')
    .option('--device <device>', 'cpu, cuda, cuda:N or auto', 'cpu')
    .option('--preset <name>', 'nano, tiny, small, base, large, xlarge', 'tiny')
    .option('--batch <n>', 'rows', '8')
    .option('--seconds <s>', 'audio of each row', '4')
    .option('--precision <p>', 'f32 or bf16', 'f32')
    .option('--checkpoint <what>', 'none, or layers: activations of a layer are computed again in backward', 'none')
    .option('--threads <n>', 'CPU threads (default: all cores)')
    .option('--steps <n>', 'steps timed, after two that are not', '7')
    .option('--dropout', "with the preset's dropouts and LayerDrop (default: none)")
    .option('--profile', 'also time, FLOP, bytes and share of the roofline of each op')
    .option('--json', 'print one JSON line')
    .action((options: StepOptions) => run(() => step(options)));
  bench
    .command('kmeans')
    .description('assignment of frames to centroids, a Lloyd iteration, 100 mini-batch steps with k-means++')
    .option('--clusters <n>', 'centroids', '500')
    .option('--dim <n>', 'columns', '768')
    .option('--frames <n>', 'rows', '200000')
    .option('--threads <n>', 'CPU threads (default: all cores)')
    .option('--json', 'print one JSON line')
    .action((options: KmeansOptions) => run(() => kmeans(options)));
  bench
    .command('mfcc')
    .description('39 MFCC of speech, one utterance at a time')
    .option('--json', 'print one JSON line')
    .action((options: { json?: boolean }) => run(() => mfcc(options)));
  bench
    .command('data')
    .description('decoding FLAC, resampling, and the loader beside training steps, on the embedded corpus')
    .option('--minutes <n>', 'of speech', '4')
    .option('--threads <n>', 'CPU threads of the steps (default: all cores)')
    .option('--json', 'print one JSON line')
    .action((options: DataOptions) => run(() => data(options)));
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value))
    throw new HubertkitError('HK_USAGE', `${name} takes a number above 0, got "${text}".`);
  return value;
}

const threadsOf = (text: string | undefined) => (text === undefined ? {} : { threads: integer('--threads', text, 1) });

async function step(options: StepOptions): Promise<void> {
  const { benchStep } = require('../bench/step') as typeof import('../bench/step');
  const { presets } = require('../nn/config') as typeof import('../nn/config');
  if (!(options.preset in presets))
    throw new HubertkitError('HK_USAGE', `--preset takes ${Object.keys(presets).join(', ')}, got "${options.preset}".`);
  if (options.precision !== 'f32' && options.precision !== 'bf16')
    throw new HubertkitError('HK_USAGE', `--precision takes f32 or bf16, got "${options.precision}".`);
  if (options.checkpoint !== 'none' && options.checkpoint !== 'layers')
    throw new HubertkitError('HK_USAGE', `--checkpoint takes none or layers, got "${options.checkpoint}".`);
  const result = await benchStep({
    device: deviceOf(options.device),
    preset: options.preset as keyof typeof presets,
    batch: integer('--batch', options.batch, 1),
    seconds: positive('--seconds', options.seconds),
    precision: options.precision,
    checkpoint: options.checkpoint,
    steps: integer('--steps', options.steps, 1),
    dropout: options.dropout,
    profile: options.profile,
    ...threadsOf(options.threads),
  });
  if (options.json) return printJson(result);
  const { profile, roofline, ...numbers } = result;
  print(columns(Object.entries({ ...numbers, ...roofline }).map(([name, value]) => [name, String(value)])));
  if (profile) print(profileTables(profile));
}

/** Kinds of op by time, with their floors; then the single ops furthest from theirs. */
function profileTables(profile: ProfiledOp[]): string {
  const { furthestTable, kindTable } = require('../bench/profile') as typeof import('../bench/profile');
  return [kindTable(profile), furthestTable(profile)].map(columns).join('\n\n');
}

async function kmeans(options: KmeansOptions): Promise<void> {
  const { benchKmeans } = require('../bench/kmeans') as typeof import('../bench/kmeans');
  const result = await benchKmeans({
    clusters: integer('--clusters', options.clusters, 2),
    dim: integer('--dim', options.dim, 1),
    frames: integer('--frames', options.frames, 1),
    ...threadsOf(options.threads),
  });
  printNumbers(result, options.json);
}

async function mfcc(options: { json?: boolean }): Promise<void> {
  const { benchMfcc } = require('../bench/mfcc') as typeof import('../bench/mfcc');
  printNumbers(await benchMfcc(), options.json);
}

async function data(options: DataOptions): Promise<void> {
  const { benchData } = require('../bench/data') as typeof import('../bench/data');
  printNumbers(
    await benchData({ minutes: positive('--minutes', options.minutes), ...threadsOf(options.threads) }),
    options.json,
  );
}

function printNumbers(result: object, json?: boolean): void {
  if (json) printJson(result);
  else print(columns(Object.entries(result).map(([name, value]) => [name, String(value)])));
}
