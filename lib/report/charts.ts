/** The charts of a run as ECharts options (plain data, no functions: the page and the SVG files use the same ones). */
import type { Analysis, FineTuning, LayerScores, RunData, TrainingPoint } from './read';
import { bestLayer, type Estimate, estimate, groupVariants, lastOfEachIteration } from './statistics';

export type Option = Record<string, unknown>;
export type Cell = string | number | null;

export interface Table {
  columns: string[];
  rows: Cell[][];
}

/** One chart: one or more views of it (the page has a selector), and the table behind it. */
export interface Chart {
  id: string;
  title: string;
  caption: string;
  views: { id: string; name: string; option: Option }[];
  table: Table;
}

// Okabe and Ito: tell apart with any colour vision. Dashes and symbols differ too, for print in grey.
const COLOURS = ['#0072B2', '#D55E00', '#009E73', '#CC79A7', '#56B4E9', '#E69F00', '#6F5FA8', '#8C8C00'];
const SYMBOLS = ['circle', 'rect', 'triangle', 'diamond', 'emptyCircle', 'emptyRect', 'emptyTriangle', 'emptyDiamond'];
const GREY = '#5b6470';
// Cividis: even steps of lightness, readable in grey.
const HEAT = ['#00204c', '#31446b', '#666870', '#958f78', '#cab969', '#ffea46'];
const MOST_POINTS = 600;

export const METRICS: { key: Exclude<keyof LayerScores, 'layer'>; name: string }[] = [
  { key: 'pnmi', name: 'PNMI' },
  { key: 'ckaLayer0', name: 'CKA to layer 0' },
  { key: 'ckaLogMel', name: 'CKA to log-mel' },
  { key: 'phoneProbeAccuracy', name: 'Phone probe accuracy' },
  { key: 'phonePurity', name: 'Phone purity' },
  { key: 'clusterPurity', name: 'Cluster purity' },
];

/** Every chart that the run has data for, in reading order. */
export function charts(run: RunData): Chart[] {
  const built = [
    ...trainingCharts(run.training),
    heatMap(run.analyses),
    layerCurves(run.analyses),
    autoencoder(run.analyses),
    errorByReset(run.fineTunings),
    errorByUpdate(run.fineTunings),
  ];
  return built.filter((chart): chart is Chart => chart !== undefined && chart.views.length > 0);
}

// --- training -------------------------------------------------------------------------------------------------------

function trainingCharts(points: TrainingPoint[]): Chart[] {
  if (!points.length) return [];
  const train = points.filter((point) => point.kind !== 'valid');
  const valid = points.filter((point) => point.kind === 'valid');
  const curve = (from: TrainingPoint[], key: keyof TrainingPoint) => thin(byIteration(from, key));
  const loss = base('bits per frame', 'audio processed (seconds)', [
    line('masked, training', curve(train, 'maskedLossBits'), 0),
    line('masked, validation', curve(valid, 'maskedLossBits'), 1, { symbols: true }),
    line('unmasked, validation', curve(valid, 'unmaskedLossBits'), 2, { symbols: true }),
    line('unigram entropy of the labels', curve(points, 'unigramBits'), -1),
  ]);
  const accuracy = base('accuracy', 'audio processed (seconds)', [
    line('masked, training', curve(train, 'maskedAccuracy'), 0),
    line('masked, validation', curve(valid, 'maskedAccuracy'), 1, { symbols: true }),
    line('unmasked, validation', curve(valid, 'unmaskedAccuracy'), 2, { symbols: true }),
  ]);
  for (const option of [loss, accuracy]) markIterations(option, points);
  const columns = [
    'kind',
    'iteration',
    'update',
    'totalUpdates',
    'audioSeconds',
    'maskedLossBits',
    'unmaskedLossBits',
    'unigramBits',
    'maskedAccuracy',
    'unmaskedAccuracy',
    'learningRate',
    'gradientNorm',
    'wallSeconds',
    'audioSecondsPerSecond',
  ];
  const table = { columns, rows: points.map((point) => columns.map((column) => cell(point, column))) };
  return [
    {
      id: 'loss',
      title: 'Masked prediction: loss',
      caption:
        'Cross-entropy in bits per frame over all audio processed so far. A model that only knows how often each cluster occurs reaches the dashed line (the unigram entropy of the labels); what lies below it was learned from the sound around a frame. Each iteration has labels of its own, so its losses are not comparable with those of another.',
      views: [{ id: 'loss', name: 'loss', option: loss }],
      table,
    },
    {
      id: 'accuracy',
      title: 'Masked prediction: accuracy',
      caption:
        'Share of frames whose cluster is predicted exactly. Masked frames are predicted from their surroundings only.',
      views: [{ id: 'accuracy', name: 'accuracy', option: accuracy }],
      table,
    },
  ];
}

