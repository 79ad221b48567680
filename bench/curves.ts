/**
 * One training on the CPU and on a GPU, in f32 and in bf16: npm run bench:curves [-- --preset small --updates 200 --minutes 8 --out FOLDER]
 * Trains on the embedded corpus with the preset's recipe, always on the same data from the same seed, and writes the masked loss of each
 * update as FOLDER/<date>-curves.json, .md and .svg (default: bench/results). What cannot run here is named with its reason.
 * The speech, its labels and the curves of the CPU (about 5 minutes on two cores) are kept in build/curves until one of the options or the
 * addon changes; gpu-check takes them along.
 *   -- --prepare             make those and nothing else
 *   -- --results FILE.json   draw what gpu-check (or this) has measured, as FILE-curves.svg
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { parseArgs } from 'node:util';
import { addonFile, packageRoot } from '../lib/binding';
import { readJson, writeJsonAtomic } from '../lib/formats/atomic';
import { sha256 } from '../lib/formats/sha256';
import { type PresetName, presets } from '../lib/nn/config';
import type { Precision } from '../lib/nn/graph';
import { base, line } from '../lib/report/chart';
import { svg } from '../lib/report/svg';
import { curveSpeech, lossCurve } from './curve';
import { machine, table, withoutFolders } from './measurement';

const names = ['cpu f32', 'cpu bf16', 'cuda f32', 'cuda bf16'] as const;
type CurveName = (typeof names)[number];

/** One training, whatever computes it. */
interface CurveWork {
  preset: PresetName;
  updates: number;
  /** Of the corpus. */
  minutes: number;
}

export interface Curves extends CurveWork {
  /** Masked loss in bits of each update. */
  bits: Partial<Record<CurveName, number[]>>;
  /** Why a curve is not there. */
  missing: Partial<Record<CurveName, string>>;
}

/** Of weights, order, crops, masks, dropout and LayerDrop. */
const seed = 1;

/** f32 on the CPU and on a GPU: the greatest difference in bits that is allowed over the first updates. */
const agreement = { updates: 20, bits: 1e-3 };

const kept = path.join(packageRoot, 'build', 'curves');
const keptCurves = path.join(kept, 'curves.json');

interface Kept {
  /** The curves are made anew when this changes. */
  madeOf: CurveWork & { addon: string };
  curves: Curves;
}

/** What was made in advance, if anything. */
async function readKept(): Promise<Kept | undefined> {
  return fs.existsSync(keptCurves) ? readJson<Kept>(keptCurves) : undefined;
}

/** The curves of the CPU that were made in advance. */
export async function preparedCurves(): Promise<Curves | undefined> {
  return (await readKept())?.curves;
}

/** The training of the prepared curves, on `device`. */
export async function curveOf(device: string, precision: Precision): Promise<number[]> {
  const work = await preparedCurves();
  if (!work)
    throw new Error('There are no curves of the CPU in build/curves: npm run bench:curves -- --prepare makes them.');
  return trained(work, device, precision);
}

async function trained({ preset, updates, minutes }: CurveWork, device: string, precision: Precision) {
  const onUpdate = (bits: number, update: number) => {
    if (update % 20 === 0) process.stderr.write(`${device} ${precision}, update ${update}: ${bits.toFixed(3)} bits\n`);
  };
  return lossCurve(await curveSpeech(preset, minutes, kept), { preset, updates, seed, precision, device, onUpdate });
}

/** Adds a curve, or why there is none; a reason other than a device or precision that is not here makes the exit code 1. */
async function add(curves: Curves, device: 'cpu' | 'cuda', precision: Precision): Promise<void> {
  const name: CurveName = `${device} ${precision}`;
  try {
    curves.bits[name] = await trained(curves, device, precision);
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code !== 'HK_NO_DEVICE' && code !== 'HK_PRECISION') process.exitCode = 1;
    curves.missing[name] = withoutFolders(code ? `${code}: ${message}` : message);
  }
}

/** The curves of the CPU: those that are kept, where they are of this work and this addon. */
async function prepare(work: CurveWork): Promise<Curves> {
  const madeOf = { ...work, addon: sha256().update(fs.readFileSync(addonFile())).digest('hex').slice(0, 16) };
  const known = await readKept();
  if (known && JSON.stringify(known.madeOf) === JSON.stringify(madeOf)) return known.curves;
  fs.rmSync(kept, { recursive: true, force: true });
  const curves: Curves = { ...work, bits: {}, missing: {} };
  for (const precision of ['f32', 'bf16'] as const) await add(curves, 'cpu', precision);
  await writeJsonAtomic(keptCurves, { madeOf, curves } satisfies Kept);
  return curves;
}

