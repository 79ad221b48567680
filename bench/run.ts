/**
 * The benchmark suite: npm run bench [-- --quick]
 * Whole training steps of every preset that fits, k-means assignment, MFCC, and single ops (tinybench); medians, rates and the
 * machine. Writes bench/results/<date>.json and .md.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Bench } from 'tinybench';
import { benchKmeans } from '../lib/bench/kmeans';
import { benchMfcc } from '../lib/bench/mfcc';
import { benchStep, type StepBenchOptions } from '../lib/bench/step';
import { native, packageRoot } from '../lib/binding';
import { type CallOutput, compileOp, type NdArray } from '../lib/nn/call';

const steps: StepBenchOptions[] = [
  { preset: 'nano', batch: 8, seconds: 4 },
  { preset: 'tiny', batch: 8, seconds: 4 },
  { preset: 'small', batch: 4, seconds: 5 },
  { preset: 'base', batch: 2, seconds: 5 },
];

const filled = (...shape: number[]): NdArray => ({
  shape,
  data: Float32Array.from({ length: shape.reduce((a, b) => a * b, 1) }, (_, i) => Math.sin(i)),
});
const lengths = (...data: number[]): NdArray => ({ shape: [data.length], data: Int32Array.from(data) });

interface OpBench {
  name: string;
  kind: string;
  inputs: NdArray[];
  attributes: Record<string, number>;
  outputs: (CallOutput | null)[];
}

/** Single ops at the shapes of `base`, 2 x 5 s. */
const ops: OpBench[] = [
  {
    name: 'attention, base',
    kind: 'attention',
    inputs: [filled(2, 249, 2304), lengths(249, 249)],
    attributes: { heads: 12 },
    outputs: [{ shape: [2, 249, 768] }, { shape: [2, 12, 249] }],
  },
  {
    name: 'layer norm, base',
    kind: 'layer_norm',
    inputs: [filled(498, 768), filled(768), filled(768)],
    attributes: { eps: 1e-5 },
    outputs: [{ shape: [498, 768] }, { shape: [498, 2] }],
  },
  {
    name: 'gelu, 498 x 3072',
    kind: 'gelu',
    inputs: [filled(498, 3072)],
    attributes: {},
    outputs: [{ shape: [498, 3072] }],
  },
  {
    name: 'feed-forward up, base',
    kind: 'linear',
    inputs: [filled(498, 768), filled(3072, 768), filled(3072)],
    attributes: { gelu: 0 },
    outputs: [{ shape: [498, 3072] }, null],
  },
];

async function benchOps(): Promise<{ name: string; median_ms: number; spread_ms: number }[]> {
  const bench = new Bench({ time: 400, warmupTime: 100 });
  for (const op of ops) {
    const program = await compileOp(op.kind, op.inputs, op.attributes, op.outputs);
    const feeds = Object.fromEntries(op.inputs.map((x, i) => [String(i), x.data]));
    bench.add(op.name, async () => {
      await program.run(feeds);
    });
  }
  await bench.run();
  return bench.tasks.map(({ name, result }) => {
    if (!('latency' in result)) throw new Error(`${name}: ${JSON.stringify(result)}`);
    const { p50, p75, p25 } = result.latency as unknown as { p50: number; p75: number; p25?: number };
    return { name, median_ms: Number(p50.toFixed(4)), spread_ms: Number((p75 - (p25 ?? p50)).toFixed(4)) };
  });
}

function table(header: string[], rows: (string | number)[][]): string {
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

async function main(): Promise<void> {
  const machine = {
    cpu: os.cpus()[0].model,
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    node: process.version,
    ...native().backendInfo(),
  };
  const stepResults = [];
  for (const options of steps) {
    stepResults.push(await benchStep(options));
    console.error(`${options.preset}: ${stepResults.at(-1)!.audio_s_per_s} audio-s/s`);
  }
  const kmeans = await benchKmeans({ clusters: 500, dim: 768, frames: 100_000 });
  const mfcc = await benchMfcc();
  const opResults = await benchOps();
  const folder = path.join(packageRoot, 'bench', 'results');
  const name = path.join(folder, new Date().toISOString().slice(0, 10));
  fs.mkdirSync(folder, { recursive: true });
  fs.writeFileSync(
    `${name}.json`,
    `${JSON.stringify({ machine, steps: stepResults, kmeans, mfcc, ops: opResults }, null, 2)}\n`,
  );
  const markdown = [
    '# Benchmark',
    '`npm run bench`',
    JSON.stringify(machine),
    '## Training steps (forward, backward, clip, AdamW; f32, no dropout; medians)',
    table(
      ['preset', 'batch', 'step s', 'fastest', 'slowest', 'audio-s/s', 'GFLOP/s', 'RSS MiB'],
      stepResults.map((r) => [
        r.preset,
        `${r.batch} x ${r.seconds} s`,
        r.step_s,
        r.min_s,
        r.max_s,
        r.audio_s_per_s,
        r.gflops,
        Math.round(r.rss_bytes / 2 ** 20),
      ]),
    ),
    '## k-means assignment, MFCC',
    table(
      ['what', 'result'],
      [
        ['assignment, K=500, d=768', `${kmeans.assign_frames_per_s} frames/s, ${kmeans.gflops} GFLOP/s`],
        ['MFCC + deltas, one thread', `${mfcc.x_real_time} x real time`],
      ],
    ),
    '## Ops (call included)',
    table(
      ['op', 'median ms', 'p75 - p50 ms'],
      opResults.map((r) => [r.name, r.median_ms, r.spread_ms]),
    ),
  ].join('\n\n');
  fs.writeFileSync(`${name}.md`, `${markdown}\n`);
  console.log(markdown);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
