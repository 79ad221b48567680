/**
 * The benchmark suite: npm run bench [-- OPTIONS]
 *   --only ops,step,kmeans,data,startup   these parts (default: all)
 *   --peers                               instead: steps beside PyTorch, k-means beside scikit-learn and faiss, MFCC beside librosa and
 *                                         torchaudio, in turn (HUBERTKIT_PYTHON: a python3 that has them); with --only step or kmeans
 *   --presets nano,tiny                   of the ops, the steps and the comparison with PyTorch, these presets (default: all)
 *   --compare old.json                    name what has become slower than that run by more than the noise (exit code 1)
 *   --threads N                           default: all cores
 *   --out FOLDER                          default: bench/results
 * Prints Markdown and writes it as FOLDER/<date>[-peers].md, beside the same as .json.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { parseArgs } from 'node:util';
import { dataWork, batchRate } from '../lib/bench/data';
import { kmeansWork } from '../lib/bench/kmeans';
import { noise } from '../lib/bench/mfcc';
import { spread, timed } from '../lib/bench/median';
import { measureRoofline, type Roofline } from '../lib/bench/roofline';
import { benchStep, type StepBenchOptions } from '../lib/bench/step';
import { packageRoot, wrapped, wrappedAsync } from '../lib/binding';
import { mfcc } from '../lib/data/audio';
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

/** The work of the comparison with PyTorch. */
const besidePyTorch: StepBenchOptions[] = [
  { preset: 'base', batch: 2, seconds: 5 },
  { preset: 'base', batch: 1, seconds: 15.6 },
  { preset: 'small', batch: 4, seconds: 5 },
  { preset: 'tiny', batch: 8, seconds: 4 },
];

const kmeansSize = { clusters: 500, dim: 768, frames: 200_000 };

const progress = (what: string) => process.stderr.write(`${what}\n`);

const precisions = () => (wrapped((n) => n.backendInfo()).bf16 ? (['f32', 'bf16'] as const) : (['f32'] as const));

async function stepSuite(
  steps: StepCase[],
  threads: number,
  roofline: Roofline,
  notes: string[],
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
      const r = await benchStep({ ...options, precision, threads });
      const peak = (precision === 'bf16' && roofline.bf16_gflops) || roofline.f32_gflops;
      const { audio_s_per_s, gflops } = r;
      measured.push({
        suite: 'step',
        name: `${work}, ${precision}`,
        seconds: { median: r.step_s, low: r.low_s, high: r.high_s, n: r.steps },
        rates: { audio_s_per_s, gflops, rss_mib: r.rss_bytes / 2 ** 20 },
        floor_s: r.gflop / peak,
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
    row('FLAC 16 kHz', decode, realTime(work.audioSeconds)),
    row('FLAC 44.1 kHz to 16 kHz', resample, realTime(work.resampledAudioSeconds)),
    row('a batch of 8 x 4 s from the loader', alone, () => ({ audio_s_per_s: batchRate(alone) })),
    row('a step of nano', steps, () => ({ audio_s_per_s: batchRate(steps) })),
    row('a step of nano fed by the loader', fed, () => ({ audio_s_per_s: batchRate(fed), utilisation })),
    row('MFCC with deltas, 60 s, one thread', await timed(() => mfcc(samples), 15, 2), realTime(60)),
  ];
}

async function compareWithPeers(
  only: readonly Suite[],
  steps: StepBenchOptions[],
  threads: number,
  notes: string[],
): Promise<Comparison[]> {
  const comparisons: Comparison[] = [];
  const missing = (why: string) => {
    notes.push(why);
    progress(why);
  };
  if (only.includes('step'))
    try {
      for (const options of steps)
        for (const precision of precisions()) {
          progress(`${options.preset} ${options.batch} x ${options.seconds} s, ${precision}, beside PyTorch`);
          comparisons.push(await compareStep({ ...options, precision, threads }, 4));
        }
    } catch (error) {
      if (!(error instanceof MissingPeer)) throw error;
      missing(error.message);
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
    if (!all.includes(name as T)) throw new Error(`${option} takes ${all.join(', ')}, got "${name}".`);
  return names as T[];
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      only: { type: 'string' },
      peers: { type: 'boolean', default: false },
      presets: { type: 'string' },
      compare: { type: 'string' },
      threads: { type: 'string' },
      out: { type: 'string', default: path.join(packageRoot, 'bench', 'results') },
    },
  });
  const only = chosen('--only', values.only, suites);
  const sizes = chosen('--presets', values.presets, Object.keys(presets) as PresetName[]);
  const ofSize = <T extends StepBenchOptions>(list: T[]) => list.filter(({ preset }) => sizes.includes(preset));
  const before = values.compare ? readMeasurements(values.compare) : [];
  const threads = Number(values.threads ?? os.availableParallelism());
  await wrappedAsync((n) => n.setThreads(threads));
  const notes: string[] = [];
  const roofline = await measureRoofline();
  const parts: Record<Suite, () => Promise<Measurement[]> | Measurement[]> = {
    ops: () => benchOps(ofSize(allSteps), roofline, progress),
    step: () => stepSuite(ofSize(allSteps), threads, roofline, notes),
    kmeans: () => kmeansSuite(threads, roofline),
    data: () => dataSuite(threads),
    startup: benchStartup,
  };
  const measurements: Measurement[] = [];
  if (!values.peers) for (const suite of only) measurements.push(...(await parts[suite]()));
  const report: Report = {
    command: ['npm run bench', ...(process.argv.length > 2 ? ['--', ...process.argv.slice(2)] : [])].join(' '),
    date: new Date().toISOString(),
    machine: machine(threads),
    roofline,
    measurements,
    ...(values.peers && { comparisons: await compareWithPeers(only, ofSize(besidePyTorch), threads, notes) }),
    notes,
  };
  const slower = regressions(before, measurements);
  for (const { name, before, after, noise } of slower)
    notes.push(`slower: ${name}: ${before} s before, ${after} s now (noise ${Math.round(100 * noise)} %)`);
  if (values.compare && !slower.length) notes.push(`nothing is slower than in ${values.compare}`);
  const file = path.join(values.out, `${report.date.slice(0, 10)}${values.peers ? '-peers' : ''}`);
  fs.mkdirSync(values.out, { recursive: true });
  fs.writeFileSync(`${file}.json`, `${JSON.stringify(report, null, 2)}\n`);
  fs.writeFileSync(`${file}.md`, markdown(report));
  console.log(markdown(report));
  if (slower.length) process.exitCode = 1;
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
