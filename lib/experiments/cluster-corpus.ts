/** k-means labels of a corpus outside of a run: MFCCs or a layer of a trained model -> centroids -> one label file for each split. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { type ClusteringMeasures, Contingency } from '../analysis/clustering';
import { SpeechSource } from '../analysis/speech';
import { wrappedAsync } from '../binding';
import { Codebook, fitKmeans, readLabels, writeKm } from '../cluster';
import { labelVocabulary, phoneOfFrames } from '../data/alignments';
import { openCorpus, splitUse } from '../data/corpus';
import { hashText, Philox } from '../data/philox';
import { type Corpus, frameCount, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';
import { HubertModel } from '../nn/model';
import { hasRun, openRun } from '../train/run';
import { layerTeacher, mfccTeacher, type Teacher, writeLabelsOf } from '../train/teachers';

export interface ClusterCorpusOptions {
  /** What openCorpus takes. */
  corpus: string;
  /** Folder for centroids.safetensors, <split>.labels and <split>.km. */
  out: string;
  /** Number of clusters. */
  clusters: number;
  /** mfcc, or a layer (0: input of the transformer) of a run's or a model's folder. Default mfcc. */
  teacher?: 'mfcc' | { model: string; checkpoint?: string; layer: number };
  /** Share of the training utterances that the centroids are fitted on. Default 1. */
  share?: number;
  /** minibatch as HuBERT uses it, or full Lloyd iterations. Default minibatch. */
  method?: 'minibatch' | 'lloyd';
  /** Default 1. */
  seed?: number;
  /** CPU threads; 0 (default): all cores. */
  threads?: number;
  onProgress?: (progress: { phase: 'features' | 'fit' | 'labels'; done: number; of: number }) => void;
  signal?: AbortSignal;
}

export interface ClusterCorpusResult {
  folder: string;
  fingerprint: string;
  clusters: number;
  /** For each split with its number of utterances; `measures` where there are phone alignments. */
  splits: Record<string, { utterances: number; measures?: ClusteringMeasures }>;
}

/** @throws HK_CORPUS, HK_IO, HK_NAME (no such layer), HK_INTERRUPTED */
export async function clusterCorpus(o: ClusterCorpusOptions): Promise<ClusterCorpusResult> {
  await wrappedAsync((n) => n.setThreads(o.threads || os.availableParallelism()));
  const corpus = await openCorpus(o.corpus, { signal: o.signal });
  const tell = (phase: 'features' | 'fit' | 'labels', done: number, of: number) => {
    refuseWhenAborted(o.signal);
    o.onProgress?.({ phase, done, of });
  };
  await using teacher = await openTeacher(corpus, o);
  await fs.promises.mkdir(o.out, { recursive: true });
  const codebook = await fitCentroids(corpus, teacher, o, tell);
  await codebook.save(path.join(o.out, 'centroids.safetensors'));
  const splits: ClusterCorpusResult['splits'] = {};
  for (const [split, utterances] of bySplit(corpus)) {
    splits[split] = await labelSplit(split, utterances, codebook, teacher, o.out, tell);
  }
  return { folder: path.resolve(o.out), fingerprint: codebook.fingerprint, clusters: codebook.clusters, splits };
}

type Tell = (phase: 'features' | 'fit' | 'labels', done: number, of: number) => void;

async function openTeacher(corpus: Corpus, { teacher = 'mfcc', signal }: ClusterCorpusOptions): Promise<Teacher> {
  if (teacher === 'mfcc') return mfccTeacher({ corpus });
  const { model: source, checkpoint = 'latest', layer } = teacher;
  const folder = hasRun(source) ? openRun(source).checkpoint(checkpoint).folder : source;
  await using probe = await HubertModel.load(folder);
  const { config } = probe;
  if (!(Number.isInteger(layer) && layer >= 0 && layer <= config.layers))
    throw new HubertkitError(
      'HK_NAME',
      `The model has layers 0 (transformer input) to ${config.layers}, got ${layer}.`,
    );
  const host = {
    device: 'cpu',
    speech: new SpeechSource(config),
    model: config,
    config: { batchSeconds: 60 },
    refuseWhenAborted: () => refuseWhenAborted(signal),
  };
  return layerTeacher(host, folder, layer);
}

async function fitCentroids(corpus: Corpus, teacher: Teacher, o: ClusterCorpusOptions, tell: Tell): Promise<Codebook> {
  const { clusters, seed = 1, share = 1, method, signal } = o;
  const train = corpus.utterances.filter(({ split }) => splitUse(split) === 'train');
  const rank = ({ id }: Utterance) => new Philox(seed, 0, hashText(id)).uniform();
  const chosen = (train.length ? train : corpus.utterances).filter((utterance) => rank(utterance) <= share);
  async function* rows() {
    let done = 0;
    for await (const features of teacher.features(chosen)) {
      tell('features', ++done, chosen.length);
      yield features.rows;
    }
  }
  const onProgress = ({ phase, iteration, total }: { phase: string; iteration: number; total: number }) =>
    phase !== 'reading' && tell('fit', iteration, total);
  const centroids = await fitKmeans(rows(), { clusters, dim: teacher.dim, seed, method, signal, onProgress });
  return new Codebook(centroids, teacher.kind);
}

async function labelSplit(
  split: string,
  utterances: Utterance[],
  codebook: Codebook,
  teacher: Teacher,
  out: string,
  tell: Tell,
) {
  const file = path.join(out, `${split.replaceAll('/', '-')}.labels`);
  await writeLabelsOf(teacher, utterances, codebook, file, (done) => tell('labels', done, utterances.length));
  const labels = await readLabels(file);
  const labelled = utterances.filter(({ id }) => labels.units.has(id));
  await writeKm(
    file.replace(/labels$/, 'km'),
    labels,
    labelled.map(({ id }) => id),
  );
  const aligned = labelled.filter(({ phones }) => phones);
  const symbols = labelVocabulary(aligned, 'phones');
  if (!symbols.length) return { utterances: labelled.length };
  const counts = new Contingency(symbols.length, codebook.clusters);
  for (const utterance of aligned) {
    const frames = frameCount(utterance.samples);
    counts.add(phoneOfFrames(utterance, frames, symbols), labels.forFrames(utterance.id, frames));
  }
  return { utterances: labelled.length, measures: counts.measures() };
}

function bySplit({ utterances }: Corpus): Map<string, Utterance[]> {
  const splits = new Map<string, Utterance[]>();
  for (const utterance of utterances) splits.set(utterance.split, [...(splits.get(utterance.split) ?? []), utterance]);
  return splits;
}

function refuseWhenAborted(signal: AbortSignal | undefined): void {
  if (signal?.aborted)
    throw new HubertkitError('HK_INTERRUPTED', 'The clustering was interrupted.', { cause: signal.reason });
}
