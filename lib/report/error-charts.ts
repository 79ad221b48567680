/** Word and character error of fine-tuning, against the layers reset and against updates. */
import { base, type Cell, type Chart, cell, line, type Option, percent, thin } from './chart';
import type { FineTuning, Sweep } from './read';
import { type Estimate, estimate, groupVariants } from './statistics';

const ERRORS: { key: 'testWer' | 'wer' | 'testCer' | 'cer'; name: string }[] = [
  { key: 'testWer', name: 'WER on test' },
  { key: 'wer', name: 'WER on dev' },
  { key: 'testCer', name: 'CER on test' },
  { key: 'cer', name: 'CER on dev' },
];

export function errorByReset(runs: FineTuning[], sweeps: Sweep[]): Chart | undefined {
  if (!runs.length) return undefined;
  const measured = ERRORS.filter(({ key }) => runs.some((run) => typeof run[key] === 'number'));
  const columns = ['seed', 'resetTop', 'dropTop', 'freeze', 'wer', 'cer', 'testWer', 'testCer', 'updatesToTau', 'auc'];
  return {
    id: 'error-by-k',
    title: 'Fine-tuned error against the number of layers reset',
    caption:
      'CTC over characters, greedy decoding, no language model; the same data order and masks for every k of one seed. Points are means over seeds, bars 95 % intervals (Student’s t over seeds; with few seeds they are wide). The dashed line is the same network fine-tuned from random initialisation with the same number of updates. Differences to k = 0 have 95 % bootstrap intervals, paired over utterances and seeds.',
    views: [...measured.map(({ key, name }) => errorView(runs, key, name)), ...differenceViews(sweeps)],
    table: {
      columns: ['variant', ...columns],
      rows: groupVariants(runs).flatMap(({ name, runs: members }) =>
        members.map((run) => [name, ...columns.map((column) => cell(run, column))]),
      ),
    },
  };
}

/** One error measure: resets, drops, and the control as a level. */
function errorView(runs: FineTuning[], key: (typeof ERRORS)[number]['key'], name: string): Chart['views'][number] {
  const points = {
    reset: [] as [number, Estimate][],
    drop: [] as [number, Estimate][],
    random: [] as [number, Estimate][],
  };
  for (const { runs: members } of groupVariants(runs)) {
    const values = members.map((run) => run[key]).filter((value): value is number => typeof value === 'number');
    const { random, dropTop, resetTop } = members[0];
    if (values.length)
      points[random ? 'random' : dropTop > 0 ? 'drop' : 'reset'].push([
        random ? 0 : dropTop || resetTop,
        estimate(values),
      ]);
  }
  const ks = [...points.reset, ...points.drop].map(([k]) => k);
  const level = points.random.flatMap(([, { mean }]) =>
    [Math.min(0, ...ks), Math.max(1, ...ks)].map((k) => [k, percent(mean)]),
  );
  const series = [
    ...interval('reset top k', points.reset, 0),
    ...interval('drop top k', points.drop, 1),
    line('random initialisation', level, 'random'),
  ];
  return {
    id: `error-by-k-${key}`,
    name,
    option: base(`${name} (%)`, 'layers reset from the top (k)', series, { integerX: true, pad: true, zero: true }),
  };
}

/** What each k changes against k = 0. */
function differenceViews(sweeps: Sweep[]): Chart['views'] {
  return (['testWer', 'wer'] as const).flatMap((key) => {
    const series = sweeps.flatMap(({ mode, rows }, index) => {
      const points = rows.flatMap(({ k, difference }): [number, Estimate][] => {
        const found = k === null ? undefined : difference?.[key];
        return found ? [[k!, { mean: found.estimate, low: found.low, high: found.high, n: 2 }]] : [];
      });
      return interval(`${mode} top k, minus k = 0`, points, index);
    });
    const name = `WER on ${key === 'wer' ? 'dev' : 'test'}, difference to k = 0`;
    const option = base(`${name} (points)`, 'layers reset from the top (k)', series, {
      integerX: true,
      pad: true,
      zero: true,
    });
    return series.length ? [{ id: `difference-by-k-${key}`, name, option }] : [];
  });
}

/** Means joined by a line, and one vertical bar per mean: a line that is broken after each bar. */
function interval(name: string, points: [number, Estimate][], index: number): Option[] {
  if (!points.length) return [];
  const bars = points.flatMap(([k, e]) =>
    e.n > 1
      ? [
          [k, percent(e.low)],
          [k, percent(e.high)],
          [k, null],
        ]
      : [],
  );
  const means = line(
    name,
    points.map(([k, e]) => [k, percent(e.mean)]),
    index,
    { symbols: true },
  );
  const whiskers = {
    ...line(`${name}: 95 % interval`, bars, index, { symbols: true }),
    symbol: 'rect',
    symbolSize: [12, 2],
    tooltip: { show: false },
  };
  return bars.length ? [means, whiskers] : [means];
}

export function errorByUpdate(runs: FineTuning[]): Chart | undefined {
  const groups = groupVariants(runs.filter((run) => run.points.length));
  if (!groups.length) return undefined;
  const rows: Cell[][] = [];
  const views = (['wer', 'cer'] as const).map((key) => {
    const series = groups.map((group, index) => {
      const averaged = averageByUpdate(group.runs, key);
      return line(group.name, thin(averaged.map(([x, y]) => [x, percent(y)])), group.runs[0].random ? 'random' : index);
    });
    return {
      id: `error-by-update-${key}`,
      name: key.toUpperCase(),
      option: base(`${key.toUpperCase()} on dev (%)`, 'fine-tuning updates', series),
    };
  });
  for (const group of groups) {
    for (const run of group.runs) {
      for (const point of run.points) rows.push([group.name, run.seed, point.update, point.wer, point.cer ?? null]);
    }
  }
  return {
    id: 'error-by-update',
    title: 'How fast each variant learns to transcribe',
    caption: 'Dev error during fine-tuning, mean over seeds. Lower and further left is better.',
    views: views.filter((view) => (view.option.series as Option[]).length > 0),
    table: { columns: ['variant', 'seed', 'update', 'wer', 'cer'], rows },
  };
}

function averageByUpdate(runs: FineTuning[], key: 'wer' | 'cer'): [number, number][] {
  const sums = new Map<number, { sum: number; n: number }>();
  for (const run of runs) {
    for (const point of run.points) {
      const value = point[key];
      if (typeof value !== 'number') continue;
      const entry = sums.get(point.update) ?? { sum: 0, n: 0 };
      sums.set(point.update, { sum: entry.sum + value, n: entry.n + 1 });
    }
  }
  return [...sums].sort((a, b) => a[0] - b[0]).map(([update, { sum, n }]) => [update, sum / n]);
}