/** How far f32 on the GPU is from f32 on the CPU; undefined where one of them is missing. */
export function f32Difference({ bits }: Curves): { updates: number; bits: number; bound: number } | undefined {
  const [cpu, cuda] = [bits['cpu f32'], bits['cuda f32']].map((curve) => curve?.slice(0, agreement.updates));
  if (!cpu || !cuda) return undefined;
  const differences = cpu.map((value, i) => Math.abs(cuda[i] - value));
  return { updates: cpu.length, bits: Math.max(...differences), bound: agreement.bits };
}

/** One line for each curve; those of the GPU are dashed, for they lie upon those of the CPU. */
export function figure({ preset, bits }: Curves): string {
  const lines = names.flatMap((name, i) => {
    const data = bits[name]?.map((value, update) => [update + 1, value]) ?? [];
    const drawn = line(name, data, i);
    return { ...drawn, lineStyle: { width: 2, type: name.startsWith('cuda') ? 'dashed' : 'solid' } };
  });
  return svg(base('masked loss, bits per frame', 'updates', lines), `Training ${preset} on the CPU and on a GPU`);
}

export function statements(curves: Curves): string[] {
  const { preset, updates, minutes, missing } = curves;
  const difference = f32Difference(curves);
  const compared =
    difference &&
    `Over the first ${difference.updates} updates f32 on the GPU is at most ${difference.bits.toExponential(1)} bits from f32 on the CPU ` +
      `(bound ${difference.bound}).`;
  return [
    `${updates} updates of \`${preset}\` on ${minutes} minutes of the embedded corpus.`,
    ...(compared ? [compared] : []),
    ...Object.entries(missing).map(([name, reason]) => `Missing: ${name}: ${reason}`),
  ];
}

/** Means of `window` updates of every curve. */
function means({ updates, bits }: Curves, window: number): string {
  const shown = names.filter((name) => bits[name]);
  const rows = Array.from({ length: Math.ceil(updates / window) }, (_, w) => {
    const part = (curve: number[]) => curve.slice(w * window, (w + 1) * window);
    const mean = (values: number[]) => values.reduce((a, b) => a + b, 0) / values.length;
    return [String(Math.min(updates, (w + 1) * window)), ...shown.map((name) => mean(part(bits[name]!)).toFixed(4))];
  });
  return table(['updates', ...shown], rows);
}

async function write(out: string, curves: Curves, command: string): Promise<void> {
  const date = new Date().toISOString();
  const file = path.join(out, `${date.slice(0, 10)}-curves`);
  const markdown = [
    '# Loss curves on the CPU and on a GPU',
    `\`${command}\`. Masked loss in bits, means of 20 updates; ${path.basename(file)}.svg shows each update.`,
    statements(curves)
      .map((statement) => `- ${statement}`)
      .join('\n'),
    means(curves, 20),
  ].join('\n\n');
  fs.mkdirSync(out, { recursive: true });
  await writeJsonAtomic(`${file}.json`, { command, date, machine: machine(os.availableParallelism()), curves });
  fs.writeFileSync(`${file}.md`, `${markdown}\n`);
  fs.writeFileSync(`${file}.svg`, figure(curves));
  console.log(markdown);
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      preset: { type: 'string', default: 'small' },
      updates: { type: 'string', default: '200' },
      minutes: { type: 'string', default: '8' },
      out: { type: 'string', default: path.join(packageRoot, 'bench', 'results') },
      prepare: { type: 'boolean', default: false },
      results: { type: 'string' },
    },
  });
  if (values.results) {
    const { curves } = await readJson<{ curves?: Curves }>(values.results);
    if (!curves) throw new Error(`${values.results} holds no curves.`);
    fs.writeFileSync(values.results.replace(/(-curves)?\.json$/, '-curves.svg'), figure(curves));
    console.log(statements(curves).join('\n'));
    return;
  }
  if (!(values.preset in presets)) throw new Error(`--preset takes ${Object.keys(presets).join(', ')}.`);
  const [updates, minutes] = [values.updates, values.minutes].map(Number);
  const curves = await prepare({ preset: values.preset as PresetName, updates, minutes });
  if (values.prepare) return;
  for (const precision of ['f32', 'bf16'] as const) await add(curves, 'cuda', precision);
  const { preset } = curves;
  await write(
    values.out,
    curves,
    `npm run bench:curves -- --preset ${preset} --updates ${updates} --minutes ${minutes}`,
  );
}

if (require.main === module)
  main().catch((error) => {
    console.error(error);
    process.exitCode = 1;
  });
