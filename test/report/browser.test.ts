/** The page in a real browser: what a reader sees and does. A failing test leaves a screenshot in build/screenshots. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { pathToFileURL } from 'node:url';
import type { Browser, Page } from 'playwright-core';
import { report } from '../../lib/report';
import { type Chart, charts } from '../../lib/report/charts';
import { DARK, LINES, PAPER } from '../../lib/report/colours';
import { readRun } from '../../lib/report/read';
import { findChromium, launch } from './browser';
import { makeExperiment } from './experiment-fixture';
import { makeRun } from './fixture';

jest.setTimeout(300_000);

const WIDE = { width: 1280, height: 900 };
const SCREENSHOTS = path.resolve(__dirname, '../../../build/screenshots');

type Data = (number | null)[][];

const executable = findChromium();
const inBrowser = executable ? describe : describe.skip;

inBrowser(`report.html in a browser${executable ? '' : ' (skipped: there is no chromium in PATH)'}`, () => {
  let browser: Browser;
  let page: Page;
  let folder: string;
  let built: Chart[];
  const messages: string[] = [];
  const requests: string[] = [];

  /** A test that keeps what was seen when it failed. */
  function seen(name: string, body: () => Promise<void>): void {
    test(name, async () => {
      try {
        await body();
      } catch (error) {
        fs.mkdirSync(SCREENSHOTS, { recursive: true });
        const file = path.join(SCREENSHOTS, `${name.replace(/\W+/g, '-')}.png`);
        await page.screenshot({ path: file, fullPage: true });
        throw error;
      }
    });
  }

  async function open(file: string): Promise<Page> {
    const opened = await browser.newPage({ viewport: WIDE });
    opened.setDefaultTimeout(100_000); // a busy machine is slow, not wrong
    opened.on('console', (message) => messages.push(`${message.type()}: ${message.text()}`));
    opened.on('pageerror', (error) => messages.push(error.message));
    opened.on('request', (request) => requests.push(request.url()));
    await opened.goto(pathToFileURL(file).href);
    return opened;
  }

  // What runs in the page is text: this file is compiled without the types of a browser.

  /** The series of a chart as ECharts holds them, and how many shapes it drew. */
  function drawn(id: string): Promise<{ series: { name: string; data: Data }[]; shapes: number }> {
    return page.evaluate(`(() => {
      const box = document.querySelector('#${id} .chart');
      const { series } = echarts.getInstanceByDom(box).getOption();
      const data = series.map(({ name, data }) => ({ name, data: data.map((cell) => cell.value ?? cell) }));
      return { series: data, shapes: box.querySelectorAll('svg path, svg text').length };
    })()`);
  }

  beforeAll(async () => {
    folder = makeRun({ corpus: 'librispeech:/data/LibriSpeech' });
    built = charts(await readRun(folder));
    const { html } = await report(folder);
    browser = await launch(executable!);
    page = await open(html);
  });

  afterEach(async () => {
    await page.emulateMedia({ media: null, colorScheme: null });
    await page.setViewportSize(WIDE);
    await settled();
  });

  afterAll(() => browser?.close());

  /** Events about the size and the media of the page come with the next frame. */
  function settled(): Promise<void> {
    return page.evaluate(
      'new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(() => setTimeout(done))))',
    );
  }

  seen('every view of every chart draws the data of the run', async () => {
    expect(built.map(({ id }) => id)).toEqual(expect.arrayContaining(['loss', 'layers-over-time', 'error-by-k']));
    for (const chart of built) {
      for (const view of chart.views) {
        if (chart.views.length > 1) await page.selectOption(`#r0-${chart.id} select`, `r0-${view.id}`);
        const { series, shapes } = await drawn(`r0-${chart.id}`);
        const expected = (
          view.option.series as { name: string; data: (Data[number] | { value: Data[number] })[] }[]
        ).map(({ name, data }) => ({ name, data: data.map((cell) => ('value' in cell ? cell.value : cell)) }));
        expect(series).toEqual(expected);
        expect(series.some(({ data }) => data.length > 1)).toBe(true);
        expect(shapes).toBeGreaterThan(10);
      }
    }
  });

  seen('the slider shows the layers of each checkpoint, the same one when the measure is changed', async () => {
    const figure = '#r0-checkpoints';
    const [pnmi, cka] = built.find(({ id }) => id === 'checkpoints')!.views;
    await page.selectOption(`${figure} select`, `r0-${pnmi.id}`);
    const shown = [];
    for (const [index, step] of pnmi.steps!.entries()) {
      await page.fill(`${figure} .steps`, String(index));
      const { series } = await drawn('r0-checkpoints');
      expect(series[0].data).toEqual(step.data);
      expect(await page.textContent(`${figure} output`)).toBe(step.name);
      shown.push(JSON.stringify(series[0].data));
    }
    expect(new Set(shown).size).toBe(10);
    await page.fill(`${figure} .steps`, '3');
    await page.selectOption(`${figure} select`, `r0-${cka.id}`);
    expect(await page.textContent(`${figure} output`)).toBe('iteration 1, update 800');
    expect((await drawn('r0-checkpoints')).series[0].data).toEqual(cka.steps![3].data);
  });

  seen('the heat map has a slider over its measures, in step with the selector', async () => {
    const figure = '#r0-layers-over-time';
    const { views } = built.find(({ id }) => id === 'layers-over-time')!;
    for (const [index, { id, name }] of views.entries()) {
      await page.fill(`${figure} .views`, String(index));
      expect(await page.inputValue(`${figure} select`)).toBe(`r0-${id}`);
      expect((await drawn('r0-layers-over-time')).series[0].name).toBe(name);
    }
    await page.selectOption(`${figure} select`, { index: 0 });
    expect(await page.inputValue(`${figure} .views`)).toBe('0');
  });

  seen('the CSV file behind every chart holds the numbers of its table', async () => {
    for (const chart of built) {
      const link = `document.querySelector('#r0-${chart.id} a.csv')`;
      const [download] = await Promise.all([page.waitForEvent('download'), page.evaluate(`${link}.click()`)]);
      expect(download.suggestedFilename()).toBe(`${chart.id}.csv`);
      const [header, ...rows] = fs
        .readFileSync(await download.path(), 'utf8')
        .trimEnd()
        .split('\r\n');
      const [names, first] = await page.evaluate<string[][]>(
        `[...${link}.closest('details').querySelectorAll('tr')].slice(0, 2).map((row) => [...row.cells].map((cell) => cell.textContent))`,
      );
      expect(header.split(',')).toEqual(names);
      expect(rows).toHaveLength(chart.table.rows.length);
      expect(Number(rows[0].split(',').at(-1))).toBeCloseTo(Number(first.at(-1)), 4);
    }
  });

  seen('every control is reached and moved with the keyboard alone', async () => {
    const controls = await page.locator('select, input, summary').count();
    await page.evaluate(`{
      globalThis.reached = new Set();
      document.addEventListener('focusin', ({ target }) => target.matches('select, input, summary') && reached.add(target));
    }`);
    // The links and the tables that scroll are stops too.
    await Promise.all(Array.from({ length: controls + 4 * built.length }, () => page.keyboard.press('Tab')));
    expect(await page.evaluate('reached.size')).toBe(controls);
    await page.focus('#r0-checkpoints .steps');
    await page.keyboard.press('Home');
    expect(await page.textContent('#r0-checkpoints output')).toBe('iteration 1, update 200');
    await page.keyboard.press('ArrowRight');
    expect(await page.textContent('#r0-checkpoints output')).toBe('iteration 1, update 400');
  });

  seen('on a phone nothing is wider than the screen, and every chart fills it', async () => {
    await page.setViewportSize({ width: 390, height: 844 });
    await settled();
    expect(await page.evaluate('document.documentElement.scrollWidth')).toBe(390);
    for (const width of await page.evaluate<number[]>(
      `[...document.querySelectorAll('.chart svg')].map((svg) => svg.getBoundingClientRect().width)`,
    )) {
      expect(width).toBeGreaterThan(330);
      expect(width).toBeLessThan(390);
    }
  });

  /** The colour behind a chart and that of its first line, and the width it is drawn in. */
  function look(): Promise<{ paper: string; line: string; width: number }> {
    return page.evaluate(`(() => {
      const chart = echarts.getInstanceByDom(document.querySelector('#r0-loss .chart'));
      const { backgroundColor, series } = chart.getOption();
      return { paper: backgroundColor, line: series[0].color, width: chart.getWidth() };
    })()`);
  }

  /** Waits: the page hears of another colour scheme a moment after it was set. */
  async function untilPaperIs(colour: string): Promise<void> {
    for (let tries = 0; tries < 100 && (await look()).paper !== colour; tries++) await page.waitForTimeout(50);
  }

  seen('the page and its charts are dark where the reader wants that, and white on paper', async () => {
    const light = await look();
    expect(light).toMatchObject({ paper: PAPER, line: LINES[0] });
    await page.emulateMedia({ colorScheme: 'dark' });
    await untilPaperIs(DARK[PAPER]);
    expect(await look()).toEqual({ paper: DARK[PAPER], line: DARK[LINES[0]], width: light.width });
    const ink = await page.evaluate('getComputedStyle(document.body).color');
    expect(ink).toBe('rgb(228, 231, 235)');
    await page.evaluate(`dispatchEvent(new Event('beforeprint'))`);
    expect(await look()).toEqual({ paper: PAPER, line: LINES[0], width: 640 });
    await page.evaluate(`dispatchEvent(new Event('afterprint'))`);
    expect((await look()).paper).toBe(DARK[PAPER]);
    await page.emulateMedia({ colorScheme: 'light' });
    await untilPaperIs(PAPER);
    expect(await look()).toEqual(light);
  });

  seen('on paper no chart is wider than the page or torn by its end', async () => {
    await page.emulateMedia({ media: 'print' });
    await page.setViewportSize({ width: 688, height: 1017 }); // A4 at 96 dpi within margins of 14 mm
    const figures = await page.evaluate<{ width: number; height: number; breaks: string }[]>(`
      [...document.querySelectorAll('figure')].map((figure) => {
        const { width, height } = figure.getBoundingClientRect();
        return { width: Math.max(width, figure.scrollWidth), height, breaks: getComputedStyle(figure).breakInside };
      })`);
    expect(figures).toHaveLength(built.length + 1); // the reference numbers are a figure too
    for (const { width, height, breaks } of figures) {
      expect(width).toBeLessThanOrEqual(688);
      expect(height).toBeLessThan(1017);
      expect(breaks).toBe('avoid');
    }
    expect((await page.pdf({ preferCSSPageSize: true })).length).toBeGreaterThan(20_000);
  });

  seen('several runs are compared in charts of one page', async () => {
    const { html } = await report([makeRun({ name: 'first' }), makeRun({ name: 'second', layers: 6 })]);
    await page.goto(pathToFileURL(html).href);
    const { series, shapes } = await drawn('comparison-quality');
    expect(series.map(({ name, data }) => [name, data.length])).toEqual([
      ['first', 10],
      ['second', 10],
    ]);
    expect(shapes).toBeGreaterThan(20);
    await page.selectOption('#comparison-quality select', { label: 'CER on test' });
    expect((await drawn('comparison-quality')).series[0].data).toHaveLength(1);
    expect((await drawn('r1-layers')).series[0].data).toHaveLength(7);
  });

  seen('the comparisons of an experiment are drawn', async () => {
    const { html } = await report(makeExperiment());
    await page.goto(pathToFileURL(html).href);
    for (const figure of ['values', 'differences', 'layers', 'quality', 'errors']) {
      expect((await drawn(`e0-${figure}`)).shapes).toBeGreaterThan(20);
    }
    await page.selectOption('#e0-values select', { label: 'CER on test' });
    const { series } = await drawn('e0-values');
    expect(series.map(({ name, data }) => [name, data.length])).toEqual([
      ['single seeds', 9],
      ['mean', 3],
      ['mean: 95 % interval', 9],
    ]);
  });

  seen('nothing is asked of a network, and the console stays empty', async () => {
    expect(requests.filter((url) => !/^(file|data):/.test(url))).toEqual([]);
    expect(messages).toEqual([]);
  });
});
