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
/**
 * Makes the embedded corpus in the folder `out`: `minutes` (default 40; 0.5 to 6000) of synthetic speech, 16 kHz FLAC, with transcripts
 * and exact phone and word times, from `seed` (default 1) alone. The test split has other speakers than train and valid.
 * @throws HK_ARGUMENT, HK_NOT_BUILT without flite, HK_MISMATCH or HK_CORPUS when `out` holds something else, HK_INTERRUPTED, HK_IO
 */
export const makeEmbeddedCorpus = deferred(
  () => (require('./data/embedded') as typeof import('./data/embedded')).makeEmbeddedCorpus,
);
/**
 * Opens a LibriSpeech tree, a folder of audio, a manifest or the embedded corpus, named `KIND:FOLDER` or by its folder.
 * @throws HK_CORPUS nothing usable, or more than `maxSkippedShare` (default 0.1) of the files unusable; HK_IO; HK_INTERRUPTED
 */
export const openCorpus = deferred(() => (require('./data/corpus') as typeof import('./data/corpus')).openCorpus);
/** Decodes an utterance: f32 [samples], 16 kHz mono, full scale +-1. @throws HK_AUDIO with the path and the reason */
export const loadWaveform = deferred(() => (require('./data/corpus') as typeof import('./data/corpus')).loadWaveform);
/**
 * Reads alignments that come apart from their corpus, from a file or all files of a folder: TextGrids, word end times (*.alignment.txt),
 * phones at 100 Hz (*.tsv), JSON lines. -> phones and words, times in seconds, by the name that a file calls its utterance.
 * @throws HK_IO, HK_FORMAT with the file and what is wrong, HK_CORPUS when there are none
 */
export const readAlignmentFiles = deferred(() => alignmentFiles().readAlignmentFiles);
/**
 * Copies of utterances with the alignments that bear their names (phones and words each replace what was there), and what these cover.
 * One that ends more than 0.05 s after its audio, or whose phones end more than 0.5 s before it, is counted and not used.
 */
export const joinAlignments = deferred(() => alignmentFiles().joinAlignments);
export type { AlignmentCoverage, NamedTiers } from './data/alignment-files';
export type { EmbeddedCorpus, EmbeddedCorpusOptions } from './data/embedded';
export type { Corpus, Segment, Skipped, Utterance } from './data/types';

// --- pretraining
/**
 * Runs or continues a pretraining (HuBERT, 2106.07447); the run is a folder. Needed: corpus, model, out.
 * @throws HK_CONFIG also when the folder holds another configuration, HK_CORPUS, HK_BUSY; HK_INTERRUPTED: the same call continues
 */
export const pretrain = deferred(() => train().pretrain);
/**
 * The configuration of a pretraining with every default written out; they depend on `model`. Needed: corpus,
 * model, out. Resolving a resolved one changes nothing.
 * @throws HK_CONFIG naming the key, what was expected and, for an unknown key, the nearest one
 */
export const resolveConfig = deferred(() => train().resolveConfig);
/**
 * Reads a configuration from a YAML file, applies assignments (`learningRate=5e-4`, `mask.length=8`; default none) and resolves it.
 * @throws HK_IO, HK_CONFIG as {@link resolveConfig}
 */
export const loadConfig = deferred(() => train().loadConfig);
/** The YAML of a configuration. */
export const configYaml = deferred(() => train().configYaml);
/** Opens a run folder: configuration, checkpoints, metrics, models. @throws HK_IO no run there, HK_CONFIG it is damaged */
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
/**
 * k-means labels of a corpus outside of a run: of 39 MFCC (default, 100 a second) or of a layer (50 a second); writes
 * centroids.safetensors, <split>.labels and <split>.km. @throws HK_CORPUS, HK_IO, HK_NAME no such layer, HK_INTERRUPTED
 */
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
/**
 * Measures every layer of every kept checkpoint of a run, oldest first; files of analysis/ hold it. Default: clusters and cka, and
 * probe at the ends of iterations. Only what is missing is measured.
 * @throws HK_ARGUMENT no such metric, HK_CORPUS without the alignments that a metric needs, HK_IO, HK_INTERRUPTED
 */
export const analyzeRun = deferred(() => analysis().analyzeRun);
/**
 * Linear probe: softmax regression on frozen features (1807.03748, section 3.1), fitted on `train`, measured on `test`: each features
 * f32 [frames, d] and labels i32 [frames] from 0, negative: left out. Default 12 passes of Adam, peak rate 0.01, seed 1.
 * @throws HK_SHAPE, HK_ARGUMENT when a side has no labelled frame
 */
export const linearProbe = deferred(() => analysis().linearProbe);
/**
 * Linear CKA (1905.00414, eq. 4) of x [rows, dx] and y [rows, dy], row-major f32 or f64: 0 to 1. `debiased` (default false;
 * 2010.15327, eq. 3; can fall below 0) needs 4 rows and is right where rows are not many more than dimensions. NaN: a side is constant.
 * @throws HK_SHAPE, HK_ARGUMENT
 */
export const linearCka = deferred(() => analysis().linearCka);
/**
 * PWCCA (1806.05759, eq. 3) on held-out rows, from `covariances` of three sets of rows: directions from train, the regularisation (of
 * `epsilons`, default 1e-8 ... 1e-1, shares of the mean variance) chosen on dev, `similarity` and correlations of test, 1 at most.
 * @throws HK_ARGUMENT when a view is constant on the training rows
 */
