/** An experiment: what was compared, the differences to the baseline, and the measures that they rest on. */
import {
  axis,
  base,
  type Cell,
  type Chart,
  frame,
  interval,
  legend,
  type Option,
  percent,
  responsive,
  round,
  type View,
  zeroLine,
} from './chart';
import { GRID, INK, QUIET } from './colours';
import { RATES } from './errors';
import { checkpointCurves, heatMap } from './layer-charts';
import { presentMeasures } from './measures';
import type { Analysis } from './read';
import type { ExperimentData, ExperimentVerdict, FinetuneRow, MeasureRow, ResultRow } from './read-experiment';
import { type Estimate, estimate } from './statistics';

export function experimentCharts({ rows, ...data }: ExperimentData): Chart[] {
  const verdicts = distinct(data.verdicts);
  const measured = rows.filter((row): row is MeasureRow => row.kind !== 'finetune');
  const tuned = rows.filter((row): row is FinetuneRow => row.kind === 'finetune');
  const built = [
    conditionValues(verdicts),
    conditionDifferences(verdicts),
    ...overTime(measured),
    layerMeans(measured),
    measuresByCompute(measured),
    errorMeans(tuned),
  ];
  return built.filter((chart): chart is Chart => chart !== undefined && chart.views.length > 0);
}

/** Every comparison: the values of all seeds, and their mean. */
function conditionValues(verdicts: ExperimentVerdict[]): Chart | undefined {
  const views = verdicts.map((verdict, place): View => {
    const shown = verdict.percent ? percent : round;
    const conditions = inOrder(verdict.conditions);
    const seeds = conditions.flatMap(({ values }, index) => values.map((value) => [index, shown(value)]));
    const means = conditions.map(({ values }, index): [number, Estimate] => [index, estimate(values)]);
    const names = conditions.map(({ name }) => (name === verdict.baseline ? `${name}\n(baseline)` : name));
    const series = [scatter('single seeds', seeds), ...interval('mean', means, 0, (value) => shown(value))];
    return {
      id: `values-${place + 1}`,
      name: verdict.outcome,
      option: compared(unit(verdict), names, series, isSweep(conditions)),
    };
  });
  return {
    id: 'values',
    title: 'What was compared',
    caption:
      'Each condition’s mean over seeds with its 95 % interval (Student’s t), and the seeds themselves. The verdicts rest on differences of pairs with the same seed, not on whether these intervals overlap.',
    views,
    table: {
      columns: ['outcome', 'condition', 'seed', 'value'],
      rows: verdicts.flatMap(({ outcome, conditions }) =>
        conditions.flatMap(({ name, seeds, values }) => values.map((value, i) => [outcome, name, seeds[i], value])),
      ),
    },
  };
}

/** Every comparison: each condition minus the baseline. */
function conditionDifferences(verdicts: ExperimentVerdict[]): Chart | undefined {
  const views = verdicts.map((verdict, place): View => {
    const shown = verdict.percent ? percent : round;
    const differences = inOrder(verdict.differences);
    const points = differences.map((difference, index): [number, Estimate] => [index, asEstimate(difference)]);
    const series = interval(`minus ${verdict.baseline}`, points, 0, (value) => shown(value));
    const option = compared(
      `${unit(verdict)}, difference`,
      differences.map(({ name }) => name),
      series,
      isSweep(differences),
    );
    return {
      id: `differences-${place + 1}`,
      name: verdict.outcome,
      option: zeroLine(option, isSweep(differences) ? 'yAxis' : 'xAxis'),
    };
  });
  return {
    id: 'differences',
    title: 'Differences to the baseline',
    caption:
      'Mean difference to the baseline of the same seed, with its 95 % interval; for error rates also over utterances. p is two-sided, corrected with Holm over the conditions of a comparison.',
    views,
    table: {
      columns: ['outcome', 'baseline', 'condition', 'difference', 'low', 'high', 'corrected p'],
      rows: verdicts.flatMap(({ outcome, baseline, differences }) =>
        differences.map(({ name, estimate: value, low, high, correctedP }) => [
          outcome,
          baseline,
          name,
          value,
          low,
          high,
          correctedP,
        ]),
      ),
    },
  };
}