/** [audioSeconds, value] of one key, with a gap between iterations. */
function byIteration(points: TrainingPoint[], key: keyof TrainingPoint): Cell[][] {
  const data: Cell[][] = [];
  points.forEach((point, index) => {
    if (index > 0 && points[index - 1].iteration !== point.iteration) data.push([point.audioSeconds, null]);
    const value = point[key];
    if (typeof value === 'number') data.push([round(point.audioSeconds), round(value)]);
  });
  return data.some((pair) => pair[1] !== null) ? data : [];
}

function markIterations(option: Option, points: TrainingPoint[]): void {
  const starts = new Map<number, number>();
  points.forEach((point, index) => {
    if (!starts.has(point.iteration)) starts.set(point.iteration, index === 0 ? 0 : points[index - 1].audioSeconds);
  });
  const first = (option.series as Option[])[0];
  if (!first) return;
  first.markLine = {
    silent: true,
    symbol: 'none',
    lineStyle: { color: '#9aa3ad', type: 'solid', width: 1 },
    label: { color: GREY, formatter: '{b}', position: 'end', align: 'left', distance: 4 },
    data: [...starts].map(([iteration, x]) => ({ name: `iteration ${iteration}`, xAxis: x })),
  };
}

// --- layers ---------------------------------------------------------------------------------------------------------

function heatMap(analyses: Analysis[]): Chart | undefined {
  if (!analyses.length) return undefined;
  const layers = [...new Set(analyses.flatMap((analysis) => analysis.layers.map((row) => row.layer)))].sort(
    (a, b) => a - b,
  );
  const columns = analyses.map(
    (analysis) => `it ${analysis.iteration}\n${short(analysis.totalUpdates ?? analysis.update)}`,
  );
  const views = presentMetrics(analyses).map(({ key, name }) => {
    const cells: Cell[][] = [];
    analyses.forEach((analysis, x) => {
      for (const row of analysis.layers) {
        const value = row[key];
        if (typeof value === 'number') cells.push([x, layers.indexOf(row.layer), Number(value.toFixed(3))]);
      }
    });
    return { id: `layers-over-time-${key}`, name, option: heatOption(name, columns, layers, cells) };
  });
  return {
    id: 'layers-over-time',
    title: 'Where the information is, while the model trains',
    caption:
      'One column per checkpoint (iteration, total updates), one row per layer; layer 0 is the input of the transformer. Measured on utterances of the analysis set, without masking.',
    views,
    table: layerTable(analyses),
  };
}

function heatOption(name: string, columns: string[], layers: number[], cells: Cell[][]): Option {
  const values = cells.map((entry) => entry[2] as number);
  const middle = (Math.min(...values) + Math.max(...values)) / 2;
  return {
    ...frame(),
    tooltip: { position: 'top' },
    grid: { left: 56, right: 24, top: 24, bottom: 104 },
    xAxis: {
      type: 'category',
      data: columns,
      name: 'iteration, total updates',
      nameLocation: 'middle',
      nameGap: 42,
      axisLabel: { lineHeight: 15 },
      axisTick: { show: false },
    },
    yAxis: {
      type: 'category',
      data: layers.map(String),
      name: 'layer',
      nameLocation: 'middle',
      nameGap: 34,
      axisTick: { show: false },
    },
    visualMap: {
      min: Math.min(...values),
      max: Math.max(...values),
      precision: 2,
      calculable: false,
      orient: 'horizontal',
      left: 'center',
      bottom: 4,
      itemHeight: 180,
      text: [`high ${name}`, 'low'],
      inRange: { color: HEAT },
      textStyle: { color: '#1d232b' },
    },
    series: [
      {
        type: 'heatmap',
        name,
        data: cells.map((value) => ({
          value,
          label: { color: (value[2] as number) > middle ? '#101418' : '#ffffff' },
        })),
        label: { show: columns.length <= 14, fontSize: 11 },
        itemStyle: { borderColor: '#ffffff', borderWidth: 1 },
      },
    ],
  };
}