export const pwcca = deferred(() => analysis().pwcca);
/** SVCCA (1706.05806): as {@link pwcca}, the mean correlation after both views are reduced to 99 % of their variance. */
export const svcca = deferred(() => analysis().svcca);
/** Covariances [dx, dx], [dx, dy], [dy, dy] of two views, from {@link CrossSums} of (X, X), (X, Y), (Y, Y). @throws HK_SHAPE */
export const covariances = deferred(() => analysis().covariances);
/** RankMe (2210.02885, eq. 2), 1 to d, from {@link CrossSums} of (X, X), nothing subtracted. @throws HK_ARGUMENT not finite */
export const rankMe = deferred(() => analysis().rankMe);
/**
 * How far features have moved: x and y [rows, d] of the same frames, row-major. `cka` (debiased) is 1 and `cosineDistance` (mean of
 * 1 - cos) 0 where they have not. @throws HK_SHAPE, HK_ARGUMENT for fewer than 4 rows
 */
export const layerDrift = deferred(() => analysis().layerDrift);
/**
 * Purities, mutual information and entropies in nats, PNMI and its chance level of a phone and a cluster for each frame (2106.07447,
 * section IV-D); negative: left out. @throws HK_MISMATCH unequal lengths, HK_ARGUMENT a number that `sizes` does not hold
 */
export const clusteringMeasures = deferred(() => analysis().clusteringMeasures);
/** ABX: the triphones of an `.item` file of libri-light, times in seconds. @throws HK_IO, HK_FORMAT with the line */
export const readItems = deferred(() => analysis().readItems);
/** ABX: all triphones without silence of utterances with phones, from the start of the phone before to the end of the one after. */
export const itemsFromPhones = deferred(() => analysis().itemsFromPhones);
/** ABX: triples within or across speakers, at most 10 of a (context, speakers, pair), about `maxTriples` (default 10000) in all. */
export const abxTriples = deferred(() => analysis().abxTriples);
/**
 * ABX error of triples, 0 to 1, 0.5 by chance, as libri-light has it: time-warped angles between rows of `features` (f32 [rows,
 * dimensions], the rows of a token are [from, to)); undefined without triples. @throws HK_INTERRUPTED
 */
export const abxError = deferred(() => analysis().abxError);
export { CrossSums } from './analysis/cross-sums';
export type { AnalysisMetric, AnalyzeOptions, CcaSplits, CheckpointAnalysis, LayerAnalysis } from './analysis';

// --- fine-tuning
/**
 * Fine-tunes with CTC over characters (2006.11477, section 4.3), the top layers as they are, begun anew or taken off. Rates are
 * fractions. Defaults depend on the width of the model: from 512 on the published recipe, else one for minutes.
 * @throws HK_CONFIG, HK_CORPUS transcripts are missing or do not fit, HK_MISMATCH the folder holds another one; HK_INTERRUPTED
 */
export const finetune = deferred(() => tuning().finetune);
/**
 * Fine-tunes for each number of reset layers (2405.08402; default 0..L) and several seeds (default [1]), and from random
 * initialisation; differences to k = 0 with 95 % bootstrap intervals. @throws what {@link finetune} throws
 */
export const resetSweep = deferred(() => tuning().resetSweep);
export type { FinetuneOptions, FinetuneResult, ResetSweepOptions, ResetSweepSummary } from './finetune';

// --- the study
const experimentPlan = () => require('./experiments/plan') as typeof import('./experiments/plan');
/**
 * Runs or continues an experiment: a grid of pretrainings, what is measured of them, verdicts. Default: nano, 3 seeds.
 * @throws HK_NAME, HK_CONFIG, HK_ARGUMENT, HK_MISMATCH the folder holds another one; HK_INTERRUPTED: the same call continues
 */
export const runExperiment = deferred(
  () => (require('./experiments/engine') as typeof import('./experiments/engine')).runExperiment,
);
/**
 * What an experiment would run: cells by seeds (default nano, 3 seeds), every pretraining with its defaults written out. Runs nothing.
 * @throws HK_NAME no such experiment (with the nearest name), HK_CONFIG, HK_ARGUMENT
 */
export const planExperiment = deferred(() => experimentPlan().planExperiment);
/**
 * How long experiments will take on this machine, one after the other: seconds of every cell, from some updates, forward passes and
 * fine-tunings that are run to measure. Same preset and corpus for all; the corpus is made when it is not there.
 * @throws what {@link planExperiment} and {@link openCorpus} throw; HK_INTERRUPTED
 */
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
/** Writes a self-contained page about runs and experiments, and its charts as SVG files. @throws HK_IO, HK_FORMAT nothing there */
export const report = deferred(() => (require('./report') as typeof import('./report')).report);
export type { ReportOptions, ReportResult } from './report';
/** The whole study at small scale; default 600 s on two cores, runs/demo. @throws HK_ARGUMENT below 30 s, HK_INTERRUPTED */
export const demo = deferred(() => (require('./experiments/demo') as typeof import('./experiments/demo')).demo);
export type { DemoOptions, DemoProgress, DemoResult } from './experiments/demo';
/**
 * Compares every op on `device` (default 'cpu') in `precision` (default f32) with its formula in double precision, the gradients with
 * finite differences. What fails is counted and listed, not thrown. @throws HK_NO_DEVICE
 */
export const selftest = deferred(() => (require('./selftest') as typeof import('./selftest')).selftest);
export type { SelftestOptions, SelftestResult, SelftestSummary } from './selftest';
/** What this machine offers and lacks, one check each with advice: Node.js, processor, memory, addon, tools, GPU. Never throws. */
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
export { predictedFrames } from './nn/steps';
export { ParameterStore } from './nn/store';
