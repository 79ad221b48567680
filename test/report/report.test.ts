import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { report } from '../../lib/report';
import { charts } from '../../lib/report/charts';
import { qualityByCompute } from '../../lib/report/comparison-charts';
import { csv } from '../../lib/report/html';
import { readRun } from '../../lib/report/read';
import { referenceNumbers } from '../../lib/report/reference-numbers';
import { estimate } from '../../lib/report/statistics';
import { summary } from '../../lib/report/summary';
import { makeRun } from './fixture';

type Series = { name: string; data: (number | null)[][] };

/** The options that the page carries, by view id. */
function optionsOf(html: string): Record<string, { series: Series[] }> {
  return JSON.parse(/<script type="application\/json" id="options">(.*?)<\/script>/s.exec(html)![1]);
}

describe('report.html', () => {
  let folder: string;
  let html: string;
  let figures: string[];

  beforeAll(async () => {
    folder = makeRun();
    const result = await report(folder);
    html = fs.readFileSync(result.html, 'utf8');
    figures = result.figures;
  });

  test('lies in the run folder and asks no network for anything', () => {
    expect(fs.existsSync(path.join(folder, 'report.html'))).toBe(true);
    expect(html).toContain("default-src 'none'");
    expect(html).not.toMatch(/(?:src|href|action)\s*=\s*["']?(?:https?:)?\/\//i);
    expect(html).not.toMatch(/@import|url\(\s*["']?http/i);
  });

  test('holds the training curves with the unigram baseline of every iteration', () => {
    const series = optionsOf(html)['r0-loss'].series;
    const unigram = series.find(({ name }) => name.startsWith('unigram'))!;
    expect(new Set(unigram.data.map(([, bits]) => bits))).toEqual(new Set([5.5, 5.9, null]));
    const masked = series.find(({ name }) => name === 'masked, training')!;
    expect(masked.data.filter(([, bits]) => bits !== null)).toHaveLength(100);
    expect(masked.data.at(-1)![0]).toBe(32000);
    expect(optionsOf(html)['r0-accuracy'].series.length).toBe(3);
  });

  test('holds one heat map for each metric, with a cell for every layer of every checkpoint', () => {
    for (const metric of ['pnmi', 'ckaLayer0', 'ckaLogMel', 'phoneProbeAccuracy']) {
      expect(optionsOf(html)[`r0-layers-over-time-${metric}`].series[0].data).toHaveLength(10 * 5);
    }
  });

  test('draws layer curves of both iterations with the random, MFCC and chance references', () => {
    const names = optionsOf(html)['r0-layers-pnmi'].series.map(({ name }) => name);
    expect(names).toEqual(['iteration 1', 'iteration 2', 'random initialisation', 'MFCC labels', 'chance']);
    expect(optionsOf(html)['r0-layers-ckaLayer0'].series.map(({ name }) => name)).not.toContain('chance');
  });

  test('draws the error against k with intervals and the random control', () => {
    const series = optionsOf(html)['r0-error-by-k-wer'].series;
    const means = series.find(({ name }) => name === 'reset top k')!;
    expect(means.data.map(([k]) => k)).toEqual([0, 1, 2, 3, 4]);
    const bars = series.find(({ name }) => name.includes('interval'))!;
    expect(bars.data).toHaveLength(5 * 3);
    for (let k = 0; k < 5; k++) {
      expect(bars.data[3 * k][1]!).toBeLessThan(means.data[k][1]!);
      expect(bars.data[3 * k + 1][1]!).toBeGreaterThan(means.data[k][1]!);
    }
    expect(series.find(({ name }) => name === 'random initialisation')!.data[0][1]!).toBeGreaterThan(70);
  });

  test('draws the paired differences to k = 0 with their bootstrap intervals', () => {
    const series = optionsOf(html)['r0-difference-by-k-testWer'].series;
    expect(series[0].data).toEqual([
      [1, -5],
      [2, 0],
      [3, 5],
      [4, 10],
    ]);
    expect(series[1].data.slice(0, 2)).toEqual([
      [1, -8],
      [1, -2],
    ]);
  });

  test('draws the error against updates for every k', () => {
    const series = optionsOf(html)['r0-error-by-update-wer'].series;
    expect(series.map(({ name }) => name)).toEqual([
      'k = 0',
      'k = 1',
      'k = 2',
      'k = 3',
      'k = 4',
      'random initialisation',
    ]);
    expect(series[0].data).toHaveLength(50);
  });

  test('has a CSV download behind every chart', () => {
    const files = [...html.matchAll(/download="([\w-]+)\.csv" href="data:text\/csv;base64,([\w+/=]+)"/g)];
    expect(files.map(([, name]) => name)).toEqual(
      expect.arrayContaining(['loss', 'layers', 'error-by-k', 'error-by-update']),
    );
    const loss = Buffer.from(files.find(([, name]) => name === 'loss')![2], 'base64').toString();
    expect(loss.split('\r\n')).toHaveLength(1 + 120 + 1);
  });

  test('comes with every chart as an SVG file', () => {
    const names = figures.map((file) => path.relative(folder, file));
    expect(names).toEqual(
      expect.arrayContaining(['figures/loss.svg', 'figures/layers-over-time-pnmi.svg', 'figures/error-by-k-wer.svg']),
    );
    for (const file of figures) {
      const svg = fs.readFileSync(file, 'utf8');
      expect(svg).toMatch(/^<svg .*<\/svg>\s*$/s);
      expect(svg).not.toMatch(/="[^"]*"[^\s/>]/); // a quote inside of an attribute: not XML
    }
  });
});

describe('the summary', () => {
  test('says what was measured, on what, with the numbers, and how small the run is', async () => {
    const text = summary(await readRun(makeRun())).join('\n');
    expect(text).toContain('the embedded corpus');
    expect(text).toContain('2 iterations, 2000 updates');
    expect(text).toMatch(/MFCC labels 0\.34/);
    expect(text).toContain('does not yet carry more than the MFCC labels');
    expect(text).toMatch(/k = 1 \d+\.\d % \[\d+\.\d %, \d+\.\d %\]/);
    expect(text).toContain(
      '(k = 1) is 6.9 % absolute lower than no reset (difference -5.0 points, 95 % bootstrap interval -8.0 to -2.0)',
    );
    expect(text).toContain('Pretraining helps');
    expect(text).toMatch(/not its published numbers/);
  });

  test('says so when training did not beat the untrained network', async () => {
    const folder = makeRun({ iterations: 1 });
    for (const name of fs.readdirSync(path.join(folder, 'analysis'))) {
      const file = path.join(folder, 'analysis', name);
      const analysis = JSON.parse(fs.readFileSync(file, 'utf8'));
      analysis.random.layers[2].pnmi = 0.9;
      fs.writeFileSync(file, JSON.stringify(analysis));
    }
    expect(summary(await readRun(folder)).join('\n')).toContain('did NOT raise');
  });

  test('does not call pretraining a help when the intervals overlap', async () => {
    const run = await readRun(makeRun());
    for (const entry of run.fineTunings) if (entry.random) entry.testWer = 0.3 + 0.1 * entry.seed;
    expect(summary(run).join('\n')).toContain('Pretraining makes no clear difference to the WER here');
  });

  test('tells the WER with a lexicon beside the greedy one', async () => {
    const text = summary(await readRun(makeRun())).join('\n');
    const figure = (pattern: RegExp) => Number(pattern.exec(text)![1]);
    const greedy = figure(/test WER, greedy.*k = 0 (\d+\.\d) %/);
    expect(figure(/With a lexicon \(test WER.*k = 0 (\d+\.\d) %/)).toBeCloseTo(greedy - 10, 1);
  });

  test('speaks of the CER, and its charts begin with it, when every WER is above 95 %', async () => {
    const run = await readRun(makeRun());
    for (const [index, entry] of run.fineTunings.entries())
      Object.assign(entry, { wer: 0.97, testWer: 0.96 + 0.001 * index });
    const text = summary(run).join('\n');
    expect(text).toMatch(/test CER, greedy, no language model, 3 seeds; every WER is above 95 %/);
    expect(text).toMatch(/best reset by dev CER \(k = 1\)/);
    expect(charts(run).find(({ id }) => id === 'error-by-k')!.views[0].name).toBe('CER on test');
    run.fineTunings[0].testWer = 0.5; // one seed of k = 0: its mean is no longer above
    expect(summary(run).join('\n')).toContain('test WER, greedy');
  });

  test('two seeds are called too few', async () => {
    expect(summary(await readRun(makeRun({ seeds: 2 }))).join('\n')).toContain('too few seeds');
  });
});

test('a run that has only begun gives a page with what there is', async () => {
  const folder = makeRun();
  fs.rmSync(path.join(folder, 'analysis'), { recursive: true });
  fs.rmSync(path.join(folder, 'finetune'), { recursive: true });
  fs.appendFileSync(path.join(folder, 'metrics.jsonl'), '{"kind":"train","iter');
  expect(charts(await readRun(folder)).map(({ id }) => id)).toEqual(['loss', 'accuracy']);
  await report(folder);
});

test('a measure that the report does not know is shown under its own name', async () => {
  const run = await readRun(makeRun());
  for (const row of run.analyses.flatMap(({ layers }) => layers)) row.someNewMeasure = row.layer / 10;
  const built = charts(run);
  for (const id of ['layers-over-time', 'layers']) {
    const chart = built.find((entry) => entry.id === id)!;
    expect(chart.views.at(-1)).toMatchObject({ id: `${id}-someNewMeasure`, name: 'someNewMeasure' });
    expect(chart.table.columns.at(-1)).toBe('someNewMeasure');
  }
});

test('chance is drawn beside every measure that has a level of it, and PWCCA has views of its own', async () => {
  const run = await readRun(makeRun());
  for (const analysis of run.analyses) {
    Object.assign(analysis, { chance: { pnmi: 0.012, phoneProbeAccuracy: 0.09 }, autoencoderIndexCca: 0.4 });
  }
  const built = charts(run);
  const probe = built.find(({ id }) => id === 'layers')!.views.find(({ name }) => name === 'Phone probe accuracy')!;
  const chance = (probe.option.series as Series[]).find(({ name }) => name === 'chance')!;
  expect(chance.data).toEqual([
    [0, 0.09],
    [4, 0.09],
  ]);
  const { views, table } = built.find(({ id }) => id === 'autoencoder')!;
  expect(views.map(({ name }) => name)).toEqual([
    'autoencoder index',
    'PNMI lost at the top',
    'autoencoder index of PWCCA',
  ]);
  expect(table.rows[0].at(-1)).toBe(0.4);
});

test('several runs are put side by side in one page', async () => {
  const out = path.join(makeRun(), 'both.html');
  const result = await report([makeRun({ name: 'first' }), makeRun({ name: 'second', layers: 6 })], { out });
  const html = fs.readFileSync(result.html, 'utf8');
  expect(html).toContain('The runs side by side');
  expect(Object.keys(optionsOf(html))).toEqual(expect.arrayContaining(['r0-loss', 'r1-loss']));
  expect(result.figures.map((file) => path.basename(file))).toEqual(
    expect.arrayContaining(['first-loss.svg', 'second-loss.svg']),
  );
});

test('a folder that holds runs stands for all of them; their names tell them apart', async () => {
  const parent = fs.mkdtempSync(path.join(os.tmpdir(), 'hk-runs-'));
  for (const seed of ['seed-1', 'seed-2']) makeRun({ name: `${seed}/base`, parent });
  fs.mkdirSync(path.join(parent, 'notes'));
  const result = await report(parent);
  expect(result.html).toBe(path.join(parent, 'report.html'));
  const html = fs.readFileSync(result.html, 'utf8');
  for (const name of ['seed-1/base', 'seed-2/base']) expect(html).toContain(`<h2>${name}</h2>`);
  expect(result.figures.map((file) => path.basename(file))).toEqual(
    expect.arrayContaining(['quality-pnmi.svg', 'seed-2-base-loss.svg']),
  );
});

test('quality stands against all audio processed, relabelling included, on a logarithmic axis', async () => {
  const runs = [await readRun(makeRun({ name: 'a' })), await readRun(makeRun({ name: 'b' }))];
  const { views, table } = qualityByCompute(runs)!;
  const { series, xAxis } = views.find(({ id }) => id === 'quality-pnmi')!.option as unknown as {
    series: Series[];
    xAxis: { type: string };
  };
  expect(xAxis.type).toBe('log');
  expect(series.map(({ name }) => name)).toEqual(['a', 'b']);
  expect(series[0].data.map(([seconds]) => seconds)).toEqual([
    3200, 6400, 9600, 12800, 16000, 21600, 24800, 28000, 31200, 34400,
  ]);
  expect(series[0].data.at(-1)![1]).toBeCloseTo(
    Math.max(...runs[0].analyses.at(-1)!.layers.map(({ pnmi }) => pnmi)),
    3,
  );
  const errors = views.find(({ id }) => id === 'quality-testWer')!.option.series as Series[];
  const wer = runs[0].fineTunings.filter(({ variant }) => variant.startsWith('reset-0')).map(({ testWer }) => testWer!);
  expect(errors[0].data).toEqual([[34400, expect.closeTo((100 * (wer[0] + wer[1] + wer[2])) / 3, 1)]]);
  expect(table.rows).toHaveLength(2 * (10 + 6));
});

test('the reference numbers stand beside a run on LibriSpeech, and beside no other', async () => {
  const of = async (corpus: string) => referenceNumbers(await readRun(makeRun({ corpus, layers: 6 })));
  for (const corpus of ['embedded:corpora/LibriSpeech', 'folder:/data/recordings', '/data/corpus']) {
    expect(await of(corpus)).toBeUndefined();
  }
  expect(await of('manifest:/data/LibriSpeech/manifest.tsv')).toBeDefined();
  const { table } = (await of('librispeech:/data/ls'))!;
  const own = (quantity: string) => table.rows.find(([name]) => String(name).startsWith(quantity))![2];
  expect(own('PNMI of MFCC clusters, K = 100')).toBe(0.341);
  expect(own('PNMI of MFCC clusters, K = 500')).toBeNull(); // the run was measured with 100
  expect(own('PNMI of layer 6 after iteration 1, K = 100')).toBeCloseTo(0.248);
  expect(own('Iteration 1, K = 100: masked loss')).toBeCloseTo(3.4 + 2.4 * Math.exp(-1000 / 350), 0);
  expect(own('Iteration 2, K = 500: masked loss')).toBeNull();
  expect(own('Test WER (%)')).toBeGreaterThan(30);
});

test('text from a run cannot become markup', async () => {
  const folder = makeRun({ name: 'a<img src=x>' });
  fs.appendFileSync(path.join(folder, 'config.yaml'), 'note: "</script><script>alert(1)</script>"\n');
  const html = fs.readFileSync((await report(folder)).html, 'utf8');
  expect(html).not.toContain('<img src=x>');
  expect(html).not.toContain('alert(1)</script>');
});

test('a folder that is not a run is refused by name', async () => {
  const empty = fs.mkdtempSync(path.join(os.tmpdir(), 'hk-empty-'));
  await expect(report(empty)).rejects.toMatchObject({ code: 'HK_FORMAT' });
  await expect(report(path.join(empty, 'none'))).rejects.toMatchObject({ code: 'HK_IO' });
});

test('the 95 % interval of 1, 2, 3 is 2 +- 4.30 / sqrt(3)', () => {
  const { mean, low, high } = estimate([1, 2, 3]);
  expect(mean).toBeCloseTo(2);
  expect(high - mean).toBeCloseTo(2.48, 2);
  expect(low).toBe(0);
});

test('CSV cells with commas, quotes and line breaks are quoted', () => {
  expect(
    csv({
      columns: ['a', 'b'],
      rows: [
        ['x,y', 'say "hi"'],
        [1, null],
      ],
    }),
  ).toBe('a,b\r\n"x,y","say ""hi"""\r\n1,\r\n');
});
