/** The fine-tunings of a cell. Those of a seed see the same batches and masks, so that they are paired. */
import * as path from 'node:path';
import { type FinetuneOptions, type FinetuneProgress, resolveFinetuneConfig } from '../finetune';
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
    ...(plan.finetuneUpdates !== undefined && { updates: plan.finetuneUpdates }),
    ...plan.finetune,
    source: folder,
    checkpoint: `iteration-${iteration}`,
    ...start,
    freeze,
    labelMinutes,
    seed,
  };
}

/** Runs what is not finished. @throws what finetune throws */
export async function runFineTunings(
  plan: Plan,
  cell: PlannedCell,
  hooks: { signal?: AbortSignal; onProgress(progress: FinetuneProgress, index: number): void },
): Promise<FinishedTuning[]> {
  const planned = await Promise.all(cell.fineTunings.map((tuning) => plannedTuning(plan, cell, tuning)));
  const results = await finetuneAll(
    planned.map(({ options, folder }) => ({ options, out: folder })),
    {
      processes: Math.max(1, ...planned.map(({ processes }) => processes)),
      signal: hooks.signal,
      onProgress: (index, progress) => hooks.onProgress(progress, index),
    },
  );
  return planned.map(({ tuning, folder }, i) => ({ tuning, folder, result: results[i] }));
}

async function plannedTuning(plan: Plan, cell: PlannedCell, tuning: CellFineTuning) {
  const { config, source } = await resolveSource(tuningOptions(plan, cell, tuning));
  const { threads, processes } = shareOfCores(config, source.model);
  const name = variantName(resolveFinetuneConfig(config, source.model));
  const folder = path.join(cell.folder, 'finetune', `iteration-${tuning.iteration}`, name);
  return { tuning, folder, processes, options: { ...tuningOptions(plan, cell, tuning), threads } };
}