/** Layers over checkpoints, means over seeds; for an experiment of one cell. */
function overTime(rows: MeasureRow[]): (Chart | undefined)[] {
  const layers = rows.filter((row) => row.kind === 'layer');
  if (!isOneCell(layers)) return [];
  const checkpoints = groupBy(layers, ({ iteration, update }) => iteration * 1e9 + update);
  const analyses = [...checkpoints]
    .sort(([a], [b]) => a - b)
    .map(([, members]): Analysis => {
      const { iteration, update, totalUpdates, audioSeconds } = members[0];
      const means = [...groupBy(members, ({ layer }) => layer!)].map(([layer, own]) => ({
        layer,
        ...Object.fromEntries(
          [...groupBy(own, ({ measure }) => measure)].map(([measure, all]) => [measure, over(all).mean]),
        ),
      }));
      return { checkpoint: 'mean over seeds', iteration, update, totalUpdates, audioSeconds, layers: means };
    });
  return [heatMap(analyses), checkpointCurves(analyses)];
}

/** Every measure by layer at the end of each cell, or of each iteration where there is one cell. */
function layerMeans(rows: MeasureRow[]): Chart | undefined {
  const layers = rows.filter((row) => row.kind === 'layer');
  const ends = endsOf(layers);
  const groups = groupBy(ends, lineName(ends));
  const table: Cell[][] = [];
  const views = measuresOf(layers).map(({ key, name }): View => {
    const series = [...groups].flatMap(([group, members], index) => {
      const byLayer = groupBy(
        members.filter(({ measure }) => measure === key),
        ({ layer }) => layer!,
      );
      const points = [...byLayer].sort(([a], [b]) => a - b).map(([layer, own]) => [layer, over(own)] as const);
      for (const [layer, { mean, low, high, n }] of points) table.push([group, key, layer, mean, low, high, n]);
      return interval(
        group,
        points.map(([layer, value]) => [layer, value]),
        index,
        (value) => round(value),
      );
    });
    const option = base(name, 'layer (0 = input of the transformer)', series, { integerX: true, pad: true });
    return { id: `layers-${key}`, name, option };
  });
  return {
    id: 'layers',
    title: 'Layers at the end of training',
    caption: 'Means over seeds with 95 % intervals (Student’s t).',
    views,
    table: { columns: ['model', 'measure', 'layer', 'mean', 'low', 'high', 'seeds'], rows: table },
  };
}

/** The best layer's value of every measure over all audio processed for a checkpoint, relabelling included. */
function measuresByCompute(rows: MeasureRow[]): Chart | undefined {
  const layers = rows.filter((row) => row.kind === 'layer' && row.audioSeconds + row.relabelAudioSeconds > 0);
  const table: Cell[][] = [];
  const views = measuresOf(layers)
    .filter(({ key }) => key === 'pnmi' || key === 'phoneProbeAccuracy')
    .map(({ key, name }): View => {
      const cells = groupBy(
        layers.filter(({ measure }) => measure === key),
        ({ cell }) => cell,
      );
      const series = [...cells].flatMap(([cell, members], index) => {
        const checkpoints = groupBy(members, ({ iteration, update }) => `${iteration}/${update}`);
        const points = [...checkpoints.values()].map((own): [number, Estimate] => {
          const seeds = [...groupBy(own, ({ seed }) => seed).values()];
          const best = estimate(seeds.map((all) => Math.max(...all.map(({ value }) => value))));
          const seconds = estimate(own.map((row) => row.audioSeconds + row.relabelAudioSeconds)).mean;
          table.push([cell, key, own[0].iteration, own[0].update, seconds, best.mean, best.low, best.high, best.n]);
          return [round(seconds), best];
        });
        return interval(cell, points, index, (value) => round(value));
      });
      const option = base(`${name} of the best layer`, 'audio processed (seconds, relabelling included)', series, {
        logX: true,
      });
      return { id: `quality-${key}`, name, option };
    });
  return {
    id: 'quality',
    title: 'Quality against compute',
    caption:
      'The best layer at every measured checkpoint, over all audio processed for it: what the model was trained on, repeats counted, and what teachers were run over for labels. Means over seeds with 95 % intervals.',
    views,
    table: {
      columns: ['cell', 'measure', 'iteration', 'update', 'processedSeconds', 'mean', 'low', 'high', 'seeds'],
      rows: table,
    },
  };
}

