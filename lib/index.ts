/**
 * The programmatic interface: what the command line is made of. Functions of the training, analysis and report floors load their
 * modules at the first call, the native addon is loaded at first use: requiring hubertkit costs next to nothing.
 */

/** A function whose module is loaded when it is called. */
function deferred<F extends (...parameters: never[]) => unknown>(load: () => F): F {
  return ((...parameters: Parameters<F>) => load()(...parameters)) as F;
}

const alignmentFiles = () => require('./data/alignment-files') as typeof import('./data/alignment-files');
const analysis = () => require('./analysis') as typeof import('./analysis');
const train = () => require('./train') as typeof import('./train');
const tuning = () => require('./finetune') as typeof import('./finetune');

// --- corpora
/** Makes the embedded corpus: synthetic speech with transcripts and exact phone and word times. */
export const makeEmbeddedCorpus = deferred(
  () => (require('./data/embedded') as typeof import('./data/embedded')).makeEmbeddedCorpus,
);
/** Opens a LibriSpeech tree, a folder of audio, a manifest or the embedded corpus. */
export const openCorpus = deferred(() => (require('./data/corpus') as typeof import('./data/corpus')).openCorpus);
/** Decodes an utterance: f32 [samples], 16 kHz mono. */
export const loadWaveform = deferred(() => (require('./data/corpus') as typeof import('./data/corpus')).loadWaveform);
/** Reads alignments that come apart from their corpus: TextGrids, word end times, 100 Hz labels, JSON lines. */
export const readAlignmentFiles = deferred(() => alignmentFiles().readAlignmentFiles);
/** Gives utterances the alignments that bear their names, and says what they cover. */
export const joinAlignments = deferred(() => alignmentFiles().joinAlignments);
export type { AlignmentCoverage, NamedTiers } from './data/alignment-files';
export type { EmbeddedCorpus, EmbeddedCorpusOptions } from './data/embedded';
export type { Corpus, Segment, Skipped, Utterance } from './data/types';

// --- pretraining
/** Runs or continues a pretraining; the run is a folder. */
export const pretrain = deferred(() => train().pretrain);
/** A configuration with every default written out. */
export const resolveConfig = deferred(() => train().resolveConfig);
/** Reads a configuration from YAML and applies `key=value` assignments. */
export const loadConfig = deferred(() => train().loadConfig);
/** The YAML of a configuration. */
export const configYaml = deferred(() => train().configYaml);
/** Opens a run folder: configuration, checkpoints, metrics, models. */
export const openRun = deferred(() => train().openRun);
export type {
  Checkpoint,
  IterationOptions,
  Metrics,
  PretrainConfig,
  PretrainOptions,
  PretrainResult,
  Progress,
  Run,
} from './train';

// --- labels
/** k-means labels of a corpus outside of a run. */
export const clusterCorpus = deferred(
  () => (require('./experiments/cluster-corpus') as typeof import('./experiments/cluster-corpus')).clusterCorpus,
);
export type { ClusterCorpusOptions, ClusterCorpusResult } from './experiments/cluster-corpus';
export {
  Codebook,
  fitKmeans,
  type KmeansFit,
  type KmeansOptions,
  LabelSet,
  readKm,
  readLabels,
  writeKm,
  writeLabels,
} from './cluster';

// --- analysis
/** Measures every layer of every kept checkpoint of a run. */
export const analyzeRun = deferred(() => analysis().analyzeRun);
/** Linear probe: softmax regression on frozen features. */
export const linearProbe = deferred(() => analysis().linearProbe);
/** Linear CKA of two sets of features. */
export const linearCka = deferred(() => analysis().linearCka);
/** PWCCA and SVCCA on held-out rows, from covariances. */
export const pwcca = deferred(() => analysis().pwcca);
export const svcca = deferred(() => analysis().svcca);
/** The covariances of two views, from sums over their rows. */
export const covariances = deferred(() => analysis().covariances);
/** RankMe, from sums over rows. */
export const rankMe = deferred(() => analysis().rankMe);
/** How far features of the same frames have moved. */
export const layerDrift = deferred(() => analysis().layerDrift);
/** Purities, mutual information and PNMI of phones and clusters. */
export const clusteringMeasures = deferred(() => analysis().clusteringMeasures);
/** ABX: items of a file or of phone alignments, triples of tokens, their error. */
export const readItems = deferred(() => analysis().readItems);
export const itemsFromPhones = deferred(() => analysis().itemsFromPhones);
export const abxTriples = deferred(() => analysis().abxTriples);
export const abxError = deferred(() => analysis().abxError);
export { CrossSums } from './analysis/cross-sums';
export type { AnalysisMetric, AnalyzeOptions, CcaSplits, CheckpointAnalysis, LayerAnalysis } from './analysis';

// --- fine-tuning
/** Fine-tunes for transcription, with the top layers as they are, begun anew or taken off. */
export const finetune = deferred(() => tuning().finetune);
/** Fine-tunes for each number of reset layers and several seeds, and from random initialisation. */
export const resetSweep = deferred(() => tuning().resetSweep);
export type { FinetuneOptions, FinetuneResult, ResetSweepOptions, ResetSweepSummary } from './finetune';

// --- the study
const experimentPlan = () => require('./experiments/plan') as typeof import('./experiments/plan');
/** Runs or continues an experiment: a grid of pretrainings, what is measured of them, verdicts. */
export const runExperiment = deferred(
  () => (require('./experiments/engine') as typeof import('./experiments/engine')).runExperiment,
);
/** What an experiment would run, every configuration with its defaults written out. */
export const planExperiment = deferred(() => experimentPlan().planExperiment);
/** How long experiments will take on this machine. */
export const estimateExperiments = deferred(
  () => (require('./experiments/estimate') as typeof import('./experiments/estimate')).estimateExperiments,
);
export type { ExperimentHooks, ExperimentProgress } from './experiments/engine';
export type { Estimate } from './experiments/estimate';
export type { Cell, Comparison, Experiment, Outcome, Scale, Stage } from './experiments/experiment';
export type { ExperimentOptions, Plan } from './experiments/plan';
export type { ResultRow } from './experiments/rows';
export type { ExperimentSummary } from './experiments/summary';

// --- looking
/** Writes a self-contained page about one or several runs, and its charts as SVG files. */
export const report = deferred(() => (require('./report') as typeof import('./report')).report);
export type { ReportOptions, ReportResult } from './report';
/** The whole study at small scale. */
export const demo = deferred(() => (require('./experiments/demo') as typeof import('./experiments/demo')).demo);
export type { DemoOptions, DemoProgress, DemoResult } from './experiments/demo';
/** Compares every op with its formula in double precision. */
export const selftest = deferred(() => (require('./selftest') as typeof import('./selftest')).selftest);
export type { SelftestOptions, SelftestResult, SelftestSummary } from './selftest';
/** What this machine offers and lacks. */
export const doctor = deferred(() => (require('./doctor') as typeof import('./doctor')).doctor);
export type { Check } from './doctor';

// --- the model, and the graph it is written in
export { type ErrorCode, HubertkitError } from './errors';
export { callOp, type NdArray } from './nn/call';
export { type HubertConfig, hubertConfig, type PresetName, presets } from './nn/config';
export { Graph, type Initialiser, Scope, Tensor } from './nn/graph';
export { HubertModel, type ModelOptions } from './nn/model';
export * as ops from './nn/ops';
export { Program, type RunOptions } from './nn/program';
export { ParameterStore } from './nn/store';
