/** The benchmark suite: npm run bench [-- OPTIONS]; -- --help shows them. docs/benchmarks.md says what the numbers are. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Command } from 'commander';
import { dataWork, batchRate } from '../lib/bench/data';
import { kmeansWork } from '../lib/bench/kmeans';
import { noise } from '../lib/bench/mfcc';
import { spread, timed } from '../lib/bench/median';
import { measureRoofline, productRate, type Roofline } from '../lib/bench/roofline';
import { benchStep, type StepBenchOptions } from '../lib/bench/step';
import { wrapped, wrappedAsync } from '../lib/binding';
import { EXIT, integer, printError } from '../lib/cli/command';
import { mfcc } from '../lib/data/audio';
import { HubertkitError } from '../lib/errors';
import { type PresetName, presets } from '../lib/nn/config';
import {
  machine,
  markdown,
  type Measurement,
  readMeasurements,
  regressions,
  type Report,
  type Suite,
  suites,
} from './measurement';
import { benchOps } from './ops';
import type { Comparison } from './peers/compare';
import { compareKmeans, compareMfcc } from './peers/others';
import { MissingPeer } from './peers/peer';
import { compareStep } from './peers/step';
import { benchStartup } from './startup';

/** `memoryGiB`: what a step takes. */
type StepCase = StepBenchOptions & { memoryGiB: number };

/** Each preset at a usual batch. */
const allSteps: StepCase[] = [
  { preset: 'nano', batch: 8, seconds: 4, memoryGiB: 1 },
  { preset: 'tiny', batch: 8, seconds: 4, memoryGiB: 1 },
  { preset: 'small', batch: 4, seconds: 5, memoryGiB: 1 },
  { preset: 'base', batch: 2, seconds: 5, memoryGiB: 3 },
  { preset: 'base', batch: 1, seconds: 15.6, memoryGiB: 3 },
  { preset: 'large', batch: 1, seconds: 5, memoryGiB: 7 },
  { preset: 'xlarge', batch: 1, seconds: 5, memoryGiB: 19 },
];

/** A step, its updates in one turn, and the turns: a machine has slow seconds, which should not fall on one side. */
interface PeerStep extends StepBenchOptions {
  updates: number;
  rounds: number;
}

/** The work of the comparison with PyTorch. */
const besidePyTorch: PeerStep[] = [
  { preset: 'base', batch: 2, seconds: 5, updates: 3, rounds: 4 },
  { preset: 'base', batch: 1, seconds: 15.6, updates: 3, rounds: 4 },
  { preset: 'small', batch: 4, seconds: 5, updates: 5, rounds: 8 },
  { preset: 'tiny', batch: 8, seconds: 4, updates: 8, rounds: 10 },
];

const kmeansSize = { clusters: 500, dim: 768, frames: 200_000 };

const progress = (what: string) => process.stderr.write(`${what}\n`);

const precisions = () => (wrapped((n) => n.backendInfo()).bf16 ? (['f32', 'bf16'] as const) : (['f32'] as const));

async function stepSuite(
  steps: StepCase[],
  threads: number,
  roofline: Roofline,
  { notes, profiles }: Pick<Report, 'notes' | 'profiles'>,
): Promise<Measurement[]> {
  const measured: Measurement[] = [];
  for (const { memoryGiB, ...options } of steps) {
    const work = `${options.preset} ${options.batch} x ${options.seconds} s`;
    if (os.freemem() < memoryGiB * 2 ** 30) {
      notes.push(`step ${work} left out: it takes ${memoryGiB} GiB, ${(os.freemem() / 2 ** 30).toFixed(1)} are free`);
      continue;
    }
    for (const precision of precisions()) {
      progress(`step of ${work}, ${precision}`);
      const profile = options.preset === 'base' && options.batch > 1;
      const r = await benchStep({ ...options, precision, threads, profile, roofline });
      if (r.profile) profiles.push({ work: `${work}, ${precision}`, ops: r.profile });
      const { audio_s_per_s, gflops } = r;
      measured.push({
        suite: 'step',
        name: `${work}, ${precision}`,
        seconds: { median: r.step_s, low: r.low_s, high: r.high_s, n: r.steps },
        rates: { audio_s_per_s, gflops, rss_mib: r.rss_bytes / 2 ** 20 },
        floor_s: r.gflop / productRate(roofline, precision),
      });
    }
  }
  return measured;
}

