/** The measures of a layer by name: what each needs, what decides its numbers, and how the pure functions are fed. */
import { assignClusters, fitKmeans } from '../cluster';
import { Philox } from '../data/philox';
import { HubertkitError } from '../errors';
import { nearest } from '../train/nearest';
import { abxError } from './abx';
import { type CcaSplits, type Covariances, covariances, pwcca, svcca } from './cca';
import { CrossMoments, ckaFromMoments } from './cka';
import { type ClusteringMeasures, clusteringMeasures, meanSegmentLength } from './clustering';
import { CrossSums } from './cross-sums';
import { layerDrift } from './drift';
import type { PhonedUtterance } from './evaluation-set';
import type { Ground, Parts, Tier, UtteranceSet } from './ground';
import { type FrameMatrix, mfccFeatures } from './layer-features';
import { perObject } from './memo';
import { type LabelledFrames, linearProbe } from './probe';
import { rankMe } from './rank';
import type { Chance, CheckpointAnalysis, LayerAnalysis } from './results';
import { meanPooled, oneHot } from './segments';
import type { AnalysisSettings, MeasureSettings } from './settings';

/** One layer of one checkpoint, and what it is measured with. */
export interface LayerContext {
  ground: Ground;
  settings: AnalysisSettings;
  signal?: AbortSignal;
  /** Features of a set in this layer. */
  features: (set: UtteranceSet) => FrameMatrix;
  /** The same in layer 0. */
  input: (set: UtteranceSet) => FrameMatrix;
  /** The same in this layer of the kept checkpoint before; only for measures that need it. */
  previous?: (set: UtteranceSet) => FrameMatrix;
}

interface Measured {
  layer: Partial<LayerAnalysis>;
  chance?: Chance;
}

export interface Metric {
  /** In half a line. */
  description: string;
  /** The settings that decide its numbers, beside the common ones. */
  settings: readonly (keyof MeasureSettings)[];
  /** The sets whose features it needs. */
  sets(ground: Ground): Promise<UtteranceSet[]>;
  /** Compares with the kept checkpoint before: the first one has none. */
  needsPrevious?: boolean;
  /** Is about phones of the corpus's alignments. */
  needsPhones?: boolean;
  measure(context: LayerContext): Promise<Measured>;
  /** What is the same for all checkpoints. */
  baseline?(ground: Ground, settings: AnalysisSettings): Promise<Pick<CheckpointAnalysis, 'mfcc' | 'chance'>>;
}

const fitAndTest = async ({ set }: Ground): Promise<UtteranceSet[]> => [set.fit, set.test];
const testOnly = async ({ set }: Ground): Promise<UtteranceSet[]> => [set.test];

