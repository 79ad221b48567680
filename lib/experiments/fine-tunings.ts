/** The fine-tunings of a cell. Those of a seed see the same batches and masks, so that they are paired. */
import * as path from 'node:path';
import type { FinetuneOptions } from '../finetune';
import { variantName } from '../finetune/config';
import { finetuneCorpus, resolveSource } from '../finetune/finetune';
import { type ResetSweepHooks, runVariants, shareOfCores } from '../finetune/reset-sweep';
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

/**
 * Runs what is not finished, those with the same amount of transcribed audio side by side as resetSweep does; results in the order
 * of the cell's list.
 *
 * @throws what finetune throws
 */
export async function runFineTunings(plan: Plan, cell: PlannedCell, hooks: ResetSweepHooks): Promise<FinishedTuning[]> {
  const prepared = await Promise.all(cell.fineTunings.map((tuning) => prepare(plan, cell, tuning)));
  const finished = new Map<CellFineTuning, FinishedTuning>();
  for (const minutes of new Set(cell.fineTunings.map(({ labelMinutes }) => labelMinutes))) {
    const group = prepared.filter(({ tuning }) => tuning.labelMinutes === minutes);
    const [{ config, model, processes }] = group;
    const results = await runVariants(group, processes, hooks, () => finetuneCorpus(config, model));
    for (const [i, { tuning, folder }] of group.entries()) finished.set(tuning, { tuning, folder, result: results[i] });
  }
  return cell.fineTunings.map((tuning) => finished.get(tuning)!);
}

/** The options of a fine-tuning with its share of the cores, and its folder. */
async function prepare(plan: Plan, cell: PlannedCell, tuning: CellFineTuning) {
  const given = tuningOptions(plan, cell, tuning);
  const { config, source } = await resolveSource(given);
  const { threads, processes } = shareOfCores(config, source.model);
  const folder = path.join(cell.folder, 'finetune', `iteration-${tuning.iteration}`, variantName(config));
  return { tuning, options: { ...given, threads }, folder, config, model: source.model, processes };
}