async function kmeansSuite(threads: number, roofline: Roofline): Promise<Measurement[]> {
  progress('k-means');
  const { clusters, dim, frames } = kmeansSize;
  await using work = await kmeansWork({ ...kmeansSize, threads });
  const times = async (count: number, piece: () => Promise<number>) => {
    const seconds: number[] = [];
    for (let i = 0; i < count; i++) seconds.push(await piece());
    return spread(seconds);
  };
  await work.assign();
  const assign = await times(7, work.assign);
  const gflop = (2 * clusters * dim * frames) / 1e9;
  const size = `K=${clusters}, d=${dim}, ${frames} frames`;
  return [
    {
      suite: 'kmeans',
      name: `assignment, ${size}`,
      seconds: assign,
      rates: { frames_per_s: frames / assign.median, gflops: gflop / assign.median },
      floor_s: gflop / roofline.f32_gflops,
    },
    { suite: 'kmeans', name: `Lloyd iteration, ${size}`, seconds: spread(await work.lloyd(7)) },
    { suite: 'kmeans', name: `++ and 100 mini-batch steps, ${size}`, seconds: await times(3, work.minibatch) },
  ];
}

async function dataSuite(threads: number): Promise<Measurement[]> {
  progress('data');
  await using work = await dataWork({ threads });
  const row = (name: string, seconds: number[], rates: (median: number) => Record<string, number>): Measurement => {
    const range = spread(seconds);
    return { suite: 'data', name, seconds: range, rates: rates(range.median) };
  };
  const realTime = (audioSeconds: number) => (median: number) => ({ x_real_time: audioSeconds / median });
  const decode = await timed(work.decode, 7, 1);
  const resample = await timed(work.resample, 7, 1);
  const { alone, steps, fed, utilisation } = await work.loading();
  const samples = noise();
  return [
    row('FLAC 16 kHz, 8 files at once', decode, realTime(work.audioSeconds)),
    row('FLAC 44.1 kHz to 16 kHz, 8 files at once', resample, realTime(work.resampledAudioSeconds)),
    row('a batch of 8 x 4 s from the loader', alone, () => ({ audio_s_per_s: batchRate(alone) })),
    row('a step of nano', steps, () => ({ audio_s_per_s: batchRate(steps) })),
    row('a step of nano fed by the loader', fed, () => ({ audio_s_per_s: batchRate(fed), utilisation })),
    row('MFCC with deltas, 60 s, one thread', await timed(() => mfcc(samples), 15, 2), realTime(60)),
  ];
}

async function compareWithPeers(
  only: readonly Suite[],
  steps: PeerStep[],
  threads: number,
  notes: string[],
): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  const missing = (why: string) => {
    notes.push(why);
    progress(why);
  };
  const work = steps.flatMap((options) => precisions().map((precision) => ({ ...options, precision, threads })));
  for (const options of only.includes('step') ? work : []) {
    const name = `${options.preset} ${options.batch} x ${options.seconds} s, ${options.precision}`;
    progress(`${name}, beside PyTorch`);
    try {
      comparisons.push(await compareStep(options, options.updates, options.rounds));
    } catch (error) {
      missing(error instanceof MissingPeer ? error.message : `${name}: ${(error as Error).message}`);
      if (error instanceof MissingPeer) break;
      process.exitCode = 1; // the others are still worth having
    }
  }
  if (only.includes('kmeans')) {
    progress('k-means and MFCC beside their peers');
    comparisons.push(
      ...(await compareMfcc(5, missing)),
      ...(await compareKmeans({ ...kmeansSize, threads }, 3, missing)),
    );
  }
  return comparisons;
}