const table = {
  clusters: {
    description: 'k-means clusters of frames against phones: PNMI, purities, segment length',
    settings: ['clusters', 'kmeansIterations'],
    sets: fitAndTest,
    needsPhones: true,
    async measure({ features, ground, settings, signal }) {
      const { set } = ground;
      const found = await frameClusters(features(set.fit), features(set.test), ground, settings, signal);
      const { pnmi, phonePurity, clusterPurity, activeClusters, clusterPerplexity } = found;
      const layer = { pnmi, phonePurity, clusterPurity, activeClusters, clusterPerplexity };
      return { layer: { ...layer, meanSegmentLength: found.meanSegmentLength } };
    },
    async baseline(ground, settings) {
      const { fit, test } = ground.set;
      const found = await frameClusters(await mfccFeatures(fit), await mfccFeatures(test), ground, settings);
      const { pnmi, phonePurity, clusterPurity, chancePnmi } = found;
      return { mfcc: { pnmi, phonePurity, clusterPurity }, chance: { pnmi: chancePnmi } };
    },
  },
  cka: {
    description: 'linear CKA with layer 0 and with log-mel',
    settings: ['ckaFrames'],
    sets: testOnly,
    async measure({ features, input, ground }) {
      const { test } = ground.set;
      const x = ground.thinned(features(test));
      const similarity = (y: FrameMatrix) => ckaFromMoments(moments(x, y), ownMoments(x), ownMoments(y), true);
      return {
        layer: {
          ckaLayer0: similarity(ground.thinned(input(test))),
          ckaLogMel: similarity(ground.thinned(await ground.logMel(test))),
        },
      };
    },
  },
  probe: {
    description: 'linear probe for phones of frames',
    settings: ['probeEpochs'],
    sets: fitAndTest,
    needsPhones: true,
    async measure(context) {
      const { features, ground } = context;
      const { fit, test, phones } = ground.set;
      const { accuracy, majorityAccuracy } = await probe(
        { features: features(fit).data, labels: ground.fitLabels },
        { features: features(test).data, labels: ground.testLabels },
        phones.length,
        context,
      );
      return { layer: { phoneProbeAccuracy: accuracy }, chance: { phoneProbeAccuracy: majorityAccuracy } };
    },
  },
  'word-probe': {
    description: 'linear probe for words of mean-pooled segments',
    settings: ['probeEpochs'],
    sets: fitAndTest,
    async measure(context) {
      const { features, ground } = context;
      ground.requireWords('The word probe');
      const part = (set: UtteranceSet): LabelledFrames => {
        const segments = ground.segments.words(set);
        return { features: meanPooled(features(set), segments), labels: segments.labels };
      };
      const { fit, test } = ground.set;
      const { accuracy, majorityAccuracy } = await probe(
        part(fit),
        part(test),
        ground.words.length,
        context,
        wordPasses * context.settings.probeEpochs,
      );
      return { layer: { wordProbeAccuracy: accuracy }, chance: { wordProbeAccuracy: majorityAccuracy } };
    },
  },
  'speaker-probe': {
    description: 'linear probe for speakers of frames, on utterances that it was not fitted on',
    settings: ['probeEpochs'],
    sets: async ({ set }) => [set.fit],
    async measure(context) {
      const { features, ground } = context;
      const { data } = features(ground.set.fit);
      const { train, test, speakers } = speakerLabels(ground.set.fit);
      const { accuracy, majorityAccuracy } = await probe(
        { features: data, labels: train },
        { features: data, labels: test },
        speakers,
        context,
      );
      return { layer: { speakerProbeAccuracy: accuracy }, chance: { speakerProbeAccuracy: majorityAccuracy } };
    },
  },
  information: {
    description: 'mutual information of phones and words with clusters of mean-pooled segments',
    settings: ['clusters', 'kmeansIterations'],
    sets: fitAndTest,
    needsPhones: true,
    async measure(context) {
      const phones = await segmentInformation('phones', context);
      const words = hasWords(context.ground) ? await segmentInformation('words', context) : undefined;
      return {
        layer: { phoneInformation: phones.information, ...(words && { wordInformation: words.information }) },
        chance: { phoneInformation: phones.chance, ...(words && { wordInformation: words.chance }) },
      };
    },
  },
  pwcca: {
    description: 'PWCCA with layer 0, log-mel, one-hot phones and words, on held-out rows',
    settings: [],
    sets: fitAndTest,
    needsPhones: true,
    async measure(context) {
      const { layer0, logMel, phone, word } = await similarities(context, pwcca);
      return { layer: { pwccaLayer0: layer0, pwccaLogMel: logMel, pwccaPhone: phone, pwccaWord: word } };
    },
  },
  svcca: {
    description: 'SVCCA with the same views',
    settings: [],
    sets: fitAndTest,
    needsPhones: true,
    async measure(context) {
      const { layer0, logMel, phone, word } = await similarities(context, svcca);
      return { layer: { svccaLayer0: layer0, svccaLogMel: logMel, svccaPhone: phone, svccaWord: word } };
    },
  },
  rank: {
    description: 'RankMe: how many directions a layer uses',
    settings: [],
    sets: testOnly,
    async measure({ features, ground }) {
      return { layer: { rankMe: await rankMe(ownSums(features(ground.set.test))) } };
    },
  },
  drift: {
    description: 'how far a layer has moved since the kept checkpoint before: CKA and cosine distance',
    settings: ['ckaFrames'],
    sets: testOnly,
    needsPrevious: true,
    async measure({ features, previous, ground }) {
      const { test } = ground.set;
      const [now, before] = [ground.thinned(features(test)), ground.thinned(previous!(test))];
      const { cka, cosineDistance } = layerDrift(now.data, before.data, now.rows);
      return { layer: { ckaPrevious: cka, cosineDistancePrevious: cosineDistance } };
    },
  },
  abx: {
    description: 'ABX errors of triphones within and across speakers',
    settings: ['abxTriples', 'abxItems'],
    sets: async (ground) => [(await ground.abx()).set],
    async measure({ features, ground, signal }) {
      const { set, tokens, within, across } = await ground.abx();
      return {
        layer: {
          abxWithin: await abxError(features(set), tokens, within, signal),
          abxAcross: await abxError(features(set), tokens, across, signal),
        },
      };
    },
  },
} satisfies Record<string, Metric>;

export type AnalysisMetric = keyof typeof table;

export const metrics: Readonly<Record<AnalysisMetric, Metric>> = table;
export const metricNames = Object.keys(table) as AnalysisMetric[];

/** What is measured when nothing is asked for; the rest costs more and runs only when it is named. */
export const defaultMetrics: readonly AnalysisMetric[] = ['clusters', 'cka', 'probe'];

