export { type AbxItem, type AbxToken, type AbxTriple, abxError, abxTriples, itemsFromPhones, readItems } from './abx';
export { type AnalysisProgress, type AnalyzeOptions, analyzeRun } from './analyze';
export { autoencoderIndex, dropAtTop } from './autoencoder';
export { type CcaOptions, type CcaResult, type CcaSplits, covariances, pwcca, svcca } from './cca';
export { CrossMoments, ckaFromMoments, linearCka } from './cka';
export { type ClusteringMeasures, Contingency, clusteringMeasures, meanSegmentLength } from './clustering';
export { CrossSums } from './cross-sums';
export { type LayerDrift, layerDrift } from './drift';
export { type AnalysisMetric, defaultMetrics, metricNames, metrics } from './metrics';
export { linearProbe } from './probe';
export { rankMe } from './rank';
export type { Chance, CheckpointAnalysis, LayerAnalysis } from './results';
export type { AnalysisSettings } from './settings';
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
