/** What the suite writes: measurements of one run on one machine, as JSON and Markdown, and their comparison with an earlier run. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import { packageRoot, wrapped } from '../lib/binding';
import { furthestTable, kindTable, type ProfiledOp } from '../lib/bench/profile';
import type { Roofline } from '../lib/bench/roofline';
import { HubertkitError } from '../lib/errors';
import type { Spread } from '../lib/bench/median';
import type { Comparison } from './peers/compare';

export const suites = ['ops', 'step', 'kmeans', 'data', 'startup'] as const;
export type Suite = (typeof suites)[number];

export interface Measurement {
  suite: Suite;
  name: string;
  seconds: Spread;
  /** What the median comes to: `audio_s_per_s`, `gflops`, ... */
  rates?: Record<string, number>;
  /** Seconds below which the roofline does not let it fall. */
  floor_s?: number;
}

export interface Report {
  command: string;
  date: string;
  machine: Record<string, string | number | boolean>;
  roofline: Roofline;
  measurements: Measurement[];
  /** Of the steps of `base`: every op in place, with its floor. */
  profiles: { work: string; ops: ProfiledOp[] }[];
  /** With --peers. */
  comparisons?: Comparison[];
  /** What was left out, and why. */
  notes: string[];
}

/** "AMD EPYC, family 26, model 2": the name alone does not tell the generations apart. */
function processor(): string {
  const name = os.cpus()[0].model;
  if (!fs.existsSync('/proc/cpuinfo')) return name;
  const text = fs.readFileSync('/proc/cpuinfo', 'utf8');
  const field = (key: string) => new RegExp(`^${key}\\s*: (.*)$`, 'm').exec(text)?.[1] ?? '?';
  return `${name}, family ${field('cpu family')}, model ${field('model')}`;
}

export const machine = (threads: number) => ({
  cpu: processor(),
  cores: os.availableParallelism(),
  memoryGiB: Math.round(os.totalmem() / 2 ** 30),
  os: `${os.type()} ${os.release()}`,
  node: process.version,
  loadAverage: os.loadavg()[0],
  ...wrapped((n) => n.backendInfo()),
  threads,
});

/** A command or a message as it may stand in a file that others read. */
export const withoutFolders = (text: string) =>
  text.replaceAll(process.execPath, 'node').replaceAll(`${packageRoot}/`, '').replaceAll(`${os.tmpdir()}/`, '');

/** Three significant digits: 0.0123, 1.23, 123, 12300. */
const short = (x: number) => String(Number(x.toPrecision(3)));

/** Milliseconds: median (low to high). */
const milliseconds = ({ median, low, high }: Spread) =>
  `${short(1000 * median)} (${short(1000 * low)} to ${short(1000 * high)})`;

export function table(header: string[], rows: string[][]): string {
  return [header, header.map(() => '---'), ...rows].map((row) => `| ${row.join(' | ')} |`).join('\n');
}

export function markdown(report: Report): string {
  const parts = [
    `# Benchmark, ${report.date.slice(0, 10)}`,
    `\`${report.command}\`. Milliseconds: median (first to third quartile).`,
    table(
      ['machine', ''],
      Object.entries({ ...report.machine, ...report.roofline }).map(([k, v]) => [k, String(v)]),
    ),
  ];
  for (const suite of suites) {
    const rows = report.measurements.filter((m) => m.suite === suite);
    if (rows.length) parts.push(`## ${suite}`, suiteTable(rows));
  }
  for (const { work, ops } of report.profiles)
    parts.push(
      `## Ops of the step ${work}`,
      ...[kindTable(ops), furthestTable(ops)].map(([head, ...rows]) => table(head, rows)),
    );
  if (report.comparisons?.length) parts.push('## Beside the peers, in turn', peerTable(report.comparisons));
  if (report.notes.length) parts.push(report.notes.map((note) => `- ${note}`).join('\n'));
  return `${parts.join('\n\n')}\n`;
}

function suiteTable(rows: Measurement[]): string {
  const rates = [...new Set(rows.flatMap((m) => Object.keys(m.rates ?? {})))];
  const floors = rows.some((m) => m.floor_s !== undefined);
  return table(
    ['what', 'ms', ...rates, ...(floors ? ['floor ms', 'of roofline'] : [])],
    rows.map(({ name, seconds, rates: own = {}, floor_s }) => [
      name,
      milliseconds(seconds),
      ...rates.map((rate) => (rate in own ? short(own[rate]) : '')),
      ...(floors && floor_s !== undefined
        ? [short(1000 * floor_s), `${Math.round((100 * floor_s) / seconds.median)} %`]
        : floors
          ? ['', '']
          : []),
    ]),
  );
}

function peerTable(comparisons: Comparison[]): string {
  return table(
    ['work', 'hubertkit ms', 'peers ms', 'times as fast as the fastest peer'],
    comparisons.map(({ work, ours, peers, ratio }) => [
      work,
      milliseconds(ours),
      peers.map(({ name, seconds }) => `${name}: ${milliseconds(seconds)}`).join('; '),
      short(ratio),
    ]),
  );
}

export interface Change {
  name: string;
  before: number;
  after: number;
  /** Share of `before` that could be chance. */
  noise: number;
}

/** Measurements that are slower than in `before` by more than the quartiles of both, and more than 3 %. */
export function regressions(before: Measurement[], after: Measurement[]): Change[] {
  const width = ({ median, low, high }: Spread) => (high - low) / median;
  return after.flatMap((now) => {
    const then = before.find((m) => m.suite === now.suite && m.name === now.name);
    if (!then) return [];
    const noise = Math.max(0.03, width(then.seconds) + width(now.seconds));
    const [was, is] = [then.seconds.median, now.seconds.median];
    return is > was * (1 + noise) ? [{ name: `${now.suite}: ${now.name}`, before: was, after: is, noise }] : [];
  });
}

/** Reads the measurements of an earlier run. */
export function readMeasurements(file: string): Measurement[] {
  const refuse = (cause?: unknown) =>
    new HubertkitError('HK_FORMAT', `${file} holds no measurements of npm run bench.`, { cause });
  let report: Partial<Report>;
  try {
    report = JSON.parse(fs.readFileSync(file, 'utf8'));
  } catch (cause) {
    throw refuse(cause);
  }
  if (!report.measurements) throw refuse();
  return report.measurements;
}
