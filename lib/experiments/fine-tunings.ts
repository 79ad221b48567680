/** The fine-tunings of a cell. Those of a seed see the same batches and masks, so that they are paired. */
import * as path from 'node:path';
import type { FinetuneOptions, SweepProgress } from '../finetune';
import { variantName } from '../finetune/config';
import { resolveSource } from '../finetune/finetune';
import { finetuneAll, shareOfCores } from '../finetune/side-by-side';
import type { CellFineTuning } from './experiment';
import type { Plan, PlannedCell } from './plan';
import type { FinishedTuning } from './rows';

/** The options of a fine-tuning of a cell. */
export function tuningOptions(plan: Plan, { seed, folder }: PlannedCell, tuning: CellFineTuning): FinetuneOptions {
  const { iteration, mode, k, freeze, labelMinutes } = tuning;
  const start = mode === 'random' ? { random: true } : mode === 'drop' ? { dropTop: k! } : { resetTop: k! };
  return {
    ...plan.finetune,
    source: folder,
    checkpoint: `iteration-${iteration}`,
    ...start,
    freeze,
    labelMinutes,
    seed,
  };
}

/** Runs what is not finished; results in the order of the cell's list. @throws what finetune throws */
export async function runFineTunings(
  plan: Plan,
  cell: PlannedCell,
  { signal, onProgress }: { signal?: AbortSignal; onProgress(progress: SweepProgress): void },
): Promise<FinishedTuning[]> {
  const planned = await Promise.all(cell.fineTunings.map((tuning) => plannedTuning(plan, cell, tuning)));
  const results = await finetuneAll(
    planned.map(({ options, folder }) => ({ options, out: folder })),
    { processes: Math.max(1, ...planned.map(({ processes }) => processes)), signal, onProgress },
  );
  return planned.map(({ tuning, folder }, i) => ({ tuning, folder, result: results[i] }));
}

/** The options of a fine-tuning with its share of the cores, and its folder. */
async function plannedTuning(plan: Plan, cell: PlannedCell, tuning: CellFineTuning) {
  const options = tuningOptions(plan, cell, tuning);
  const { config, source } = await resolveSource(options);
  const { threads, processes } = shareOfCores(config, source.model);
  const folder = path.join(cell.folder, 'finetune', `iteration-${tuning.iteration}`, variantName(config));
  return { tuning, folder, processes, options: { ...options, threads } };
}
