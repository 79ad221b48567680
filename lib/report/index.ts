import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { type Chart, charts, type Table } from './charts';
import { page, type Section } from './html';
import { type RunData, readRun } from './read';
import { bestLayer, estimate, groupVariants, lastOfEachIteration } from './statistics';
import { summary } from './summary';

export type { Analysis, FineTuning, LayerScores, RunData, TrainingPoint } from './read';

export interface ReportOptions {
  /** The page. Default: report.html in the (first) run folder. */
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
 * Writes a self-contained page about one or several run folders, and every chart of it as an SVG file.
 * Parts that a run does not have (yet) are left out. Throws HK_IO and HK_FORMAT when a folder is not a run.
 */
export async function report(runs: string | string[], options: ReportOptions = {}): Promise<ReportResult> {
  const folders = [runs].flat();
  const data = await Promise.all(folders.map(readRun));
  const html = path.resolve(options.out ?? path.join(data[0].folder, 'report.html'));
  const figures = path.resolve(options.figures ?? path.join(path.dirname(html), 'figures'));
  await fs.mkdir(figures, { recursive: true });
  const sections: Section[] = [];
  const written: string[] = [];
  for (const run of data) {
    const built = charts(run);
    const svg = drawings(built);
    for (const [id, drawing] of svg) {
      const file = path.join(figures, `${data.length > 1 ? `${run.name}-` : ''}${id}.svg`);
      await write(file, drawing);
      written.push(file);
    }
    sections.push({ run, sentences: summary(run), charts: built, svg });
  }
  await write(html, await page(sections, data.length > 1 ? comparison(data) : undefined));
  return { html, figures: written, summary: sections.flatMap(({ sentences }) => sentences) };
}

/** Every view of the charts as an SVG drawing, by view id. */
function drawings(built: Chart[]): Map<string, string> {
  const echarts = require('echarts') as typeof import('echarts');
  const svg = new Map<string, string>();
  for (const view of built.flatMap((chart) => chart.views)) {
    const instance = echarts.init(null, null, { renderer: 'svg', ssr: true, ...SVG_SIZE });
    instance.setOption(structuredClone(view.option)); // ECharts takes the media queries out of what it is given
    svg.set(view.id, instance.renderToSVGString());
    instance.dispose();
  }
  return svg;
}

function comparison(runs: RunData[]): Table {
  return {
    columns: [
      'run',
      'iterations',
      'updates',
      'audio-seconds',
      'best layer',
      'PNMI',
      'top layer PNMI',
      'WER k = 0',
      'lowest WER',
    ],
    rows: runs.map((run) => {
      const end = lastOfEachIteration(run.analyses).at(-1);
      const best = bestLayer(end?.layers, 'pnmi');
      const pretrained = groupVariants(run.fineTunings.filter((entry) => !entry.random)).map(
        ({ runs: [first, ...rest] }) => ({
          whole: first.resetTop === 0 && first.dropTop === 0,
          wer: estimate([first, ...rest].map((entry) => entry.testWer ?? entry.wer)).mean,
        }),
      );
      const last = run.training.at(-1);
      return [
        run.name,
        end?.iteration ?? last?.iteration ?? null,
        last?.totalUpdates ?? null,
        last?.audioSeconds ?? null,
        best?.layer ?? null,
        best?.value ?? null,
        end?.layers.at(-1)?.pnmi ?? null,
        pretrained.find(({ whole }) => whole)?.wer ?? null,
        pretrained.length ? Math.min(...pretrained.map(({ wer }) => wer)) : null,
      ];
    }),
  };
}

/** A temporary name first, so that a reader never sees half a file. */
async function write(file: string, content: string): Promise<void> {
  const temporary = `${file}.tmp`;
  await fs.writeFile(temporary, content);
  await fs.rename(temporary, file);
}
