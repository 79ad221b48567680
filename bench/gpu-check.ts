/**
 * Everything that needs a GPU, in one go: scripts/gpu-check.sh run. Each part is a process with a time limit of its own; what it measured,
 * or why it could not, is in the results file as soon as it ends.
 *   node dist/bench/gpu-check.js RESULTS.json
 * Exit code 1 unless every part went well.
 */
import { spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { type ProfiledOp, profileByKind } from '../lib/bench/profile';
import type { StepBenchResult } from '../lib/bench/step';
import { packageRoot } from '../lib/binding';
import type { Check } from '../lib/doctor';
import { writeJsonAtomic } from '../lib/formats/atomic';
import { casesOf, type SelftestSummary } from '../lib/selftest';
import { presets } from '../lib/nn/config';
import { type Curves, f32Difference, preparedCurves } from './curves';
import { withoutFolders } from './measurement';
import type { AttentionComparison } from './peers/attention';
import type { KmeansOnDevice } from './peers/others';
import { type PyTorchOnGpu, sameUpdate, type Update } from './peers/step';

/** Seconds that the parts have together: a call takes less than nine minutes, unpacking included. */
const TOTAL = 510;

/** What a step computes: 172 s of audio in crops of 15.6 s. */
const BATCH = 11;
const SECONDS = 15.6;
/** Of attention alone: a row's, to the next ten. */
const FRAMES = 780;

export interface Part {
  name: string;
  command: string[];
  /** Seconds. */
  limit: number;
  /** The part is left out unless this one went well. */
  needs?: string;
  /** What is kept of the output, and why the part did not go well (`failure`: why the command did not). Default: its last line as JSON. */
  read?(output: Output, failure?: string): Reading;
}

export interface Reading {
  result?: unknown;
  reason?: string;
}

export interface PartResult extends Reading {
  name: string;
  command: string;
  status: 'ok' | 'failed' | 'left out';
  seconds: number;
}

interface Output {
  stdout: string;
  stderr: string;
  code: number | null;
  signal: string | null;
  /** It was ended at its limit. */
  late: boolean;
  /** The command is not on this machine. */
  absent: boolean;
}

interface Results {
  date: string;
  machine: Record<string, unknown>;
  /** Every part has ended or was left out. */
  complete: boolean;
  parts: PartResult[];
  comparisons: unknown[];
  /** Of one training, on the CPU (made before) and here. */
  curves?: Curves & { f32Difference?: ReturnType<typeof f32Difference> };
}

/** Runs a command in a process group of its own, which is ended after `limit` seconds; one that even then does not end is left behind. */
function outputOf([file, ...parameters]: string[], limit: number): Promise<Output> {
  return new Promise((resolve) => {
    const child = spawn(file, parameters, { detached: true, stdio: ['ignore', 'pipe', 'pipe'] });
    const text = { stdout: '', stderr: '' };
    for (const stream of ['stdout', 'stderr'] as const)
      child[stream].on('data', (data) => {
        text[stream] += data;
      });
    let late = false;
    const stop = () => {
      late = true;
      try {
        process.kill(-child.pid!, 'SIGKILL');
      } catch {} // it has just ended
      timer = setTimeout(() => done(null, 'SIGKILL'), 5000);
    };
    let timer = setTimeout(stop, 1000 * limit);
    const done = (code: number | null, signal: string | null, absent = false) => {
      clearTimeout(timer);
      resolve({ ...text, code, signal, late, absent });
    };
    child.on('close', (code, signal) => done(code, signal));
    child.on('error', () => done(null, null, true));
  });
}

const lastLines = (text: string) => text.trim().split('\n').slice(-6).join('\n').slice(-1200);

/** The last line, where it is JSON. */
function lastJson(text: string): unknown {
  try {
    return JSON.parse(text.trim().split('\n').at(-1)!);
  } catch {
    return undefined;
  }
}

/** Why a command did not end as it should. */
function failureOf(command: string[], limit: number, output: Output): string | undefined {
  const { stdout, stderr, code, signal, late, absent } = output;
  if (absent) return `${command[0]} is not on this machine`;
  const said = lastLines(stderr) || lastLines(stdout);
  if (late || signal)
    return [late ? `not done after ${limit} s` : `ended by ${signal}`, said].filter(Boolean).join(': ');
  return code === 0 ? undefined : said || `exit code ${code}`;
}

/** Runs a part in at most `seconds`. */
export async function runPart(part: Part, seconds: number, before: PartResult[]): Promise<PartResult> {
  const command = withoutFolders(part.command.join(' '));
  const leftOut = (reason: string): PartResult => ({
    name: part.name,
    command,
    status: 'left out',
    seconds: 0,
    reason,
  });
  const needed = before.find(({ name }) => name === part.needs);
  if (needed && needed.status !== 'ok') return leftOut(`needs "${needed.name}": ${needed.reason}`);
  if (seconds < 5) return leftOut(`the ${TOTAL} s of all parts were used up`);
  const limit = Math.min(part.limit, Math.floor(seconds));
  const begin = performance.now();
  const output = await outputOf(part.command, limit);
  const took = (performance.now() - begin) / 1000;
  const failure = failureOf(part.command, limit, output);
  const read = part.read ?? ((o: Output) => ({ result: lastJson(o.stdout), reason: failure }));
  const { result, reason } = read(output, failure);
  const shown = reason && withoutFolders(reason);
  return { name: part.name, command, status: reason ? 'failed' : 'ok', seconds: took, reason: shown, result };
}

const hubertkit = (...parameters: string[]) => [
  process.execPath,
  path.join(packageRoot, 'dist/lib/cli/main.js'),
  ...parameters,
];
const own = (...parameters: string[]) => [process.execPath, path.join(__dirname, 'gpu-part.js'), ...parameters];
const selftest = (...parameters: string[]) => hubertkit('selftest', '--device', 'cuda', '--json', ...parameters);

function card({ stdout }: Output, failure?: string): Reading {
  const [name, driver, memory, clock, power] = stdout.trim().split(', ');
  return failure ? { reason: failure } : { result: { card: name, driver, memory, clock, power } };
}

function cudaCheck({ stdout }: Output, failure?: string): Reading {
  const result = lastJson(stdout) as { checks: Check[] } | undefined;
  const cuda = result?.checks.find(({ name }) => name === 'CUDA back-end');
  return { result, reason: cuda?.status === 'ok' ? undefined : (cuda?.found ?? failure ?? 'no answer') };
}

function selftestTable({ stdout }: Output, failure?: string): Reading {
  const result = lastJson(stdout) as SelftestSummary | undefined;
  if (!result?.failed) return { result, reason: failure };
  const failed = result.results.filter(({ passed }) => !passed);
  const lines = failed.map((r) => `${r.op} ${r.size} ${r.check}: ${r.message ?? `${r.error} > ${r.bound}`}`);
  return {
    result,
    reason: [`${result.failed} of ${result.results.length} checks failed`, ...new Set(lines)].join('\n'),
  };
}

/** The cases of the selftest that an earlier one took down with it: a kernel's fault takes the device from all that come after. */
export function alone({ name, result, reason, status }: PartResult): Part[] {
  if (status !== 'failed') return [];
  const summary = result as SelftestSummary | undefined;
  const precision = name.endsWith('bf16') ? 'bf16' : 'f32';
  const ops = [...new Set(casesOf(precision).map(({ op }) => op))];
  const lost = summary
    ? summary.results.filter(({ message }) => /^HK_(DEVICE|MEMORY)/.test(message ?? '')).map(({ op }) => op)
    : ops;
  if (!summary && reason!.startsWith('HK_')) return []; // it did not begin
  return ops
    .filter((op) => lost.includes(op))
    .map((op) => ({
      name: `${name}, alone: ${op}`,
      command: selftest('--precision', precision, '--only', op),
      limit: 20,
      read: selftestTable,
    }));
}

/** A tool of compute-sanitizer over the selftest, whose sizes are small. */
function sanitizer(tool: 'memcheck' | 'racecheck'): Part {
  const places = (process.env.PATH ?? '').split(':').concat('/usr/local/cuda/bin', '/usr/local/cuda/compute-sanitizer');
  const files = places.map((folder) => path.join(folder, 'compute-sanitizer'));
  const log = path.join(os.tmpdir(), `hubertkit-${tool}-${process.pid}.log`);
  return {
    name: tool,
    command: [
      files.find((file) => fs.existsSync(file)) ?? 'compute-sanitizer',
      '--tool',
      tool,
      '--log-file',
      log,
      // Calls that fail while the libraries find out what there is are no faults.
      ...(tool === 'memcheck' ? ['--report-api-errors', 'no'] : []),
      ...selftest(),
    ],
    limit: 90,
    read({ stdout }, failure) {
      const text = fs.existsSync(log) ? fs.readFileSync(log, 'utf8') : '';
      fs.rmSync(log, { force: true });
      const summary = /(?:ERROR|RACECHECK) SUMMARY: .*/.exec(text)?.[0];
      const checks = lastJson(stdout) as SelftestSummary | undefined;
      if (!summary || !checks) return { reason: failure ?? (lastLines(text) || 'it wrote no summary') };
      const { passed, failed } = checks;
      const clean = /SUMMARY: 0 /.test(summary);
      return { result: { summary, passed, failed }, reason: clean ? undefined : `${summary}\n${text.slice(0, 4000)}` };
    },
  };
}

function step(preset: string, precision: string, ...parameters: string[]): string[] {
  const work = ['--preset', preset, '--precision', precision, '--batch', `${BATCH}`, '--seconds', `${SECONDS}`];
  return hubertkit('bench', 'step', '--device', 'cuda', ...work, '--json', ...parameters);
}

const timedStep = (preset: string, precision: string): Part => ({
  name: `step ${preset} ${precision}`,
  command: step(preset, precision, '--steps', '20'),
  limit: 60,
});

const ops = (preset: string, precision: string): Part => ({
  name: `ops ${preset} ${precision}`,
  command: step(preset, precision, '--steps', '3', '--profile'),
  limit: 60,
  read({ stdout }, failure) {
    const measured = lastJson(stdout) as (StepBenchResult & { profile: ProfiledOp[] }) | undefined;
    if (!measured) return { reason: failure };
    const { roofline, utilisation, profile } = measured;
    return { result: { roofline, utilisation, kinds: profileByKind(profile) } };
  },
});

const peer = (what: 'updates' | 'eager' | 'compile', preset: string, precision: string, limit: number): Part => ({
  name: what === 'updates' ? `updates ${preset} ${precision}` : `PyTorch ${what} ${preset} ${precision}`,
  command: own(what, preset, precision, `${BATCH}`, `${SECONDS}`),
  limit,
  needs: what === 'updates' ? undefined : 'ceilings',
});

/** Refuses values that are not those of PyTorch, and so have no ratio. */
export function sameValues({ stdout }: Output, failure?: string): Reading {
  const result = lastJson(stdout) as AttentionComparison | KmeansOnDevice | undefined;
  return { result, reason: failure ?? (result?.sameValues ? undefined : 'the values are not those of PyTorch') };
}

/** Attention of a step of base: its frames, heads of 64. */
function attention(): Part {
  const { hiddenSize, heads } = presets.base;
  const sizes = [BATCH, FRAMES, hiddenSize, heads].map(String);
  return {
    name: 'attention',
    command: own('attention', 'cuda', ...sizes),
    limit: 60,
    needs: 'ceilings',
    read: sameValues,
  };
}

/** K = 500 of base's layers, 200,000 frames. */
const kmeans: Part = {
  name: 'k-means',
  command: own('kmeans', 'cuda', '500', '768', '200000'),
  limit: 90,
  needs: 'ceilings',
  read: sameValues,
};

/** 200 updates of small. */
const curve = (precision: string): Part => ({
  name: `curve ${precision}`,
  command: own('curve', 'cuda', precision),
  limit: 60,
});

/** What is worth most comes first. */
const parts: Part[] = [
  {
    name: 'card',
    command: [
      'nvidia-smi',
      '--query-gpu=name,driver_version,memory.total,clocks.max.sm,power.limit',
      '--format=csv,noheader',
    ],
    limit: 15,
    read: card,
  },
  { name: 'doctor', command: hubertkit('doctor', '--json'), limit: 30, read: cudaCheck },
  { name: 'selftest f32', command: selftest(), limit: 60, read: selftestTable },
  { name: 'selftest bf16', command: selftest('--precision', 'bf16'), limit: 60, read: selftestTable },
  { name: 'ceilings', command: own('ceilings'), limit: 40 },
  timedStep('base', 'bf16'),
  timedStep('base', 'f32'),
  ops('base', 'bf16'),
  ops('base', 'f32'),
  peer('updates', 'base', 'bf16', 40),
  peer('eager', 'base', 'bf16', 60),
  peer('updates', 'base', 'f32', 40),
  peer('eager', 'base', 'f32', 60),
  attention(),
  kmeans,
  curve('f32'),
  curve('bf16'),
  timedStep('large', 'bf16'),
  ops('large', 'bf16'),
  sanitizer('memcheck'),
  peer('compile', 'base', 'bf16', 150),
  sanitizer('racecheck'),
  timedStep('large', 'f32'),
  peer('updates', 'large', 'bf16', 60),
  peer('eager', 'large', 'bf16', 60),
  peer('compile', 'large', 'bf16', 200),
];

/** Steps here and in PyTorch. */
const compared = [
  ['base', 'bf16'],
  ['base', 'f32'],
  ['large', 'bf16'],
] as const;

/** No ratio where a time is missing, or where losses and gradient norms are not the same. */
export function comparison(preset: string, precision: 'f32' | 'bf16', done: PartResult[]): object {
  const result = <T>(part: string) =>
    done.find(({ name, status }) => name === part && status === 'ok')?.result as T | undefined;
  const ours = result<StepBenchResult>(`step ${preset} ${precision}`);
  const updates = result<{ updates: Update[] }>(`updates ${preset} ${precision}`)?.updates;
  const ceiling = result<Record<string, number>>('ceilings')?.[`${precision}_tflops`];
  const beside = (how: string) => {
    const theirs = result<PyTorchOnGpu>(`PyTorch ${how} ${preset} ${precision}`);
    if (!theirs) return {};
    const same = updates?.every((update, i) => sameUpdate(update, theirs.updates[i], precision));
    const ratio = ours && same ? theirs.step_s.median / ours.step_s : undefined;
    return { [how]: { audio_s_per_s: theirs.audio_s_per_s, sameUpdates: same ?? 'not compared', timesAsFast: ratio } };
  };
  return {
    work: `${preset}, ${BATCH} x ${SECONDS} s, ${precision}`,
    audio_s_per_s: ours?.audio_s_per_s,
    shareOfMatmulCeiling: ours && ceiling ? ours.gflops / 1000 / ceiling : undefined,
    ...beside('eager'),
    ...beside('compile'),
  };
}

/** The prepared curves, with those of the parts or why they are missing. */
export function withCurves(prepared: Curves, done: PartResult[]): Results['curves'] {
  const curves: Curves = { ...prepared, bits: { ...prepared.bits }, missing: { ...prepared.missing } };
  for (const precision of ['f32', 'bf16'] as const) {
    const part = done.find(({ name }) => name === `curve ${precision}`);
    if (part?.status === 'ok') curves.bits[`cuda ${precision}`] = (part.result as { bits: number[] }).bits;
    else curves.missing[`cuda ${precision}`] = part?.reason ?? 'not run yet';
  }
  return { ...curves, f32Difference: f32Difference(curves) };
}

/** Numbers with six digits. */
function shortened(results: Results): unknown {
  const short = (_: string, value: unknown) => (typeof value === 'number' ? Number(value.toPrecision(6)) : value);
  return JSON.parse(JSON.stringify(results, short));
}

/** What scripts/gpu-check.sh pack wrote about the build. */
function build(): object {
  const file = path.join(packageRoot, 'build.json');
  return fs.existsSync(file) ? { build: JSON.parse(fs.readFileSync(file, 'utf8')) } : {};
}

async function main(file: string): Promise<void> {
  const machine = {
    cpu: os.cpus()[0].model,
    cores: os.availableParallelism(),
    os: `${os.type()} ${os.release()}`,
    node: process.version,
  };
  const results: Results = {
    date: new Date().toISOString(),
    machine: { ...machine, ...build() },
    complete: false,
    parts: [],
    comparisons: [],
  };
  const prepared = await preparedCurves().catch(() => undefined); // the parts that need them say why
  const queue = [...parts];
  for (let part = queue.shift(); part; part = queue.shift()) {
    process.stderr.write(`${part.name} ... `);
    const done = await runPart(part, TOTAL - performance.now() / 1000, results.parts);
    process.stderr.write(
      `${done.status}, ${done.seconds.toFixed(1)} s\n${done.reason ? `  ${done.reason.replaceAll('\n', '\n  ')}\n` : ''}`,
    );
    results.parts.push(done);
    if (part.name === 'card') Object.assign(results.machine, done.result);
    if (part.name.startsWith('selftest') && !part.name.includes('alone')) queue.unshift(...alone(done));
    results.comparisons = compared.map(([preset, precision]) => comparison(preset, precision, results.parts));
    results.curves = prepared && withCurves(prepared, results.parts);
    results.complete = queue.length === 0;
    await writeJsonAtomic(file, shortened(results));
  }
  process.exit(results.parts.every(({ status }) => status === 'ok') ? 0 : 1); // whoever was left behind is not waited for
}

if (require.main === module) main(process.argv[2]);
