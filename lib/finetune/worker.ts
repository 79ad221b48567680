/** The process that fine-tunes, one job after the other, with one corpus in memory. */
import { serve } from '../processes';
import type { FinetuneOptions } from './config';
import { corpusOnce } from './corpus-once';
import { type FinetuneProgress, type FinetuneResult, finetune } from './finetune';

export interface FinetuneJob {
  /** All jobs have the same corpus and splits. */
  options: FinetuneOptions;
  out: string;
}

const corpus = corpusOnce();

serve<FinetuneJob, FinetuneProgress, FinetuneResult>(({ options, out }, emit, signal) =>
  finetune(options, {
    out,
    signal,
    corpus: () => corpus(options),
    // Not waited for: it arrives in order and before the result.
    onProgress: (progress) => void emit(progress).catch(() => process.exit()),
  }),
);
