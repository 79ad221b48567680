import * as fs from 'node:fs';
import * as path from 'node:path';
import { report } from '../../lib/report';
import type { Chart } from '../../lib/report/chart';
import { experimentCharts } from '../../lib/report/experiment-charts';
import { type ExperimentData, type ResultRow, readExperiment } from '../../lib/report/read-experiment';
import { makeExperiment, pnmi, SEEDS } from './experiment-fixture';
import { makeRun } from './fixture';

type Pair = (number | null)[];
type Axis = { type: string; data?: string[] };
type Drawn = { series: { name: string; data: Pair[] }[]; xAxis: Axis; yAxis: Axis };

function view(charts: Chart[], id: string, index = 0): Drawn {
  return charts.find((chart) => chart.id === id)!.views[index].option as unknown as Drawn;
}

describe('the page of an experiment', () => {
  let folder: string;
  let data: ExperimentData;
  let charts: Chart[];

  beforeAll(async () => {
    folder = makeExperiment();
    data = await readExperiment(folder);
    charts = experimentCharts(data);
  });

  test('begins with the question, the verdicts as the experiment wrote them, and the cost', async () => {
    const { summary, html, figures } = await report(folder);
    expect(summary[0]).toBe('Question: How many clusters should the labels of the second iteration have?');
    expect(summary.slice(1, 3)).toEqual(data.verdicts.map(({ sentence }) => sentence));
    expect(summary[3]).toMatch(/^Cost: 12 pretrainings of “nano” over 3 seeds; 106.7 hours of audio .* 70 minutes/);
    expect(html).toBe(path.join(folder, 'report.html'));
    expect(fs.readFileSync(html, 'utf8')).toContain('<strong>PNMI of the best layer</strong> (higher is better)');
    expect(figures.map((file) => path.basename(file))).toEqual(
      expect.arrayContaining(['values-1.svg', 'differences-2.svg']),
    );
  });

  test('draws the measure against a swept number in its order, every seed and the mean with its interval', () => {
    const { series, xAxis } = view(charts, 'values');
    expect(xAxis).toMatchObject({ type: 'category', data: ['K = 50', 'K = 100\n(baseline)', 'K = 500', 'K = 1000'] });
    const [seeds, means, intervals] = series;
    expect(seeds.data).toHaveLength(4 * SEEDS.length);
    expect(means.data[2]).toEqual([2, expect.closeTo(pnmi(500, 2, 2, 2000), 4)]);
    // Student's t with 2 degrees of freedom over 1, 2, 3 thousandths: 4.30 / sqrt(3)
    expect(means.data[2][1]! - intervals.data[6][1]!).toBeCloseTo(0.00248, 4);
  });

  test('draws conditions that are no sweep one below the other, in percent where the outcome is', () => {
    const { series, yAxis, xAxis } = view(charts, 'values', 1);
    expect(yAxis.data).toEqual(['two iterations\n(baseline)', 'more and shorter iterations', 'both, rising']);
    expect(xAxis.type).toBe('value');
    expect(series.find(({ name }) => name === 'mean')!.data[0]).toEqual([40.8, 0]);
  });

  test('draws each difference to the baseline with the interval of the verdict, and none where there is none', () => {
    const swept = view(charts, 'differences');
    expect(swept.xAxis.data).toEqual(['K = 50', 'K = 500', 'K = 1000']);
    expect(swept.series[0].data[1]).toEqual([1, 0.014]);
    expect(swept.series[1].data.slice(3, 5)).toEqual([
      [1, 0.012],
      [1, 0.016],
    ]);
    const named = view(charts, 'differences', 1);
    expect(named.series[0].data).toEqual([
      [-1, 0],
      [-1.2, 1],
    ]);
    expect(named.series[1].data).toHaveLength(3); // one bar: both, rising
  });

  test('draws the layers at the end of each cell', () => {
    const { series } = view(charts, 'layers');
    const line = series.find(({ name }) => name === 'clusters-500')!;
    expect(line.data).toHaveLength(5);
    expect(line.data[2]).toEqual([2, expect.closeTo(pnmi(500, 2, 2, 2000), 4)]);
  });

  test('draws the best layer against all audio processed', () => {
    const { series, xAxis } = view(charts, 'quality');
    expect(xAxis.type).toBe('log');
    expect(series[0].data.map(([seconds]) => seconds)).toEqual([16000, 19600, 35600]);
    expect(series[0].data[2][1]).toBeCloseTo(pnmi(50, 2, 2, 2000), 3);
  });

  test('draws the error of every model against k for each budget of transcripts', () => {
    const chart = charts.find(({ id }) => id === 'errors')!;
    expect(chart.views.map(({ name }) => name)).toEqual([
      'WER on test, 10 min of labels',
      'WER on test, 60 min of labels',
      'CER on test, 10 min of labels',
      'CER on test, 60 min of labels',
    ]);
    const { series } = view(charts, 'errors');
    expect(series[0].name).toBe('clusters-50, iteration 2');
    expect(series[0].data).toEqual([
      [0, 54],
      [1, 50],
      [2, 54],
      [3, 58],
      [4, 62],
    ]);
  });

  test('with one cell shows its layers over time, means over seeds', () => {
    const rows = data.rows.filter(({ cell }) => cell === 'clusters-500') as ResultRow[];
    const heat = view(experimentCharts({ ...data, rows }), 'layers-over-time');
    const cells = heat.series[0].data as unknown as { value: number[] }[];
    expect(cells).toHaveLength(4 * 5);
    expect(cells.at(-1)!.value).toEqual([3, 4, Number(pnmi(500, 2, 4, 2000).toFixed(3))]);
  });

  test('tells comparisons of one outcome apart by what is compared', () => {
    const [sweep] = data.verdicts;
    const pair = { ...sweep, differences: sweep.differences.slice(1, 2) };
    const twice = experimentCharts({ ...data, verdicts: [sweep, pair, data.verdicts[1]] });
    expect(twice[0].views.map(({ name }) => name)).toEqual([
      'PNMI of the best layer: K = 50 … against K = 100',
      'PNMI of the best layer: K = 500 against K = 100',
      'CER on test',
    ]);
  });
});

test('an experiment that has not come to its end is told to go on', async () => {
  const folder = makeExperiment();
  fs.rmSync(path.join(folder, 'summary.json'));
  await expect(report(folder)).rejects.toMatchObject({
    code: 'HK_FORMAT',
    message: expect.stringContaining('goes on'),
  });
});

test('a folder may hold experiments and runs', async () => {
  const folder = path.dirname(makeExperiment());
  makeRun({ name: 'base', parent: folder });
  const html = fs.readFileSync((await report(folder)).html, 'utf8');
  expect(html).toContain('hubertkit report: clusters, base');
  expect(html).not.toContain('The runs side by side');
});