function layerCurves(analyses: Analysis[]): Chart | undefined {
  if (!analyses.length) return undefined;
  const last = lastOfEachIteration(analyses);
  const random = last.find((analysis) => analysis.random)?.random;
  const reference = last.at(-1)!;
  const views = presentMetrics(analyses).map(({ key, name }) => {
    const pairs = (rows: LayerScores[]) =>
      rows.flatMap((row) => (typeof row[key] === 'number' ? [[row.layer, round(row[key]!)]] : []));
    const series = last.map((analysis, index) =>
      line(`iteration ${analysis.iteration}`, pairs(analysis.layers), index, { symbols: true }),
    );
    if (random) series.push(line('random initialisation', pairs(random.layers), -2, { symbols: true }));
    if (key === 'pnmi') {
      const ends = [reference.layers[0].layer, reference.layers.at(-1)!.layer];
      const level = (value: number | undefined) =>
        typeof value === 'number' ? ends.map((x) => [x, round(value)]) : [];
      series.push(
        line('MFCC labels', level(reference.mfcc?.pnmi), -3),
        line('chance', level(reference.chance?.pnmi), -4),
      );
    }
    const option = base(name, 'layer (0 = input of the transformer)', series, { integerX: true });
    return { id: `layers-${key}`, name, option };
  });
  return {
    id: 'layers',
    title: 'Layers at the end of each iteration',
    caption:
      'PNMI: how much of the phone identity the k-means clusters of a layer carry (1 = all). CKA: similarity of representations (1 = same up to rotation and scale). Probe: a linear phone classifier on single frames. The untrained network, the MFCC labels and the chance level of the measure are the references.',
    views,
    table: layerTable(last),
  };
}

function autoencoder(analyses: Analysis[]): Chart | undefined {
  const measured = analyses.filter((analysis) => typeof analysis.autoencoderIndex === 'number');
  if (!measured.length) return undefined;
  const iterations = [...new Set(measured.map((analysis) => analysis.iteration))];
  const drop = (analysis: Analysis) => {
    const best = bestLayer(analysis.layers, 'pnmi');
    const top = analysis.layers.at(-1)?.pnmi;
    return best && typeof top === 'number' ? best.value - top : undefined;
  };
  const build = (name: string, value: (analysis: Analysis) => number | undefined) =>
    base(
      name,
      'audio processed (seconds)',
      iterations.map((iteration, index) => {
        const own = measured.filter((analysis) => analysis.iteration === iteration && value(analysis) !== undefined);
        return line(
          `iteration ${iteration}`,
          own.map((a) => [round(a.audioSeconds), round(value(a)!)]),
          index,
          { symbols: true },
        );
      }),
    );
  return {
    id: 'autoencoder',
    title: 'Autoencoder behaviour of the top layer',
    caption:
      'Autoencoder index: 0 when every layer is less similar to the input (layer 0) than the one below, 1 when the top layer has come all the way back to it. Drop at the top: PNMI of the best layer minus PNMI of the top layer.',
    views: [
      {
        id: 'autoencoder-index',
        name: 'autoencoder index',
        option: build('autoencoder index', (a) => a.autoencoderIndex),
      },
      { id: 'autoencoder-drop', name: 'PNMI lost at the top', option: build('PNMI lost at the top', drop) },
    ].filter((view) => (view.option.series as Option[]).length > 0),
    table: {
      columns: ['iteration', 'totalUpdates', 'audioSeconds', 'autoencoderIndex', 'pnmiLostAtTheTop'],
      rows: measured.map((a) => [a.iteration, a.totalUpdates, a.audioSeconds, a.autoencoderIndex!, drop(a) ?? null]),
    },
  };
}

function presentMetrics(analyses: Analysis[]) {
  return METRICS.filter(({ key }) => analyses.some((a) => a.layers.some((row) => typeof row[key] === 'number')));
}

function layerTable(analyses: Analysis[]): Table {
  const metrics = presentMetrics(analyses);
  const rows: Cell[][] = [];
  const add = (head: Cell[], layers: LayerScores[]) => {
    for (const row of layers) rows.push([...head, row.layer, ...metrics.map(({ key }) => cell(row, key))]);
  };
  const random = analyses.find((analysis) => analysis.random)?.random;
  if (random) add(['random initialisation', null, 0, 0], random.layers);
  for (const a of analyses) add([a.checkpoint, a.iteration, a.totalUpdates, a.audioSeconds], a.layers);
  return {
    columns: ['checkpoint', 'iteration', 'totalUpdates', 'audioSeconds', 'layer', ...metrics.map(({ key }) => key)],
    rows,
  };
}

// --- fine-tuning ----------------------------------------------------------------------------------------------------