/** @throws HK_ARGUMENT for a name that is none, with the nearest one */
export function checkMetrics(names: readonly string[]): AnalysisMetric[] {
  if (!Array.isArray(names))
    throw new HubertkitError('HK_ARGUMENT', `Metrics: expected a list of names, got ${names}.`);
  for (const name of names) {
    if (Object.hasOwn(table, name)) continue;
    const meant = nearest(String(name), metricNames);
    throw new HubertkitError(
      'HK_ARGUMENT',
      `There is no metric "${name}"${meant ? `; did you mean "${meant}"?` : '.'} There are: ${metricNames.join(', ')}.`,
    );
  }
  return metricNames.filter((name) => names.includes(name));
}

/** k-means on the fitting frames, phones against clusters on the test frames. */
async function frameClusters(
  fit: FrameMatrix,
  test: FrameMatrix,
  ground: Ground,
  settings: AnalysisSettings,
  signal?: AbortSignal,
): Promise<ClusteringMeasures & { meanSegmentLength: number }> {
  const labels = await clustersOf(fit.data, test.data, fit.dimensions, settings.clusters, settings, signal);
  let row = 0;
  const byUtterance = ground.set.test.map(({ frames }) => {
    row += frames;
    return labels.subarray(row - frames, row);
  });
  const sizes = { phones: ground.set.phones.length, clusters: settings.clusters };
  return {
    ...clusteringMeasures(ground.testLabels, labels, sizes),
    meanSegmentLength: meanSegmentLength(byUtterance),
  };
}

/** The clusters of `test` under a k-means fitted on `fit`. */
async function clustersOf(
  fit: Float32Array,
  test: Float32Array,
  dim: number,
  clusters: number,
  { seed, kmeansIterations }: AnalysisSettings,
  signal?: AbortSignal,
): Promise<Int32Array> {
  const codebook = await fitKmeans([fit], {
    clusters,
    dim,
    seed,
    method: 'lloyd',
    nInit: 1,
    maxIterations: kmeansIterations,
    signal,
  });
  return (await assignClusters(test, codebook)).labels;
}

const hasWords = ({ words, set, segments }: Ground) =>
  words.length > 1 && [set.fit, set.test].every((part) => segments.words(part).labels.length > 0);

/** Orders of the labels that the chance level of information is the mean of. */
const shuffles = 5;

/**
 * Mutual information, in nats, of labels and clusters of mean-pooled segments, and that of shuffled labels and the same clusters.
 * There is a cluster for every two fitting segments, at most K.
 */
async function segmentInformation(
  tier: Tier,
  { features, ground, settings, signal }: LayerContext,
): Promise<{ information: number; chance: number }> {
  const { fit, test } = ground.set;
  const pooled = (set: UtteranceSet) => meanPooled(features(set), ground.segments[tier](set));
  const fitted = pooled(fit);
  const { dimensions } = features(fit);
  const count = Math.max(1, Math.min(settings.clusters, fitted.length / dimensions / 2));
  const clusters = await clustersOf(fitted, pooled(test), dimensions, Math.floor(count), settings, signal);
  const sizes = { phones: ground.vocabulary(tier).length, clusters: settings.clusters };
  const { labels } = ground.segments[tier](test);
  const information = (of: Int32Array) => clusteringMeasures(of, clusters, sizes).mutualInformation;
  let chance = 0;
  for (let i = 0; i < shuffles; i++)
    chance += information(new Philox(settings.seed, i).shuffle(labels.slice())) / shuffles;
  return { information: information(labels), chance };
}

/** Passes over segments for each pass of a probe over frames: there are far fewer segments. */
const wordPasses = 8;

function probe(
  train: LabelledFrames,
  test: LabelledFrames,
  classes: number,
  { settings, signal }: LayerContext,
  epochs = settings.probeEpochs,
): ReturnType<typeof linearProbe> {
  return linearProbe(train, test, { classes, epochs, seed: settings.seed, signal });
}

/**
 * Speakers of frames, for fitting and for testing: every fifth utterance of a speaker is for testing (the second of one with fewer
 * than five), a speaker with a single one is left out. @throws HK_CORPUS when fewer than two speakers have two utterances
 */
