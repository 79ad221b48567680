/**
 * Does bf16 learn like f32? npm run bench:bf16 [-- --preset nano --updates 500 --seeds 5 --minutes 40 --out FOLDER]
 * Trains the preset on MFCC clusters of the embedded corpus with its recipe, from several seeds (weights, order, crops and masks; the
 * labels are the same), each in f32 and in bf16, and compares the masked loss, averaged over windows of 25 updates: the difference that
 * bf16 makes to a seed, beside the spread of the f32 seeds. Writes FOLDER/<date>-bf16.json and .md (default: bench/results).
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { parseArgs } from 'node:util';
import { packageRoot } from '../lib/binding';
import type { PresetName } from '../lib/nn/config';
import type { Precision } from '../lib/nn/graph';
import { curveSpeech, lossCurve } from './curve';
import { machine, table } from './measurement';

/** Updates whose losses are averaged. */
const window = 25;

/** Means over windows of updates. */
const windowed = (bits: number[]) =>
  Array.from({ length: Math.ceil(bits.length / window) }, (_, w) => mean(bits.slice(w * window, (w + 1) * window)));

const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;

interface Point {
  updates: number;
  /** Of the seeds. */
  f32: number;
  bf16: number;
  /** Greatest less least of the f32 seeds. */
  spread: number;
  /** The greatest difference that bf16 makes to a seed. */
  difference: number;
}

function points(f32: number[][], bf16: number[][], updates: number): Point[] {
  return f32[0].map((_, w) => {
    const [full, half] = [f32, bf16].map((curves) => curves.map((curve) => curve[w]));
    return {
      updates: Math.min(updates, (w + 1) * window),
      f32: mean(full),
      bf16: mean(half),
      spread: Math.max(...full) - Math.min(...full),
      difference: Math.max(...full.map((bits, seed) => Math.abs(bits - half[seed]))),
    };
  });
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      preset: { type: 'string', default: 'nano' },
      updates: { type: 'string', default: '500' },
      seeds: { type: 'string', default: '5' },
      minutes: { type: 'string', default: '40' },
      out: { type: 'string', default: path.join(packageRoot, 'bench', 'results') },
    },
  });
  const preset = values.preset as PresetName;
  const [updates, seeds, minutes] = [values.updates, values.seeds, values.minutes].map(Number);
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-bf16-'));
  try {
    const speech = await curveSpeech(preset, minutes, folder);
    const curves: Record<Precision, number[][]> = { f32: [], bf16: [] };
    for (let seed = 1; seed <= seeds; seed++)
      for (const precision of ['f32', 'bf16'] as const) {
        const curve = windowed(await lossCurve(speech, { preset, updates, seed, precision }));
        process.stderr.write(`seed ${seed}, ${precision}: ${curve.at(-1)!.toFixed(3)} bits\n`);
        curves[precision].push(curve);
      }
    write(values.out, { preset, updates, seeds, minutes, curves, points: points(curves.f32, curves.bf16, updates) });
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

interface Result {
  preset: string;
  updates: number;
  seeds: number;
  minutes: number;
  curves: Record<Precision, number[][]>;
  points: Point[];
}

function write(out: string, result: Result): void {
  const { preset, updates, seeds, minutes } = result;
  const outside = result.points.filter((p) => p.difference > p.spread).length;
  const command = `npm run bench:bf16 -- --preset ${preset} --updates ${updates} --seeds ${seeds} --minutes ${minutes}`;
  const bits = (x: number) => x.toFixed(4);
  const markdown = [
    '# bf16 beside f32',
    `\`${command}\`. Masked loss in bits, means of ${window} updates. In ${result.points.length - outside} of ` +
      `${result.points.length} windows the difference that bf16 makes to a seed is within the spread of the f32 seeds.`,
    table(
      ['updates', 'f32, mean of seeds', 'bf16', 'spread of the f32 seeds', 'greatest difference that bf16 makes'],
      result.points.map((p) => [String(p.updates), bits(p.f32), bits(p.bf16), bits(p.spread), bits(p.difference)]),
    ),
  ].join('\n\n');
  const date = new Date().toISOString();
  const file = path.join(out, `${date.slice(0, 10)}-bf16`);
  fs.mkdirSync(out, { recursive: true });
  fs.writeFileSync(
    `${file}.json`,
    `${JSON.stringify({ command, date, machine: machine(os.availableParallelism()), ...result }, null, 2)}\n`,
  );
  fs.writeFileSync(`${file}.md`, `${markdown}\n`);
  console.log(markdown);
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