const ERRORS: { key: 'testWer' | 'wer' | 'testCer' | 'cer'; name: string }[] = [
  { key: 'testWer', name: 'WER on test' },
  { key: 'wer', name: 'WER on dev' },
  { key: 'testCer', name: 'CER on test' },
  { key: 'cer', name: 'CER on dev' },
];

function errorByReset(runs: FineTuning[]): Chart | undefined {
  if (!runs.length) return undefined;
  const groups = groupVariants(runs);
  const views = ERRORS.filter(({ key }) => runs.some((run) => typeof run[key] === 'number')).map(({ key, name }) => {
    const of = (members: FineTuning[]) => {
      const values = members.map((run) => run[key]).filter((value): value is number => typeof value === 'number');
      return values.length ? estimate(values) : undefined;
    };
    const reset: [number, Estimate][] = [];
    const dropped: [number, Estimate][] = [];
    let control: Estimate | undefined;
    for (const group of groups) {
      const value = of(group.runs);
      const { random, dropTop, resetTop } = group.runs[0];
      if (!value) continue;
      if (random) control = value;
      else if (dropTop > 0) dropped.push([dropTop, value]);
      else reset.push([resetTop, value]);
    }
    const series = [...interval('reset top k', reset, 0), ...interval('drop top k', dropped, 1)];
    const ks = [...reset, ...dropped].map(([k]) => k);
    const ends = [Math.min(0, ...ks), Math.max(1, ...ks)];
    if (control) {
      series.push(
        line(
          'random initialisation',
          ends.map((k) => [k, percent(control!.mean)]),
          -2,
        ),
      );
    }
    const option = base(`${name} (%)`, 'layers reset from the top (k)', series, {
      integerX: true,
      pad: true,
      zero: true,
    });
    return { id: `error-by-k-${key}`, name, option };
  });
  return {
    id: 'error-by-k',
    title: 'Fine-tuned error against the number of layers reset',
    caption:
      'CTC over characters, greedy decoding, no language model; the same data order and masks for every k of one seed. Points are means over seeds, bars 95 % intervals (Student’s t over seeds; with few seeds they are wide). The dashed line is the same network fine-tuned from random initialisation with the same number of updates.',
    views,
    table: {
      columns: [
        'variant',
        'seed',
        'resetTop',
        'dropTop',
        'freeze',
        'wer',
        'cer',
        'testWer',
        'testCer',
        'updatesToTau',
        'auc',
      ],
      rows: groups.flatMap((group) =>
        group.runs.map((run) => [
          group.name,
          ...['seed', 'resetTop', 'dropTop', 'freeze', 'wer', 'cer', 'testWer', 'testCer', 'updatesToTau', 'auc'].map(
            (key) => cell(run, key),
          ),
        ]),
      ),
    },
  };
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

function errorByUpdate(runs: FineTuning[]): Chart | undefined {
  const groups = groupVariants(runs.filter((run) => run.points.length));
  if (!groups.length) return undefined;
  const rows: Cell[][] = [];
  const views = (['wer', 'cer'] as const).map((key) => {
    const series = groups.map((group, index) => {
      const averaged = averageByUpdate(group.runs, key);
      return line(group.name, thin(averaged.map(([x, y]) => [x, percent(y)])), group.runs[0].random ? -2 : index);
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

// --- shared pieces --------------------------------------------------------------------------------------------------

function frame(): Option {
  return {
    animation: false,
    backgroundColor: '#ffffff',
    color: COLOURS,
    textStyle: {
      fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif',
      color: '#1d232b',
    },
    aria: { enabled: true },
  };
}

function base(
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
function line(name: string, data: Cell[][], index: number, o: { symbols?: boolean } = {}): Option {
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
function thin(data: Cell[][]): Cell[][] {
  const step = Math.ceil(data.length / MOST_POINTS);
  return step <= 1
    ? data
    : data.filter((pair, index) => index % step === 0 || pair[1] === null || index === data.length - 1);
}

function cell(row: object, key: string): Cell {
  const value = (row as Record<string, unknown>)[key];
  return typeof value === 'number' ? value : typeof value === 'string' ? value : null;
}

/** Four significant digits. */
export function round(value: number, digits = 4): number {
  return Number(value.toPrecision(digits >= 4 && Math.abs(value) >= 1000 ? 7 : digits));
}

function percent(fraction: number): number {
  return round(100 * fraction);
}

function short(count: number): string {
  return count >= 10_000 ? `${round(count / 1000, 3)}k` : String(count);
}
