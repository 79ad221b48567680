/** The fine-tunings of a cell, one after the other. Those of a seed see the same batches and masks, so that they are paired. */
import * as path from 'node:path';
import { type FinetuneOptions, type FinetuneProgress, finetune, resolveFinetuneConfig } from '../finetune';
import { variantName } from '../finetune/config';
import { labelBudget } from '../finetune/examples';
import { type FinetuneCorpus, finetuneCorpus, resolveSource } from '../finetune/finetune';
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
  const finished: FinishedTuning[] = [];
  let whole: FinetuneCorpus | undefined;
  for (const [index, tuning] of cell.fineTunings.entries()) {
    const options = tuningOptions(plan, cell, tuning);
    const { config, source } = await resolveSource(options);
    whole ??= await finetuneCorpus({ ...config, labelMinutes: 0 }, source.model);
    const name = variantName(resolveFinetuneConfig(config, source.model));
    const folder = path.join(cell.folder, 'finetune', `iteration-${tuning.iteration}`, name);
    const result = await finetune(options, {
      out: folder,
      corpus: withBudget(whole, tuning.labelMinutes),
      signal: hooks.signal,
      onProgress: (progress) => hooks.onProgress(progress, index),
    });
    finished.push({ tuning, folder, result });
  }
  return finished;
}

/** The same corpus with so many minutes of transcribed audio to train on. */
function withBudget(corpus: FinetuneCorpus, minutes: number): FinetuneCorpus {
  if (minutes === 0) return corpus;
  const { train, ...rest } = corpus.examples;
  return { ...corpus, examples: { train: labelBudget(train, minutes, 0), ...rest } };
}