function speakerLabels(set: UtteranceSet): { train: Int32Array; test: Int32Array; speakers: number } {
  const utterances = new Map<string, PhonedUtterance[]>();
  for (const phoned of set) {
    const { speaker } = phoned.utterance;
    utterances.set(speaker, [...(utterances.get(speaker) ?? []), phoned]);
  }
  const speakers = [...utterances].filter(([, list]) => list.length > 1).map(([speaker]) => speaker);
  if (speakers.length < 2) {
    throw new HubertkitError(
      'HK_CORPUS',
      `The speaker probe needs two utterances of each of two training speakers; of ${utterances.size} speakers ${speakers.length} have that among the ${set.length} fitting utterances.`,
    );
  }
  const frames = set.reduce((sum, phoned) => sum + phoned.frames, 0);
  const [train, test] = [new Int32Array(frames).fill(-1), new Int32Array(frames).fill(-1)];
  let row = 0;
  for (const phoned of set) {
    const { speaker } = phoned.utterance;
    const part = utterances.get(speaker)!.indexOf(phoned) % 5 === 1 ? test : train;
    part.fill(speakers.indexOf(speaker), row, row + phoned.frames);
    row += phoned.frames;
  }
  return { train, test, speakers: speakers.length };
}

function moments(x: FrameMatrix, y: FrameMatrix): CrossMoments {
  const sums = new CrossMoments(x.dimensions, y.dimensions);
  sums.add(x.data, y.data);
  return sums;
}

const ownMoments = perObject((x: FrameMatrix) => moments(x, x));

/** Rows that are held in float64 at a time. */
const blockRows = 1024;

function sumsOf(x: FrameMatrix, y: FrameMatrix): CrossSums {
  const sums = new CrossSums(x.dimensions, y.dimensions);
  for (let row = 0; row < x.rows; row += blockRows) {
    const block = (m: FrameMatrix) => m.data.subarray(row * m.dimensions, (row + blockRows) * m.dimensions);
    sums.add(block(x), block(y));
  }
  return sums;
}

const ownSums = perObject((x: FrameMatrix) => sumsOf(x, x));

/** CCA of a layer with each view; one-hot words where there are word alignments. */
async function similarities(
  { ground, features, input }: LayerContext,
  cca: (splits: CcaSplits) => Promise<{ similarity: number }>,
): Promise<{ layer0: number; logMel: number; phone: number; word?: number }> {
  if (ground.halves.test.length === 0) {
    throw new HubertkitError(
      'HK_CORPUS',
      'CCA needs two test utterances: one to choose the regularisation on, one to measure on.',
    );
  }
  const { fit, test } = ground.set;
  const framesOf = (of: (set: UtteranceSet) => FrameMatrix): Parts<FrameMatrix> => ({
    train: of(fit),
    ...ground.halved(of(test)),
  });
  const mel = new Map([
    [fit as UtteranceSet, await ground.logMel(fit)],
    [test as UtteranceSet, await ground.logMel(test)],
  ]);
  const frames = framesOf(features);
  const similarity = async (x: Parts<FrameMatrix>, y: Parts<FrameMatrix>) =>
    (await cca(splitCovariances(x, y))).similarity;
  const labelled = (tier: Tier) => similarity(pooledParts(ground, frames, tier), oneHotParts(ground, tier));
  return {
    layer0: await similarity(frames, framesOf(input)),
    logMel: await similarity(
      frames,
      framesOf((set) => mel.get(set)!),
    ),
    phone: await labelled('phones'),
    ...(hasWords(ground) && { word: await labelled('words') }),
  };
}

function splitCovariances(x: Parts<FrameMatrix>, y: Parts<FrameMatrix>): CcaSplits {
  const of = (part: keyof Parts<unknown>): Covariances =>
    covariances(ownSums(x[part]), sumsOf(x[part], y[part]), ownSums(y[part]));
  return { train: of('train'), dev: of('dev'), test: of('test') };
}

/** Sets of the parts, to look up their segments. */
const partSets = (ground: Ground): Parts<UtteranceSet> => ({ train: ground.set.fit, ...ground.halves });

function mapParts<T, U>(parts: Parts<T>, make: (part: T, name: keyof Parts<T>) => U): Parts<U> {
  return { train: make(parts.train, 'train'), dev: make(parts.dev, 'dev'), test: make(parts.test, 'test') };
}

function pooledParts(ground: Ground, frames: Parts<FrameMatrix>, tier: Tier): Parts<FrameMatrix> {
  return mapParts(partSets(ground), (set, part) => {
    const segments = ground.segments[tier](set);
    const { dimensions } = frames[part];
    return { rows: segments.labels.length, dimensions, data: meanPooled(frames[part], segments) };
  });
}

const oneHotParts = (ground: Ground, tier: Tier) => oneHots(ground)[tier];

const oneHots = perObject((ground: Ground): Record<Tier, Parts<FrameMatrix>> => {
  const of = (tier: Tier) =>
    mapParts(partSets(ground), (set) => {
      const { labels } = ground.segments[tier](set);
      const classes = ground.vocabulary(tier).length;
      return { rows: labels.length, dimensions: classes, data: oneHot(labels, classes) };
    });
  return { phones: of('phones'), words: of('words') };
});
