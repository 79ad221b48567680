export { type Checkpoint, keptUpdates, type TrainState } from './checkpoints';
export {
  applySet,
  configYaml,
  firstDifference,
  type IterationConfig,
  type IterationOptions,
  loadConfig,
  modelConfig,
  type PretrainConfig,
  type PretrainOptions,
  resolveConfig,
  type Teacher,
} from './config';
export { type Metrics, readMetrics } from './metrics';
export { didYouMean, editDistance, nearest } from './nearest';
export { type PretrainResult, pretrain } from './pretrain';
export type { Progress } from './progress';
export { hasRun, openRun, type Run, type RunIteration, type SystemInfo } from './run';
export { type LearningRate, linearSchedule, triStageSchedule } from './schedule';
