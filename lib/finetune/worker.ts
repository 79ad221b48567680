/** The process that fine-tunes variants of a sweep, one after the other, with one corpus in memory. */
import { serve } from '../processes';
import type { FinetuneOptions } from './config';
import {
  type FinetuneCorpus,
  type FinetuneProgress,
  type FinetuneResult,
  finetune,
  finetuneCorpus,
  resolveSource,
} from './finetune';

export interface FinetuneJob {
  /** Of variants of one sweep: they share their corpus and its splits. */
  options: FinetuneOptions;
  out: string;
}

let corpus: Promise<FinetuneCorpus> | undefined;

serve<FinetuneJob, FinetuneProgress, FinetuneResult>(async ({ options, out }, emit, signal) => {
  const { config, source } = await resolveSource(options);
  return finetune(options, {
    out,
    signal,
    corpus: () => {
      corpus ??= finetuneCorpus(config, source.model);
      return corpus;
    },
    // Not waited for: it arrives in order and before the result.
    onProgress: (progress) => void emit(progress).catch(() => process.exit()),
  });
});