/** Error against k for every model, one view for each rate and budget of transcripts. */
function errorMeans(rows: FinetuneRow[]): Chart | undefined {
  const resets = rows.filter(({ mode, freeze }) => mode === 'reset' && freeze === 'pretrained-only');
  const budgets = [...new Set(resets.map(({ labelMinutes }) => labelMinutes))].sort((a, b) => a - b);
  const rates = RATES.filter(({ key }) => resets.some((row) => typeof row[key] === 'number'));
  const table: Cell[][] = [];
  const views = rates.flatMap(({ key, name: rate }) =>
    budgets.map((minutes): View => {
      const models = groupBy(
        resets.filter(({ labelMinutes }) => labelMinutes === minutes),
        ({ cell, iteration }) => `${cell}, iteration ${iteration}`,
      );
      const series = [...models].flatMap(([model, members], index) => {
        const points = [...groupBy(members, ({ k }) => k!)].map(([k, own]): [number, Estimate] => {
          const error = estimate(own.map((row) => row[key] as number));
          table.push([model, key, minutes, k, error.mean, error.low, error.high, error.n]);
          return [k, error];
        });
        return interval(
          model,
          points.sort(([a], [b]) => a - b),
          index,
        );
      });
      const name = `${rate}, ${minutes ? `${minutes} min of labels` : 'all labels'}`;
      const option = base(`${rate} (%)`, 'layers reset from the top (k)', series, { integerX: true, pad: true });
      return { id: `errors-${key}-${minutes}min`, name, option };
    }),
  );
  return {
    id: 'errors',
    title: 'Fine-tuned error against the number of layers reset',
    caption:
      'Means over seeds with 95 % intervals (Student’s t); the pretrained part is frozen at first. What else was tried (layers taken off, all frozen at first) is in the comparisons above.',
    views,
    table: { columns: ['model', 'rate', 'labelMinutes', 'k', 'mean', 'low', 'high', 'seeds'], rows: table },
  };
}

// --- rows -----------------------------------------------------------------------------------------------------------

function groupBy<T, K>(items: T[], key: (item: T) => K): Map<K, T[]> {
  const groups = new Map<K, T[]>();
  for (const item of items) groups.set(key(item), [...(groups.get(key(item)) ?? []), item]);
  return groups;
}

function measuresOf(rows: MeasureRow[]) {
  return presentMeasures(rows.map(({ layer, measure, value }) => ({ layer: layer!, [measure]: value })));
}

function isOneCell(rows: ResultRow[]): boolean {
  return new Set(rows.map(({ cell }) => cell)).size === 1;
}

/** Rows of the last checkpoint of each cell; where there is one cell only, of each iteration of it. */
function endsOf(rows: MeasureRow[]): MeasureRow[] {
  const byIteration = isOneCell(rows);
  const place = ({ cell, iteration }: ResultRow) => (byIteration ? `${cell}/${iteration}` : cell);
  const age = ({ iteration, update }: ResultRow) => iteration * 1e9 + update;
  const last = new Map<string, number>();
  for (const row of rows) last.set(place(row), Math.max(age(row), last.get(place(row)) ?? 0));
  return rows.filter((row) => age(row) === last.get(place(row)));
}

function lineName(ends: MeasureRow[]): (row: MeasureRow) => string {
  return isOneCell(ends) ? ({ iteration }) => `iteration ${iteration}` : ({ cell }) => cell;
}

