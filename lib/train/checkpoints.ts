/**
 * Checkpoints of a run: iteration-N/checkpoints/step-NNNNNN/{model.safetensors, model.json, optimizer.safetensors, state.json, DONE}.
 * A checkpoint is written under a temporary name and renamed, and counts only when DONE exists. Only the newest one has the
 * optimizer state (it is the one that a resume starts from); of the older ones those at evenly spaced updates are kept.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { syncFolder, writeFileAtomic, writeJsonAtomic } from '../formats/atomic';
import type { HubertModel } from '../nn/model';
import type { Window } from './window';

/** Where a run stands after an update: everything, beside weights and optimizer, that the next update depends on. */
export interface TrainState {
  /** 1-based. */
  iteration: number;
  /** Updates done in this iteration. */
  update: number;
  totalUpdates: number;
  /** Position of the next micro-batch in the iteration's order of utterances. */
  cursor: number;
  audioSeconds: number;
  relabelAudioSeconds: number;
  wallSeconds: number;
  skippedSteps: number;
  /** Lines of metrics.jsonl at this point. */
  metricsLines: number;
  /** Sums since the last line of metrics.jsonl. */
  window: Window;
}

/** A complete checkpoint on disk. */
export interface Checkpoint {
  /** `iteration-1/step-000400`. */
  name: string;
  folder: string;
  iteration: number;
  update: number;
}

/** The updates of an iteration whose checkpoints are kept: `keep` evenly spaced ones, 0 and the last included. */
export function keptUpdates(updates: number, keep: number): number[] {
  return [...new Set(Array.from({ length: keep }, (_, i) => Math.round((i * updates) / (keep - 1))))];
}

/** All complete checkpoints of a run, oldest first. */
export function listCheckpoints(run: string): Checkpoint[] {
  const checkpoints: Checkpoint[] = [];
  for (const iteration of numbered(run, /^iteration-(\d+)$/)) {
    const parent = path.join(run, `iteration-${iteration}`, 'checkpoints');
    for (const update of numbered(parent, /^step-(\d+)$/)) {
      const checkpoint = checkpointAt(run, iteration, update);
      if (fs.existsSync(path.join(checkpoint.folder, 'DONE'))) checkpoints.push(checkpoint);
    }
  }
  return checkpoints;
}

/** The state stored in a checkpoint. @throws HK_FORMAT */
export function readState(checkpoint: Checkpoint): TrainState {
  const file = path.join(checkpoint.folder, 'state.json');
  try {
    return JSON.parse(fs.readFileSync(file, 'utf8')) as TrainState;
  } catch (cause) {
    throw new HubertkitError('HK_FORMAT', `${file} cannot be read: ${(cause as Error).message}`, { cause });
  }
}

/** Writes a checkpoint, unless it is there already, and removes those that it replaces. */
export async function saveCheckpoint(
  run: string,
  model: HubertModel,
  state: TrainState,
  kept: readonly number[],
): Promise<Checkpoint> {
  const { folder } = checkpointAt(run, state.iteration, state.update);
  if (fs.existsSync(path.join(folder, 'DONE'))) return checkpointAt(run, state.iteration, state.update);
  const temporary = path.join(path.dirname(folder), `.${path.basename(folder)}.tmp`);
  fs.rmSync(temporary, { recursive: true, force: true });
  fs.mkdirSync(temporary, { recursive: true });
  await model.save(temporary);
  if (state.update > 0) await model.saveOptimizer(path.join(temporary, optimizerFile));
  await writeJsonAtomic(path.join(temporary, 'state.json'), state);
  await writeFileAtomic(path.join(temporary, 'DONE'), '');
  fs.rmSync(folder, { recursive: true, force: true });
  fs.renameSync(temporary, folder);
  await syncFolder(path.dirname(folder));
  for (const older of listCheckpoints(run)) {
    if (older.folder === folder) continue;
    if (older.iteration === state.iteration && !kept.includes(older.update)) removeCheckpoint(older);
    else fs.rmSync(path.join(older.folder, optimizerFile), { force: true });
  }
  return checkpointAt(run, state.iteration, state.update);
}

/** Fills an existing model's optimizer from a checkpoint; at update 0 it is all zeros and not stored. @throws HK_FORMAT */
export async function loadOptimizer(model: HubertModel, checkpoint: Checkpoint): Promise<void> {
  if (checkpoint.update === 0) return;
  const file = path.join(checkpoint.folder, optimizerFile);
  if (!fs.existsSync(file))
    throw new HubertkitError(
      'HK_FORMAT',
      `${checkpoint.folder} is the newest checkpoint but has no ${optimizerFile}: the run cannot be continued exactly. Remove the newer half of the run or start in a new folder.`,
    );
  await model.loadOptimizer(file);
}

const optimizerFile = 'optimizer.safetensors';

function checkpointAt(run: string, iteration: number, update: number): Checkpoint {
  const step = `step-${String(update).padStart(6, '0')}`;
  const folder = path.join(run, `iteration-${iteration}`, 'checkpoints', step);
  return { name: `iteration-${iteration}/${step}`, folder, iteration, update };
}

function removeCheckpoint({ folder }: Checkpoint): void {
  fs.rmSync(path.join(folder, 'DONE'), { force: true });
  fs.rmSync(folder, { recursive: true, force: true });
}

function numbered(folder: string, pattern: RegExp): number[] {
  if (!fs.existsSync(folder)) return [];
  const numbers = fs.readdirSync(folder).flatMap((name) => pattern.exec(name)?.[1] ?? []);
  return numbers.map(Number).sort((a, b) => a - b);
}
