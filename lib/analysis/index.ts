export {
  type AnalysisMetric,
  type AnalysisProgress,
  type AnalysisSettings,
  type AnalyzeOptions,
  analyzeRun,
  type CheckpointAnalysis,
  type LayerAnalysis,
} from './analyze';
export { autoencoderIndex, dropAtTop } from './autoencoder';
export { CrossMoments, ckaFromMoments, linearCka } from './cka';
export { type ClusteringMeasures, Contingency, clusteringMeasures, meanSegmentLength } from './clustering';
export { linearProbe } from './probe';
export { bootstrapMean, errorRateDifference, type Interval, pairedBootstrap } from './statistics';
