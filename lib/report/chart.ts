/** The pieces that all charts are made of: axes, lines, tables. */
import { GRID, INK, LINES, PAPER, QUIET, REFERENCES } from './colours';
import type { Estimate } from './statistics';

export type Option = Record<string, unknown>;
export type Cell = string | number | null;

export interface Table {
  columns: string[];
  rows: Cell[][];
}

/** One position of a view's slider: the data of the view's first series. */
export interface Step {
  name: string;
  data: Cell[][];
}

/** One drawing. With `steps` the page has a slider over them; the option shows the last one. */
export interface View {
  id: string;
  name: string;
  option: Option;
  steps?: Step[];
}

/** A table with its title. */
export interface Listing {
  id: string;
  title: string;
  caption: string;
  table: Table;
}

/** One chart: one or more views of it (the page has a selector), and the table behind it. */
export interface Chart extends Listing {
  views: View[];
}

const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle', 'emptyDiamond'];
/** Charts narrower than this (in px) are drawn for a phone. */
const NARROW = 600;
const MOST_POINTS = 600;

export function frame(trigger: 'axis' | 'item'): Option {
  return {
    animation: false,
    backgroundColor: PAPER,
    color: LINES,
    textStyle: { fontFamily: 'system-ui, Roboto, Helvetica, Arial, sans-serif', color: INK },
    tooltip: { trigger, confine: true, backgroundColor: PAPER, borderColor: QUIET, textStyle: { color: INK } },
  };
}

/** An axis with its name beside it. */
export function axis(name: string, nameGap: number): Option {
  return {
    name,
    nameGap,
    nameLocation: 'middle',
    nameTextStyle: { color: QUIET },
    axisLabel: { color: INK, hideOverlap: true },
    axisLine: { show: true, onZero: false, lineStyle: { color: QUIET } },
    splitLine: { show: false },
  };
}

/** `option` with what is added to it where the chart is narrow, and otherwise. */
export function responsive(option: Option, narrow: Option, wide: Option): Option {
  return { ...option, media: [{ query: { maxWidth: NARROW }, option: narrow }, { option: wide }] };
}

export function base(
  yName: string,
  xName: string,
  series: Option[],
  o: { integerX?: boolean; pad?: boolean; zero?: boolean; logX?: boolean } = {},
): Option {
  const shown = series.filter((entry) => (entry.data as Cell[][]).length > 0);
  const names = shown.map((entry) => entry.name as string).filter((name) => !name.includes('interval'));
  const top = (width: number) => 26 + 18 * legendRows(names, width);
  const labels = {
    color: INK,
    hideOverlap: true,
    showMinLabel: !o.pad,
    showMaxLabel: o.logX || (!!o.integerX && !o.pad),
  };
  const option = {
    ...frame('axis'),
    legend: legend(names),
    xAxis: {
      type: o.logX ? 'log' : 'value',
      ...axis(xName, 30),
      axisLabel: labels,
      ...(o.integerX && { minInterval: 1 }),
      ...(o.logX ? decades(shown) : o.pad ? { min: -0.4, max: padded(shown) } : { min: 0, max: 'dataMax' }),
    },
    yAxis: {
      type: 'value',
      ...axis(yName, 46),
      scale: !o.zero,
      splitLine: { show: true, lineStyle: { color: GRID } },
    },
    series: shown,
  };
  return responsive(
    option,
    { grid: { left: 56, right: 16, top: top(310), bottom: 52 } },
    { grid: { left: 64, right: 28, top: top(620), bottom: 52 } },
  );
}

export function legend(names: string[]): Option {
  // A wide gap: ECharts takes letters for narrower than they are where it cannot measure them (SVG files).
  return { top: 0, left: 'center', itemWidth: 28, itemGap: 28, textStyle: { color: INK }, data: names };
}

/** How many rows a legend of these names takes in a chart of this width (px), by the usual width of a letter. */
function legendRows(names: string[], width: number): number {
  let rows = 1;
  let used = 0;
  for (const entry of names.map((name) => 63 + 6.5 * name.length)) {
    if (used > 0 && used + entry > width) {
      rows++;
      used = 0;
    }
    used += entry;
  }
  return rows;
}

/** Whole powers of ten around the data, for a logarithmic axis. */
function decades(series: Option[]): { min: number; max: number } {
  const values = series.flatMap((entry) => (entry.data as number[][]).map((pair) => pair[0]));
  return {
    min: 10 ** Math.floor(Math.log10(Math.min(...values))),
    max: 10 ** Math.ceil(Math.log10(Math.max(...values))),
  };
}

function padded(series: Option[]): number {
  return Math.max(...series.flatMap((entry) => (entry.data as number[][]).map((pair) => pair[0]))) + 0.4;
}

export type Reference = keyof typeof REFERENCES;

const DASHES = { unigram: 'dashed', random: 'dashed', mfcc: [8, 3, 2, 3], chance: 'dotted' };

/** A line; `style` is its place among the lines (colour and symbol), or the reference that it is. */
export function line(name: string, data: Cell[][], style: number | Reference, o: { symbols?: boolean } = {}): Option {
  const symbol = typeof style === 'number' ? SYMBOLS[style % SYMBOLS.length] : 'emptyCircle';
  return {
    type: 'line',
    name,
    data,
    color: typeof style === 'number' ? LINES[style % LINES.length] : REFERENCES[style],
    symbol: o.symbols ? symbol : 'none',
    symbolSize: 7,
    connectNulls: false,
    lineStyle: { width: 2, type: typeof style === 'number' ? 'solid' : DASHES[style] },
    emphasis: { disabled: true },
  };
}

/** Means joined by a line, and one vertical bar per mean: a line that is broken after each bar. */
export function interval(
  name: string,
  points: [number, Estimate][],
  index: number,
  shown: (value: number) => number = percent,
): Option[] {
  if (!points.length) return [];
  const bars = points.flatMap(([x, e]) =>
    e.n > 1
      ? [
          [x, shown(e.low)],
          [x, shown(e.high)],
          [x, null],
        ]
      : [],
  );
  const means = line(
    name,
    points.map(([x, e]) => [x, shown(e.mean)]),
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

/** `option` with a line at zero of an axis. */
export function zeroLine(option: Option, axisOfValues: 'xAxis' | 'yAxis'): Option {
  const [first, ...others] = option.series as Option[];
  const markLine = {
    silent: true,
    symbol: 'none',
    label: { show: false },
    lineStyle: { color: QUIET, type: 'solid', width: 1 },
    data: [{ [axisOfValues]: 0 }],
  };
  return { ...option, series: [{ ...first, markLine }, ...others] };
}

/** At most MOST_POINTS points, gaps and the last point kept. */
export function thin(data: Cell[][]): Cell[][] {
  const step = Math.ceil(data.length / MOST_POINTS);
  return step <= 1
    ? data
    : data.filter((pair, index) => index % step === 0 || pair[1] === null || index === data.length - 1);
}

export function cell(row: object, key: string): Cell {
  const value = (row as Record<string, unknown>)[key];
  return typeof value === 'number' ? value : typeof value === 'string' ? value : null;
}

/** Four significant digits. */
export function round(value: number, digits = 4): number {
  return Number(value.toPrecision(digits >= 4 && Math.abs(value) >= 1000 ? 7 : digits));
}

export function percent(fraction: number): number {
  return round(100 * fraction);
}

export function short(count: number): string {
  return count >= 10_000 ? `${round(count / 1000, 3)}k` : String(count);
}
