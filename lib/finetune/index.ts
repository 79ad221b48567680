export { CharacterVocabulary, normaliseTranscript } from './characters';
export { type FinetuneConfig, type FinetuneOptions, resolveFinetuneConfig } from './config';
export {
  type FinetuneHooks,
  type FinetunePoint,
  type FinetuneProgress,
  type FinetuneResult,
  finetune,
} from './finetune';
export { Lexicon } from './lexicon';
export {
  type MeanAndDeviation,
  type ResetSweepHooks,
  type ResetSweepOptions,
  type ResetSweepSummary,
  resetSweep,
  type SweepRow,
} from './reset-sweep';
export type { SweepProgress } from './side-by-side';
export { alignmentErrors, type ErrorCounts, errorRate } from './wer';
