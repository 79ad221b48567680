/** Where the information is: layers over time, layers at the end of each iteration, the autoencoder behaviour. */
import {
  axis,
  base,
  type Cell,
  type Chart,
  cell,
  frame,
  line,
  type Option,
  responsive,
  round,
  short,
  type Table,
  type View,
} from './chart';
import { HEAT, INK, ON_DARK_CELL, ON_LIGHT_CELL, PAPER } from './colours';
import { presentMeasures } from './measures';
import type { Analysis, LayerScores } from './read';
import { bestLayer, lastOfEachIteration } from './statistics';

const LAYER_AXIS = 'layer (0 = input of the transformer)';

export function heatMap(analyses: Analysis[]): Chart | undefined {
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
  const [low, high] = [Math.min(...values), Math.max(...values)];
  const option = {
    ...frame('item'),
    grid: { left: 48, right: 20, top: 12, bottom: 110 },
    xAxis: {
      type: 'category',
      data: columns,
      ...axis('iteration, total updates', 44),
      axisLabel: { color: INK, lineHeight: 15, hideOverlap: true },
      axisTick: { show: false },
    },
    yAxis: { type: 'category', data: layers.map(String), ...axis('layer', 30), axisTick: { show: false } },
    visualMap: {
      min: low,
      max: high,
      precision: 3,
      calculable: false,
      orient: 'horizontal',
      left: 'center',
      bottom: 4,
      itemHeight: 180,
      text: [String(high), String(low)],
      inRange: { color: HEAT },
      textStyle: { color: INK },
    },
    series: [
      {
        type: 'heatmap',
        name,
        data: cells.map((value) => ({
          value,
          label: {
            color: (value[2] as number) > (low + high) / 2 ? ON_LIGHT_CELL : ON_DARK_CELL,
            formatter: (value[2] as number).toFixed(high < 10 ? 3 : 0),
          },
        })),
        label: { fontSize: 11 },
        itemStyle: { borderColor: PAPER, borderWidth: 1 },
      },
    ],
  };
  const labels = (show: boolean) => ({ series: [{ label: { show } }] });
  return responsive(option, labels(false), labels(columns.length <= 14));
}

/** Each checkpoint's layers as a curve: the page has a slider over the checkpoints. */
export function checkpointCurves(analyses: Analysis[]): Chart | undefined {
  if (!analyses.length) return undefined;
  const views = presentMetrics(analyses).map(({ key, name }): View => {
    const steps = analyses
      .map((analysis) => ({ name: checkpointName(analysis), data: curve(analysis.layers, key) }))
      .filter(({ data }) => data.length);
    const series = [
      line('checkpoint', steps.at(-1)!.data, 0, { symbols: true }),
      ...references(analyses.at(-1)!, key, analyses.find(({ random }) => random)?.random),
    ];
    const option = base(name, LAYER_AXIS, series, { integerX: true });
    const shown = [...steps.map(({ data }) => data), ...series.map(({ data }) => data as Cell[][])].flat();
    Object.assign(option.yAxis as Option, room(shown.map(([, value]) => value as number)));
    return { id: `checkpoints-${key}`, name, option, steps };
  });
  return {
    id: 'checkpoints',
    title: 'Layers, checkpoint by checkpoint',
    caption:
      'The curve of one checkpoint; move the slider to see it change while the model trains. The axis stays the same for all of them.',
    views,
    table: layerTable(analyses),
  };
}

