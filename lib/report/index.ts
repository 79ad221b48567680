import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { charts } from './charts';
import { qualityByCompute, sideBySide } from './comparison-charts';
import { findRuns, nameRuns } from './find';
import { page, type Section } from './html';
import { type RunData, readRun } from './read';
import { referenceNumbers } from './reference-numbers';
import { summary } from './summary';

export type { Analysis, FineTuning, LayerScores, RunData, TrainingPoint } from './read';

export interface ReportOptions {
  /** The page. Default: report.html in the (first) folder. */
  out?: string;
  /** The folder of the SVG files. Default: figures/ beside the page. */
  figures?: string;
}

export interface ReportResult {
  html: string;
  figures: string[];
  /** The sentences of the summary, run by run. */
  summary: string[];
}

const SVG_SIZE = { width: 900, height: 460 };

/**
 * Writes a self-contained page about one or several run folders, or folders that hold runs, and every chart of it as an SVG
 * file. Parts that a run does not have (yet) are left out. Throws HK_IO and HK_FORMAT when a folder has no run.
 */
export async function report(folders: string | string[], options: ReportOptions = {}): Promise<ReportResult> {
  const given = [folders].flat();
  const runs = nameRuns(await Promise.all((await findRuns(given)).map(readRun)));
  const html = path.resolve(options.out ?? path.join(given[0], 'report.html'));
  const figures = path.resolve(options.figures ?? path.join(path.dirname(html), 'figures'));
  const several = runs.length > 1;
  const sections = [...(several ? [comparison(runs)] : []), ...runs.map(runSection)];
  const drawings = draw(sections);
  await fs.mkdir(figures, { recursive: true });
  const written: string[] = [];
  for (const { id, name, charts: built } of sections) {
    const prefix = several && id !== 'comparison' ? `${name.replaceAll('/', '-')}-` : '';
    for (const view of built.flatMap((chart) => chart.views)) {
      const file = path.join(figures, `${prefix}${view.id}.svg`);
      await write(file, drawings.get(`${id}-${view.id}`)!);
      written.push(file);
    }
  }
  await write(html, await page(sections, drawings));
  return { html, figures: written, summary: sections.flatMap(({ sentences }) => sentences) };
}

function runSection(run: RunData, index: number): Section {
  const files = [];
  if (run.configText) files.push({ name: 'Configuration (config.yaml)', content: run.configText });
  if (Object.keys(run.system).length) {
    files.push({ name: 'Versions and machine (system.json)', content: JSON.stringify(run.system, null, 2) });
  }
  const listings = [referenceNumbers(run)].filter((listing) => listing !== undefined);
  return { id: `r${index}`, name: run.name, sentences: summary(run), listings, charts: charts(run), files };
}

function comparison(runs: RunData[]): Section {
  const chart = qualityByCompute(runs);
  return {
    id: 'comparison',
    name: 'The runs side by side',
    sentences: [],
    listings: [sideBySide(runs)],
    charts: chart ? [chart] : [],
    files: [],
  };
}

/** Every view of every chart as an SVG drawing, by section and view. */
function draw(sections: Section[]): Map<string, string> {
  const echarts = require('echarts') as typeof import('echarts');
  const svg = new Map<string, string>();
  for (const { id, charts: built } of sections) {
    for (const view of built.flatMap((chart) => chart.views)) {
      const instance = echarts.init(null, null, { renderer: 'svg', ssr: true, ...SVG_SIZE });
      instance.setOption(structuredClone(view.option)); // ECharts takes the media queries out of what it is given
      svg.set(`${id}-${view.id}`, instance.renderToSVGString());
      instance.dispose();
    }
  }
  return svg;
}

/** A temporary name first, so that a reader never sees half a file. */
async function write(file: string, content: string): Promise<void> {
  const temporary = `${file}.tmp`;
  await fs.writeFile(temporary, content);
  await fs.rename(temporary, file);
}
