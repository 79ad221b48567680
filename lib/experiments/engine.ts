/**
 * Runs an experiment: the cells of a seed one after the other, then those of the next seed, so that a run that is stopped has
 * whole seeds. A cell is a run folder; everything in it resumes exactly, and when it is complete its rows are written. The rows
 * of all complete cells, in the order of the plan, are results.jsonl, and what they say is summary.json.
 *
 *   <out>/experiment.json                    what is run: a folder holds one experiment with one set of options
 *   <out>/seed-1/<cell>/                     the pretraining, analysis/, finetune/iteration-N/<variant>/, rows.jsonl when complete
 *   <out>/results.jsonl, <out>/summary.json
 *
 * Killed anywhere and started again, results.jsonl ends as it would have, but for the columns that tell time.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { type AnalysisProgress, analyzeRun } from '../analysis';
import { makeEmbeddedCorpus } from '../data/embedded';
import { HubertkitError } from '../errors';
import type { SweepProgress } from '../finetune';
import { readJson, readJsonLines, writeJsonAtomic, writeJsonLines } from '../formats/atomic';
import { firstDifference, openRun, type Progress, pretrain } from '../train';
import { runFineTunings } from './fine-tunings';
import { type ExperimentOptions, type Plan, type PlannedCell, planExperiment } from './plan';
import { IterationPool, type Reused } from './pool';
import { type ResultRow, rowsOf } from './rows';
import { type ExperimentSummary, summarise } from './summary';

export type ExperimentProgress =
  | { phase: 'corpus'; seconds: number; total: number }
  | ({ cell: string; seed: number; index: number; cells: number } & (
      | { phase: 'pretraining'; event: Progress }
      | { phase: 'analysis'; event: AnalysisProgress }
      | { phase: 'fine-tuning'; event: SweepProgress }
    ));

export interface ExperimentHooks {
  onProgress?: (progress: ExperimentProgress) => void;
  signal?: AbortSignal;
}

/** What a cell has cost, beside its rows. */
export interface CellCost {
  /** Audio that this cell itself was trained on: without the iterations that it took over. */
  audioSeconds: number;
  pretrainingSeconds: number;
  /** Of the call that completed the cell. */
  analysisSeconds: number;
  finetuningSeconds: number;
}

/**
 * Runs or continues an experiment.
 * @throws what planExperiment throws; HK_MISMATCH the folder holds another one; HK_INTERRUPTED: the same call continues
 */
export async function runExperiment(
  options: ExperimentOptions,
  hooks: ExperimentHooks = {},
): Promise<ExperimentSummary> {
  const plan = planExperiment(options);
  await claimFolder(plan);
  await makeCorpus(plan, hooks);
  const pool = IterationPool.of(path.dirname(path.resolve(plan.out)));
  for (const [index, cell] of plan.cells.entries()) {
    if (isComplete(cell)) continue;
    await runCell(plan, cell, pool, index, hooks);
    await writeResults(plan);
  }
  const summary = await summarise(plan, await writeResults(plan));
  await writeJsonAtomic(path.join(plan.out, 'summary.json'), summary);
  return summary;
}

const rowsFile = ({ folder }: PlannedCell) => path.join(folder, 'rows.jsonl');

/** Has everything of a cell been done? */
export const isComplete = (cell: PlannedCell): boolean => fs.existsSync(rowsFile(cell));

/** Writes results.jsonl and returns it: rows of the cells that are complete, in the order of the plan. */
async function writeResults(plan: Plan): Promise<ResultRow[]> {
  const cells = plan.cells.filter(isComplete);
  const rows = (await Promise.all(cells.map((cell) => readJsonLines<ResultRow>(rowsFile(cell))))).flat();
  await writeJsonLines(path.join(plan.out, 'results.jsonl'), rows);
  return rows;
}

async function runCell(
  plan: Plan,
  cell: PlannedCell,
  pool: IterationPool,
  index: number,
  { onProgress = () => {}, signal }: ExperimentHooks,
): Promise<void> {
  const { folder, config, keys, seed } = cell;
  const at = { cell: cell.cell.name, seed, index, cells: plan.cells.length };
  await pool.begin(config, keys, plan.metrics);
  await pretrain(config, { signal, onProgress: (event) => onProgress({ ...at, phase: 'pretraining', event }) });
  pool.add(folder);
  const started = performance.now();
  const analyses = await analyzeRun(folder, {
    metrics: plan.metrics,
    alignments: plan.alignments,
    signal,
    onProgress: (event) => onProgress({ ...at, phase: 'analysis', event }),
  });
  const analysed = performance.now();
  const tunings = await runFineTunings(plan, cell, {
    signal,
    onProgress: (event) => onProgress({ ...at, phase: 'fine-tuning', event }),
  });
  await writeJsonAtomic(path.join(folder, 'cost.json'), {
    ...(await pretrainingCost(folder)),
    analysisSeconds: (analysed - started) / 1000,
    finetuningSeconds: (performance.now() - analysed) / 1000,
  } satisfies CellCost);
  await writeJsonLines(rowsFile(cell), await rowsOf(plan.experiment.name, plan.out, cell, analyses, tunings));
}

async function pretrainingCost(folder: string): Promise<Pick<CellCost, 'audioSeconds' | 'pretrainingSeconds'>> {
  const run = openRun(folder);
  const { audioSeconds, wallSeconds } = run.state(run.checkpoint('latest'));
  const file = path.join(folder, 'reused.json');
  const reused = fs.existsSync(file) ? await readJson<Reused>(file) : { audioSeconds: 0, wallSeconds: 0 };
  return { audioSeconds: audioSeconds - reused.audioSeconds, pretrainingSeconds: wallSeconds - reused.wallSeconds };
}

/** Notes what is run here, or checks that it is the same; there may be more seeds than before. */
async function claimFolder(plan: Plan): Promise<void> {
  const { experiment, preset, corpus, alignments, metrics, unitUpdates, finetune, cells, out } = plan;
  const file = path.join(out, 'experiment.json');
  const first = cells.filter(({ seed }) => seed === 1);
  const grid = first.map(({ cell, keys, fineTunings }) => ({ ...cell, fineTunings, key: keys.at(-1) }));
  const claim = {
    experiment: experiment.name,
    question: experiment.question,
    preset,
    corpus,
    ...(alignments.length > 0 && { alignments }),
    metrics,
    unitUpdates,
    ...(cells.some(({ fineTunings }) => fineTunings.length > 0) && { finetune }),
    grid,
  };
  const plain = JSON.parse(JSON.stringify(claim)) as typeof claim;
  if (!fs.existsSync(file)) return writeJsonAtomic(file, plain);
  const key = firstDifference(await readJson(file), plain);
  if (key === undefined) return;
  throw new HubertkitError(
    'HK_MISMATCH',
    `${path.resolve(out)} holds an experiment with other options: "${key}" differs. Choose another folder (out), or remove that one.`,
  );
}

/** Makes the embedded corpus of a plan that names no other. */
export async function makeCorpus({ makes }: Plan, { onProgress, signal }: ExperimentHooks): Promise<void> {
  if (!makes) return;
  await makeEmbeddedCorpus({
    out: makes.folder,
    minutes: makes.minutes,
    signal,
    onProgress: (event) => onProgress?.({ phase: 'corpus', ...event }),
  });
}