export function layerCurves(analyses: Analysis[]): Chart | undefined {
  if (!analyses.length) return undefined;
  const last = lastOfEachIteration(analyses);
  const random = last.find((analysis) => analysis.random)?.random;
  const views = presentMetrics(analyses).map(({ key, name }) => {
    const series = last.map((analysis, index) =>
      line(`iteration ${analysis.iteration}`, curve(analysis.layers, key), index, { symbols: true }),
    );
    series.push(...references(last.at(-1)!, key, random));
    return { id: `layers-${key}`, name, option: base(name, LAYER_AXIS, series, { integerX: true }) };
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

/** What a measure is compared with, where it was measured: the untrained network, chance, and for PNMI the MFCC labels. */
function references(analysis: Analysis, key: string, random: Analysis['random']): Option[] {
  const series = random ? [line('random initialisation', curve(random.layers, key), 'random', { symbols: true })] : [];
  const ends = [analysis.layers[0].layer, analysis.layers.at(-1)!.layer];
  const level = (value: number | undefined) => (typeof value === 'number' ? ends.map((x) => [x, round(value)]) : []);
  return [
    ...series,
    line('MFCC labels', level(key === 'pnmi' ? analysis.mfcc?.pnmi : undefined), 'mfcc'),
    line('chance', level(analysis.chance?.[key]), 'chance'),
  ];
}

/** [layer, value] of one measure. */
function curve(layers: LayerScores[], key: string): Cell[][] {
  return layers.flatMap((row) => (typeof row[key] === 'number' ? [[row.layer, round(row[key])]] : []));
}

function checkpointName({ iteration, update }: Analysis): string {
  return `iteration ${iteration}, update ${update}`;
}

/** The ends of an axis that holds all of the values: the next multiples of the power of ten below their range. */
function room(values: number[]): { min: number; max: number } {
  const low = Math.min(...values);
  const high = Math.max(...values);
  const unit = 10 ** Math.floor(Math.log10(high - low || Math.abs(high) || 1));
  return { min: round(Math.floor(low / unit) * unit), max: round(Math.ceil(high / unit) * unit) };
}

/** What tells whether the top layer returns to the input, by the names of the views. */
const RETURNS: { id: string; name: string; value: (analysis: Analysis) => number | undefined }[] = [
  { id: 'index', name: 'autoencoder index', value: (a) => a.autoencoderIndex },
  { id: 'drop', name: 'PNMI lost at the top', value: pnmiLostAtTheTop },
  { id: 'index-cca', name: 'autoencoder index of PWCCA', value: (a) => a.autoencoderIndexCca },
  { id: 'drop-cca', name: 'PWCCA to phones lost at the top', value: (a) => a.dropAtTopCca },
];

export function autoencoder(analyses: Analysis[]): Chart | undefined {
  const iterations = [...new Set(analyses.map((analysis) => analysis.iteration))];
  const present = RETURNS.filter(({ value }) => analyses.some((analysis) => value(analysis) !== undefined));
  const views = present.map(({ id, name, value }): View => {
    const series = iterations.map((iteration, index) => {
      const own = analyses.filter((analysis) => analysis.iteration === iteration && value(analysis) !== undefined);
      const data = own.map((analysis) => [round(analysis.audioSeconds), round(value(analysis)!)]);
      return line(`iteration ${iteration}`, data, index, { symbols: true });
    });
    return { id: `autoencoder-${id}`, name, option: base(name, 'audio processed (seconds)', series) };
  });
  return {
    id: 'autoencoder',
    title: 'Autoencoder behaviour of the top layer',
    caption:
      'Autoencoder index: 0 when every layer is less similar to the input (layer 0) than the one below, 1 when the top layer has come all the way back to it; by CKA, or by PWCCA where that is said. Lost at the top: the best layer’s value minus the top layer’s.',
    views,
    table: {
      columns: ['iteration', 'totalUpdates', 'audioSeconds', ...present.map(({ name }) => name)],
      rows: analyses.map((a) => [
        a.iteration,
        a.totalUpdates,
        a.audioSeconds,
        ...present.map(({ value }) => value(a) ?? null),
      ]),
    },
  };
}

function pnmiLostAtTheTop({ layers }: Analysis): number | undefined {
  const best = bestLayer(layers, 'pnmi');
  const top = layers.at(-1)?.pnmi;
  return best && typeof top === 'number' ? best.value - top : undefined;
}

function presentMetrics(analyses: Analysis[]) {
  return presentMeasures(analyses.flatMap((analysis) => analysis.layers));
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
