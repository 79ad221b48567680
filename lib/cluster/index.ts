export { type Assigned, assignClusters, Codebook, type FeatureKind, fingerprintOf } from './codebook';
export { fitKmeans, type KmeansFit, type KmeansOptions, type KmeansProgress } from './kmeans';
export { LabelSet, type LabelsHeader, readKm, readLabels, type Units, writeKm, writeLabels } from './labels';
