/** Word and character error of fine-tuning, against the layers reset and against updates. */
import {
  base,
  type Cell,
  type Chart,
  cell,
  interval,
  line,
  type Option,
  percent,
  thin,
  type View,
  zeroLine,
} from './chart';
import { type ErrorKey, type ErrorRate, errorEstimate, errorRates, isSaturated } from './errors';
import type { FineTuning, Sweep } from './read';
import { type Estimate, groupVariants, protocolOf } from './statistics';

export function errorByReset(runs: FineTuning[], sweeps: Sweep[]): Chart | undefined {
  if (!runs.length) return undefined;
  const rates = errorRates(runs);
  const columns = ['seed', 'resetTop', 'dropTop', 'freeze', ...rates.map(({ key }) => key), 'updatesToTau', 'auc'];
  return {
    id: 'error-by-k',
    title: 'Fine-tuned error against the number of layers reset',
    caption:
      'CTC over characters, greedy decoding, no language model; “lexicon”: decoded with the words of the training transcripts. The same data order and masks for every k of one seed. Points are means over seeds, bars 95 % intervals (Student’s t over seeds; with few seeds they are wide). The dashed line is the same network fine-tuned from random initialisation with the same number of updates. Differences to k = 0 have 95 % bootstrap intervals, paired over utterances and seeds.',
    views: [...rates.map(({ key, name }) => errorView(runs, key, name)), ...differenceViews(sweeps, rates)],
    table: {
      columns: ['variant', ...columns],
      rows: groupVariants(runs).flatMap(({ name, runs: members }) =>
        members.map((run) => [name, ...columns.map((column) => cell(run, column))]),
      ),
    },
  };
}

/** One error measure: a curve of the resets and one of the drops of each protocol, and the control as a level. */
function errorView(runs: FineTuning[], key: ErrorKey, name: string): View {
  const curves = new Map<string, [number, Estimate][]>();
  const levels: [string, number][] = [];
  for (const { name: variant, runs: members } of groupVariants(runs)) {
    const error = errorEstimate(members, key);
    if (!error) continue;
    const { random, dropTop, resetTop } = members[0];
    const curve = `${dropTop > 0 ? 'drop' : 'reset'} top k${protocolOf(members[0])}`;
    if (random) levels.push([variant, error.mean]);
    else curves.set(curve, [...(curves.get(curve) ?? []), [dropTop || resetTop, error]]);
  }
  const ks = [...curves.values()].flatMap((points) => points.map(([k]) => k));
  const ends = [Math.min(0, ...ks), Math.max(1, ...ks)];
  const series = [
    ...[...curves].flatMap(([curve, points], index) => interval(curve, points, index)),
    ...levels.map(([variant, level]) =>
      line(
        variant,
        ends.map((k) => [k, percent(level)]),
        'random',
      ),
    ),
  ];
  return {
    id: `error-by-k-${key}`,
    name,
    option: base(`${name} (%)`, 'layers reset from the top (k)', series, { integerX: true, pad: true, zero: true }),
  };
}

/** What each k changes against k = 0. */
function differenceViews(sweeps: Sweep[], rates: ErrorRate[]): View[] {
  return rates.flatMap(({ key, name: rate }) => {
    const series = sweeps.flatMap(({ mode, rows }, index) => {
      const points = rows.flatMap(({ k, difference }): [number, Estimate][] => {
        const found = k === null ? undefined : difference?.[key];
        return found ? [[k!, { mean: found.estimate, low: found.low, high: found.high, n: 2 }]] : [];
      });
      return interval(`${mode} top k, minus k = 0`, points, index);
    });
    const name = `${rate}, difference to k = 0`;
    const option = base(`${name} (points)`, 'layers reset from the top (k)', series, {
      integerX: true,
      pad: true,
      zero: true,
    });
    return series.length ? [{ id: `difference-by-k-${key}`, name, option: zeroLine(option, 'yAxis') }] : [];
  });
}

export function errorByUpdate(runs: FineTuning[]): Chart | undefined {
  const groups = groupVariants(runs.filter((run) => run.points.length));
  if (!groups.length) return undefined;
  const rows: Cell[][] = [];
  const order = isSaturated(runs) ? (['cer', 'wer'] as const) : (['wer', 'cer'] as const);
  const views = order.map((key) => {
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
