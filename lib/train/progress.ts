/** What a pretraining run tells while it goes on. */
import type { Checkpoint } from './checkpoints';
import type { IterationConfig, PretrainConfig } from './config';
import type { Metrics } from './metrics';

export type Progress =
  | {
      /** Before anything is computed. */
      kind: 'run';
      config: PretrainConfig;
      folder: string;
      /** Why `device: auto` computes on the CPU. */
      deviceNote?: string;
      trainUtterances: number;
      trainSeconds: number;
      validUtterances: number;
      validSeconds: number;
      /** Files that cannot be used: see skipped.jsonl. */
      skipped: number;
      /** Micro-batches of each update. */
      accumulation: number;
      /** The checkpoint that the run goes on from. */
      resumedFrom?: Checkpoint;
    }
  | {
      kind: 'labels';
      iteration: number;
      entry: IterationConfig;
      phase: 'features' | 'fit' | 'assign';
      done: number;
      of: number;
    }
  | {
      kind: 'labelled';
      iteration: number;
      clusters: number;
      activeClusters: number;
      /** Entropy of the labels; log2(clusters) at most. */
      unigramBits: number;
      utterances: number;
      frames: number;
    }
  | { kind: 'update'; metrics: Metrics; updates: number; etaSeconds: number }
  | { kind: 'valid'; metrics: Metrics }
  | { kind: 'checkpoint'; checkpoint: Checkpoint }
  | { kind: 'alarm'; message: string };