function over(rows: MeasureRow[]): Estimate {
  return estimate(rows.map(({ value }) => value));
}

// --- conditions -----------------------------------------------------------------------------------------------------

/** Verdicts whose outcomes have names of their own: where several are about the same one, what is compared is added. */
function distinct(verdicts: ExperimentVerdict[]): ExperimentVerdict[] {
  const times = groupBy(verdicts, ({ outcome }) => outcome);
  return verdicts.map((verdict) => {
    const [first, ...more] = verdict.differences.map(({ name }) => name);
    const what = `${verdict.outcome}: ${first}${more.length ? ' …' : ''} against ${verdict.baseline}`;
    return times.get(verdict.outcome)!.length > 1 ? { ...verdict, outcome: what } : verdict;
  });
}

function unit({ outcome, percent: hundredths }: ExperimentVerdict): string {
  return hundredths ? `${outcome} (%)` : outcome;
}

/** A difference without an interval (one seed: null in the file) is drawn as a point. */
function asEstimate({ estimate: mean, low, high }: ExperimentVerdict['differences'][number]): Estimate {
  return Number.isFinite(low) ? { mean, low, high, n: 2 } : { mean, low: mean, high: mean, n: 1 };
}

const NUMBER = /-?\d+(\.\d+)?/;

/** Do the names differ in one number only (`K = 50`, `K = 100`)? */
function isSweep(conditions: { name: string }[]): boolean {
  return new Set(conditions.map(({ name }) => name.replace(NUMBER, ''))).size === 1 && NUMBER.test(conditions[0].name);
}

/** A sweep by its number, others as they come. */
function inOrder<T extends { name: string }>(conditions: T[]): T[] {
  const place = ({ name }: T) => Number(NUMBER.exec(name)![0]);
  return isSweep(conditions) ? [...conditions].sort((a, b) => place(a) - place(b)) : conditions;
}

function scatter(name: string, data: Cell[][]): Option {
  return { type: 'scatter', name, data, symbolSize: 6, symbolOffset: [10, 0], itemStyle: { color: QUIET } };
}

/** Conditions along the x axis when they are a sweep; else one below the other, so that there is room for their names. */
function compared(name: string, conditions: string[], series: Option[], sweep: boolean): Option {
  const values = {
    type: 'value',
    ...axis(name, sweep ? 46 : 30),
    scale: true,
    splitLine: { show: true, lineStyle: { color: GRID } },
  };
  const categories = {
    type: 'category',
    ...axis('', 0),
    axisLabel: { color: INK, interval: 0, lineHeight: 15, hideOverlap: true },
    data: conditions,
    axisTick: { show: false },
    inverse: !sweep,
  };
  const option = {
    ...frame('item'),
    legend: legend(series.map((entry) => entry.name as string).filter((entry) => !entry.includes('interval'))),
    xAxis: sweep ? categories : values,
    yAxis: sweep ? values : categories,
    series: sweep ? series : series.map(turned),
  };
  const label = (width: number) => ({ axisLabel: { width, overflow: 'break' } });
  if (sweep) {
    const grid = { left: 64, right: 24, top: 44, bottom: 56 };
    return responsive({ ...option, grid }, { grid: { left: 56, right: 12 } }, { grid });
  }
  return responsive(
    option,
    { grid: { left: 116, right: 16, top: 44, bottom: 48 }, yAxis: label(104) },
    { grid: { left: 212, right: 28, top: 44, bottom: 48 }, yAxis: label(200) },
  );
}

/** A series with x and y exchanged; conditions that are no sweep are not joined by a line. */
function turned(series: Option): Option {
  const data = (series.data as Cell[][]).map(([x, y]) => (y === null ? [null, x] : [y, x]));
  if (series.type === 'scatter') return { ...series, data, symbolOffset: [0, 10] };
  const isBar = (series.name as string).includes('interval');
  return { ...series, data, ...(isBar ? { symbolSize: [2, 12] } : { lineStyle: { width: 0 }, symbolSize: 9 }) };
}