/** The names of a comma-separated option. */
function chosen<T extends string>(option: string, text: string | undefined, all: readonly T[]): readonly T[] {
  const names = text?.split(',') ?? all;
  for (const name of names)
    if (!all.includes(name as T))
      throw new HubertkitError('HK_USAGE', `${option} takes ${all.join(', ')}, got "${name}".`);
  return names as T[];
}

interface Options {
  only?: string;
  peers?: boolean;
  presets?: string;
  compare?: string;
  threads: string;
  out: string;
}

const program = new Command('npm run bench --')
  .description(
    'Times ops, training steps, k-means, data and start-up; prints Markdown and writes it as <date>[-peers][-parts].md, beside the same as .json.',
  )
  .option('--only <parts>', `some of ${suites.join(',')}`)
  .option('--peers', 'instead: steps beside PyTorch, k-means and MFCC beside their peers, in turn (HUBERTKIT_PYTHON)')
  .option('--presets <names>', 'of the ops and steps, these presets (default: all)')
  .option('--compare <old.json>', 'name what has become slower than that run by more than the noise (exit code 1)')
  .option('--threads <n>', 'CPU threads', String(os.availableParallelism()))
  .option('--out <folder>', 'where to write', path.join('bench', 'results'))
  .exitOverride(({ exitCode }) => process.exit(exitCode && EXIT.usage))
  .action(bench);

async function bench(values: Options): Promise<void> {
  const only = chosen('--only', values.only, suites);
  const sizes = chosen('--presets', values.presets, Object.keys(presets) as PresetName[]);
  const ofSize = <T extends StepBenchOptions>(list: T[]) => list.filter(({ preset }) => sizes.includes(preset));
  const before = values.compare ? readMeasurements(values.compare) : [];
  const threads = integer('--threads', values.threads, 1);
  await wrappedAsync((n) => n.setThreads(threads));
  const description = machine(threads);
  const notes: string[] = [];
  const profiles: Report['profiles'] = [];
  const roofline = await measureRoofline();
  const parts: Record<Suite, () => Promise<Measurement[]> | Measurement[]> = {
    ops: () => benchOps(ofSize(allSteps), roofline, progress),
    step: () => stepSuite(ofSize(allSteps), threads, roofline, { notes, profiles }),
    kmeans: () => kmeansSuite(threads, roofline),
    data: () => dataSuite(threads),
    startup: benchStartup,
  };
  const measurements: Measurement[] = [];
  if (!values.peers) for (const suite of only) measurements.push(...(await parts[suite]()));
  const report: Report = {
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    date: new Date().toISOString(),
    machine: description,
    roofline,
    measurements,
    profiles,
    ...(values.peers && { comparisons: await compareWithPeers(only, ofSize(besidePyTorch), threads, notes) }),
    notes,
  };
  const slower = regressions(before, measurements);
  for (const { name, before, after, noise } of slower)
    notes.push(`slower: ${name}: ${before} s before, ${after} s now (noise ${Math.round(100 * noise)} %)`);
  if (values.compare && !slower.length) notes.push(`nothing is slower than in ${values.compare}`);
  const name = [report.date.slice(0, 10), ...(values.peers ? ['peers'] : []), ...(values.only?.split(',') ?? [])];
  const file = path.join(values.out, name.join('-'));
  fs.mkdirSync(values.out, { recursive: true });
  fs.writeFileSync(`${file}.json`, `${JSON.stringify(report, null, 2)}\n`);
  fs.writeFileSync(`${file}.md`, markdown(report));
  console.log(markdown(report));
  if (slower.length) process.exitCode = 1;
}

program.parseAsync().catch((error) => {
  process.exitCode = printError(error);
});
