import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { charts } from './charts';
import { qualityByCompute, sideBySide } from './comparison-charts';
import { experimentCharts } from './experiment-charts';
import { experimentSummary } from './experiment-summary';
import { findSubjects, nameRuns, type Subject } from './find';
import { page, type Section } from './html';
import { type RunData, readRun } from './read';
import { type ExperimentData, readExperiment } from './read-experiment';
import { referenceNumbers } from './reference-numbers';
import { summary } from './summary';
import { svg } from './svg';

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

/**
 * Writes a self-contained page about runs and experiments, and every chart of it as an SVG file. A folder is a run's, an
 * experiment's, or holds such folders. Parts that a run does not have (yet) are left out.
 * Throws HK_IO and HK_FORMAT when there is nothing to report in a folder.
 */
export async function report(folders: string | string[], options: ReportOptions = {}): Promise<ReportResult> {
  const given = [folders].flat();
  const html = path.resolve(options.out ?? path.join(given[0], 'report.html'));
  const figures = path.resolve(options.figures ?? path.join(path.dirname(html), 'figures'));
  const sections = await readSections(given);
  const drawings = draw(sections);
  await fs.mkdir(figures, { recursive: true });
  const written: string[] = [];
  for (const { id, name, charts: built } of sections) {
    const prefix = sections.length > 1 && id !== 'comparison' ? `${name.replaceAll('/', '-')}-` : '';
    for (const view of built.flatMap((chart) => chart.views)) {
      const file = path.join(figures, `${prefix}${view.id}.svg`);
      await write(file, drawings.get(`${id}-${view.id}`)!);
      written.push(file);
    }
  }
  await write(html, await page(sections, drawings));
  return { html, figures: written, summary: sections.flatMap(({ sentences }) => sentences) };
}

/** Experiments, then runs, side by side first when there are several. */
async function readSections(folders: string[]): Promise<Section[]> {
  const subjects = await findSubjects(folders);
  const of = (kind: Subject['kind']) => subjects.filter((subject) => subject.kind === kind);
  const experiments = await Promise.all(of('experiment').map(({ folder }) => readExperiment(folder)));
  const runs = nameRuns(await Promise.all(of('run').map(({ folder }) => readRun(folder))));
  return [
    ...experiments.map(experimentSection),
    ...(runs.length > 1 ? [comparison(runs)] : []),
    ...runs.map(runSection),
  ];
}

function experimentSection(data: ExperimentData, index: number): Section {
  return {
    id: `e${index}`,
    name: data.experiment,
    sentences: experimentSummary(data),
    listings: [],
    charts: experimentCharts(data),
    files: [],
  };
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
  const drawn = sections.flatMap(({ id, charts: built }) =>
    built.flatMap(({ title, views }) =>
      views.map((view) => [`${id}-${view.id}`, svg(view.option, `${title}: ${view.name}`)] as const),
    ),
  );
  return new Map(drawn);
}

/** A temporary name first, so that a reader never sees half a file. */
async function write(file: string, content: string): Promise<void> {
  const temporary = `${file}.tmp`;
  await fs.writeFile(temporary, content);
  await fs.rename(temporary, file);
}
