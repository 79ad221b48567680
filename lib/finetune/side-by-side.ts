/**
 * Several fine-tunings of one corpus. Of a small model on a CPU each has one thread and as many run at once as there are cores: two
 * threads are hardly faster than one there, two processes are twice as fast.
 */
import * as os from 'node:os';
import * as path from 'node:path';
import { inProcesses } from '../processes';
import { type FinetuneConfig, isWide, type ModelSize } from './config';
import { type FinetuneProgress, type FinetuneResult, finetune } from './finetune';
import { corpusOnce } from './corpus-once';
import type { FinetuneJob } from './worker';

/** Memory that one process may need: its corpus (SpeechSource), weights and activations of a small model. */
const processBytes = 2 * 2 ** 30;

/** Threads of each fine-tuning and how many run at once; threads that were asked for stay as they are. */
export function shareOfCores(config: FinetuneConfig, model: ModelSize): { threads: number; processes: number } {
  if (isWide(model) || config.device.startsWith('cuda')) return { threads: config.threads, processes: 1 };
  const threads = config.threads || 1;
  const most = Math.min(os.availableParallelism() / threads, os.totalmem() / processBytes);
  return { threads, processes: Math.max(1, Math.floor(most)) };
}

export interface FinetuneAllOptions {
  /** At once; 1: in this process. */
  processes: number;
  signal?: AbortSignal;
  onProgress?: (progress: SweepProgress) => void;
}

/** Of one of several fine-tunings. */
export interface SweepProgress extends FinetuneProgress {
  /** Updates done by all of them, and of all. */
  done: number;
  total: number;
}

/** Runs what is not finished; results in the order of the jobs. @throws what finetune throws */
export async function finetuneAll(jobs: readonly FinetuneJob[], o: FinetuneAllOptions): Promise<FinetuneResult[]> {
  const { processes, signal, onProgress } = o;
  const updates = jobs.map(() => 0);
  const show = (index: number, progress: FinetuneProgress) => {
    updates[index] = progress.update;
    const done = updates.reduce((sum, update) => sum + update, 0);
    onProgress?.({ ...progress, done, total: jobs.length * progress.updates });
  };
  if (Math.min(processes, jobs.length) > 1) {
    return inProcesses<FinetuneJob, FinetuneProgress, FinetuneResult>(path.join(__dirname, 'worker.js'), jobs, {
      processes,
      does: 'fine-tunes',
      whenStopped: 'ask',
      signal,
      onEvent: show,
    });
  }
  const corpus = corpusOnce();
  const results: FinetuneResult[] = [];
  for (const [index, { options, out }] of jobs.entries()) {
    const hooks = { out, signal, corpus: () => corpus(options) };
    results.push(await finetune(options, { ...hooks, onProgress: (progress) => show(index, progress) }));
  }
  return results;
}
