/** The pieces that all charts are made of: axes, lines, colours. */

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

/** One chart: one or more views of it (the page has a selector), and the table behind it. */
export interface Chart {
  id: string;
  title: string;
  caption: string;
  views: View[];
  table: Table;
}

// Okabe and Ito: tell apart with any colour vision. Dashes and symbols differ too, for print in grey.
const COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#6F5FA8', '#8C8C00'];
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle', 'emptyDiamond'];
const GREY = '#5b6470';
const MOST_POINTS = 600;

export function frame(): Option {
  return {
    animation: false,
    backgroundColor: '#ffffff',
    color: COLOURS,
    textStyle: {
      fontFamily: 'system-ui, Roboto, Helvetica, Arial, sans-serif',
      color: '#1d232b',
    },
    aria: { enabled: true },
  };
}

export function base(
  yName: string,
  xName: string,
  series: Option[],
  o: { integerX?: boolean; pad?: boolean; zero?: boolean } = {},
): Option {
  const shown = series.filter((entry) => (entry.data as Cell[][]).length > 0);
  const top = (entriesInARow: number) => 26 + 20 * Math.ceil(legend(shown).length / entriesInARow);
  const wide = { left: 64, right: 28, top: top(4), bottom: 52 };
  const axis = {
    nameLocation: 'middle',
    nameTextStyle: { color: GREY },
    axisLabel: { color: '#1d232b' },
    axisLine: { show: true, onZero: false },
  };
  const split = { splitLine: { lineStyle: { color: '#e6e9ed' } } };
  return {
    ...frame(),
    tooltip: { trigger: 'axis', confine: true },
    legend: {
      type: 'plain',
      top: 0,
      left: 'center',
      itemWidth: 28,
      textStyle: { color: '#1d232b' },
      data: legend(shown),
    },
    grid: wide,
    media: [
      { query: { maxWidth: 600 }, option: { grid: { left: 56, right: 16, top: top(2), bottom: 52 } } },
      { option: { grid: wide } },
    ],
    xAxis: {
      type: 'value',
      name: xName,
      nameGap: 30,
      ...axis,
      splitLine: { show: false },
      ...(o.integerX ? { minInterval: 1 } : { axisLabel: { color: '#1d232b', showMaxLabel: false } }),
      ...(o.pad
        ? { min: -0.4, max: padded(shown), axisLabel: { color: '#1d232b', showMinLabel: false, showMaxLabel: false } }
        : { min: 0, max: 'dataMax' }),
    },
    yAxis: { type: 'value', name: yName, nameGap: 46, scale: !o.zero, ...axis, ...split },
    series: shown,
  };
}

function padded(series: Option[]): number {
  return Math.max(...series.flatMap((entry) => (entry.data as number[][]).map((pair) => pair[0]))) + 0.4;
}

function legend(series: Option[]): string[] {
  return series.map((entry) => entry.name as string).filter((name) => !name.includes('interval'));
}

/** A line; `index` picks colour and symbol, negative: a reference line (-1 unigram, -2 random, -3 MFCC, -4 chance). */
export function line(name: string, data: Cell[][], index: number, o: { symbols?: boolean } = {}): Option {
  const reference = index < 0;
  const colour = reference ? ['#3c434c', '#7a4b00', '#6F5FA8', '#8a929b'][-index - 1] : COLOURS[index % COLOURS.length];
  return {
    type: 'line',
    name,
    data,
    color: colour,
    showSymbol: !!o.symbols,
    symbol: reference ? 'emptyCircle' : SYMBOLS[index % SYMBOLS.length],
    symbolSize: 7,
    connectNulls: false,
    lineStyle: {
      width: 2,
      type: reference ? (['dashed', 'dashed', [8, 3, 2, 3], 'dotted'] as const)[-index - 1] : 'solid',
    },
    emphasis: { disabled: true },
  };
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
