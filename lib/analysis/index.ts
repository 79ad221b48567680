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
export { framePhones } from './evaluation-set';
export { phoneProbe } from './probe';
export {
  bootstrapMean,
  type Difference,
  errorRateDifference,
  holm,
  type Interval,
  pairedBootstrap,
  pairedErrorRates,
  pairedSeeds,
} from './statistics';
export { type Compared, type Verdict, type VerdictOptions, verdict } from './verdict';
