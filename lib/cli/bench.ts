import type { Command } from 'commander';
import type { ProfiledOp } from '../bench/profile';
import { HubertkitError } from '../errors';
import type { PresetName } from '../nn/config';
import type { Precision } from '../nn/graph';
import { columns, deviceOf, deviceOption, integer, jsonOption, print, printJson, run } from './command';

/** What the parts that take steps have in common. */
interface WorkOptions {
  device: string;
  batch: string;
  seconds: string;
  precision: string;
  threads?: string;
  json?: boolean;
}

interface TrainingOptions extends WorkOptions {
  presets: string;
}

interface StepOptions extends WorkOptions {
  preset: string;
  checkpoint: string;
  steps: string;
  dropout?: boolean;
  profile?: boolean;
}

interface KmeansOptions {
  device: string;
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

const threadsOption = ['--threads <n>', 'CPU threads (default: all cores)'] as const;

export function register(program: Command): void {
  const bench = program.command('bench').description('time one part on this machine (npm run bench: the whole suite)');
  bench
    .command('training', { isDefault: true })
    .description('what the device can do at most, and how much of it steps and their ops use; without a part: this')
    .option(...deviceOption)
    .option('--presets <names>', 'of nano, tiny, small, base, large, xlarge', 'base,large')
    .option('--batch <n>', 'rows', '11')
    .option('--seconds <s>', 'audio of each row', '15.6')
    .option('--precision <p>', 'f32 or bf16', 'bf16')
    .option(...threadsOption)
    .option(...jsonOption)
    .action((options: TrainingOptions) => run(() => training(options)));
  bench
    .command('step')
    .description('a whole training step: forward, backward, clip, AdamW')
    .option(...deviceOption)
    .option('--preset <name>', 'nano, tiny, small, base, large, xlarge', 'tiny')
    .option('--batch <n>', 'rows', '8')
    .option('--seconds <s>', 'audio of each row', '4')
    .option('--precision <p>', 'f32 or bf16', 'f32')
    .option('--checkpoint <what>', 'none, or layers: activations of a layer are computed again in backward', 'none')
    .option(...threadsOption)
    .option('--steps <n>', 'steps timed, after two that are not', '7')
    .option('--dropout', "with the preset's dropouts and LayerDrop (default: none)")
    .option('--profile', 'also time, FLOP, bytes and share of the roofline of each op')
    .option(...jsonOption)
    .action((options: StepOptions) => run(() => step(options)));
  bench
    .command('kmeans')
    .description('assignment of frames to centroids, a Lloyd iteration, 100 mini-batch steps with k-means++')
    .option('--device <device>', 'where rows are assigned and centroids move: cpu, cuda, cuda:N or auto', 'cpu')
    .option('--clusters <n>', 'centroids', '500')
    .option('--dim <n>', 'columns', '768')
    .option('--frames <n>', 'rows', '200000')
    .option(...threadsOption)
    .option(...jsonOption)
    .action((options: KmeansOptions) => run(() => kmeans(options)));
  bench
    .command('mfcc')
    .description('39 MFCC of speech, one utterance at a time')
    .option(...jsonOption)
    .action((options: { json?: boolean }) => run(() => mfcc(options)));
  bench
    .command('data')
    .description('decoding FLAC, resampling, and the loader beside training steps, on the embedded corpus')
    .option('--minutes <n>', 'of speech', '4')
    .option('--threads <n>', 'CPU threads of the steps (default: all cores)')
    .option(...jsonOption)
    .action((options: DataOptions) => run(() => data(options)));
}

function positive(name: string, text: string): number {
  const value = Number(text);
  if (!(value > 0) || !Number.isFinite(value))
    throw new HubertkitError('HK_USAGE', `${name} takes a number above 0, got "${text}".`);
  return value;
}

const threadsOf = (text: string | undefined) => (text === undefined ? {} : { threads: integer('--threads', text, 1) });

/** A preset of an option. */
function presetOf(option: string, name: string): PresetName {
  const { presets } = require('../nn/config') as typeof import('../nn/config');
  if (!(name in presets))
    throw new HubertkitError('HK_USAGE', `${option} takes ${Object.keys(presets).join(', ')}, got "${name}".`);
  return name as PresetName;
}

function precisionOf(text: string): Precision {
  if (text !== 'f32' && text !== 'bf16')
    throw new HubertkitError('HK_USAGE', `--precision takes f32 or bf16, got "${text}".`);
  return text;
}

function workOf(options: WorkOptions) {
  return {
    device: deviceOf(options.device),
    batch: integer('--batch', options.batch, 1),
    seconds: positive('--seconds', options.seconds),
    precision: precisionOf(options.precision),
    ...threadsOf(options.threads),
  };
}

async function training(options: TrainingOptions): Promise<void> {
  const { benchTraining } = require('../bench/training') as typeof import('../bench/training');
  const presets = options.presets.split(',').map((name) => presetOf('--presets', name));
  const result = await benchTraining({ ...workOf(options), presets });
  if (options.json) return printJson(result);
  const percent = (share: number) => `${(100 * share).toFixed(1)} %`;
  print(columns(Object.entries(result.roofline).map(([name, value]) => [name, String(value)])));
  for (const { preset, audio_s_per_s, step_s, gflops, utilisation, profile } of result.steps) {
    const numbers = { audio_s_per_s, step_s, gflops, utilisation: percent(utilisation!) };
    print(`\n${preset}`);
    print(columns(Object.entries(numbers).map(([name, value]) => [name, String(value)])));
    print(`\n${profileTables(profile!)}`);
  }
}

async function step(options: StepOptions): Promise<void> {
  const { benchStep } = require('../bench/step') as typeof import('../bench/step');
  if (options.checkpoint !== 'none' && options.checkpoint !== 'layers')
    throw new HubertkitError('HK_USAGE', `--checkpoint takes none or layers, got "${options.checkpoint}".`);
  const result = await benchStep({
    preset: presetOf('--preset', options.preset),
    ...workOf(options),
    checkpoint: options.checkpoint,
    steps: integer('--steps', options.steps, 1),
    dropout: options.dropout,
    profile: options.profile,
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
    device: deviceOf(options.device),
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
