export type { Checkpoint } from './checkpoints';
export {
  applySet,
  configYaml,
  type IterationOptions,
  loadConfig,
  type PretrainConfig,
  type PretrainOptions,
  resolveConfig,
} from './config';
export type { Metrics } from './metrics';
export { type PretrainResult, pretrain } from './pretrain';
export type { Progress } from './progress';
export { openRun, type Run } from './run';
