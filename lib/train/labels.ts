/**
 * The labels of an iteration: a teacher's features of (a share of) the training utterances -> centroids -> nearest centroid of
 * every frame of the training and the validation utterances, with the same centroids for both. In the run folder:
 * iteration-N/centroids.safetensors and iteration-N/labels/{train,valid}.labels, each whole or absent, so that an interrupted
 * relabelling goes on with what is missing.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { Codebook, fitKmeans, type LabelSet, readLabels } from '../cluster';
import { hashText, Philox } from '../data/philox';
import { frameCount, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';
import type { Labelled } from './batches';
import type { IterationConfig } from './config';
import { type Session, totalSeconds } from './session';
import { layerTeacher, mfccTeacher, type Teacher, writeLabelsOf } from './teachers';

export interface IterationLabels {
  train: Labelled[];
  valid: Labelled[];
  clusters: number;
  /** Clusters that occur among the training labels. */
  activeClusters: number;
  /** Entropy of the training labels. */
  unigramBits: number;
  /** Audio that a model was run over for them; 0 for MFCC. */
  audioSeconds: number;
}

type Split = 'train' | 'valid';

/** Makes the labels of an iteration, or reads what an earlier call has made. @throws HK_CORPUS too much audio is unusable */
export async function makeLabels(
  session: Session,
  iteration: number,
  entry: IterationConfig,
): Promise<IterationLabels> {
  await using teachers = new LazyTeacher(() => openTeacher(session, iteration, entry));
  const report = progressOf(session, iteration, entry);
  const codebook = await centroidsOf(session, iteration, entry, teachers, report);
  const sets = {
    train: await labelsOf(session, iteration, 'train', codebook, teachers, report),
    valid: await labelsOf(session, iteration, 'valid', codebook, teachers, report),
  };
  const train = labelled(session.train, sets.train);
  const valid = labelled(session.valid, sets.valid);
  const { activeClusters, unigramBits } = distribution(train, entry.clusters);
  if (activeClusters < 2)
    throw new HubertkitError(
      'HK_CORPUS',
      `All ${train.length} training utterances have one and the same label: there is nothing to learn. Is the audio silent?`,
    );
  const heard = [...fitUtterances(session, entry), ...[...train, ...valid].map(({ utterance }) => utterance)];
  const frames = train.reduce((sum, { labels }) => sum + labels.length, 0);
  const { clusters } = entry;
  session.onProgress({
    kind: 'labelled',
    iteration,
    clusters,
    activeClusters,
    unigramBits,
    utterances: train.length,
    frames,
  });
  const audioSeconds = entry.teacher === 'mfcc' ? 0 : totalSeconds(heard);
  return { train, valid, clusters, activeClusters, unigramBits, audioSeconds };
}

/** A teacher that is made when it is first needed, and disposed if it was. */
class LazyTeacher implements AsyncDisposable {
  private teacher?: Promise<Teacher>;

  constructor(private readonly open: () => Promise<Teacher>) {}

  get(): Promise<Teacher> {
    this.teacher ??= this.open();
    return this.teacher;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await (await this.teacher)?.[Symbol.asyncDispose]();
  }
}

async function openTeacher(session: Session, iteration: number, { teacher }: IterationConfig): Promise<Teacher> {
  if (teacher === 'mfcc') return mfccTeacher(session);
  return layerTeacher(session, session.finalCheckpoint(iteration - 1).folder, teacher.layer);
}

type Report = (phase: 'features' | 'fit' | 'assign', done: number, of: number) => void;

function progressOf(session: Session, iteration: number, entry: IterationConfig): Report {
  return (phase, done, of) => {
    session.refuseWhenAborted();
    session.onProgress({ kind: 'labels', iteration, entry, phase, done, of });
  };
}

/** Reads the centroids of an iteration, or fits them to the teacher's features of a share of the training utterances. */
async function centroidsOf(
  session: Session,
  iteration: number,
  entry: IterationConfig,
  teachers: LazyTeacher,
  report: Report,
): Promise<Codebook> {
  const file = path.join(session.iterationFolder(iteration), 'centroids.safetensors');
  if (fs.existsSync(file)) return Codebook.load(file);
  const teacher = await teachers.get();
  const chosen = fitUtterances(session, entry);
  const { kmeans } = session.config;
  async function* rows() {
    let done = 0;
    for await (const features of teacher.features(chosen)) {
      report('features', ++done, chosen.length);
      yield features.rows;
    }
  }
  const fit = await fitKmeans(rows(), {
    clusters: entry.clusters,
    dim: teacher.dim,
    seed: entry.seed,
    nInit: kmeans.initialisations,
    maxIterations: kmeans.maxIterations,
    batchSize: kmeans.batchSize,
    maxNoImprovement: kmeans.patience,
    memoryBytes: kmeans.memoryMiB * 2 ** 20,
    device: session.device,
    onProgress: ({ phase, iteration: done, total }) => phase !== 'reading' && report('fit', done, total),
  });
  await session.reportSkippedFiles();
  const codebook = new Codebook(fit, teacher.kind);
  await codebook.save(file);
  return codebook;
}

/** A share of the training utterances, at least one; which ones does not depend on the others. */
function fitUtterances(session: Session, { seed }: IterationConfig): Utterance[] {
  const train = session.usable('train');
  const rank = (utterance: Utterance) => new Philox(seed, 0, hashText(utterance.id)).uniform();
  const { share } = session.config.kmeans;
  const chosen = train.filter((utterance) => rank(utterance) <= share);
  return chosen.length > 0 ? chosen : train.slice(0, 1);
}

/** Reads the labels of a split, or makes them. @throws HK_MISMATCH when they belong to other centroids */
async function labelsOf(
  session: Session,
  iteration: number,
  split: Split,
  codebook: Codebook,
  teachers: LazyTeacher,
  report: Report,
): Promise<LabelSet> {
  const file = path.join(session.iterationFolder(iteration), 'labels', `${split}.labels`);
  const utterances = session.usable(split);
  if (!fs.existsSync(file)) {
    const onLabelled = (done: number) => report('assign', done, utterances.length);
    await writeLabelsOf(await teachers.get(), utterances, codebook, file, onLabelled);
    await session.reportSkippedFiles();
  }
  const labels = await readLabels(file);
  labels.expect({ fingerprint: codebook.fingerprint, clusters: codebook.clusters });
  return labels;
}

/** The utterances that have labels, with one for each frame; the others are those that could not be decoded. */
function labelled(utterances: readonly Utterance[], set: LabelSet): Labelled[] {
  return utterances
    .filter(({ id }) => set.units.has(id))
    .map((utterance) => {
      const labels = set.forFrames(utterance.id, frameCount(utterance.samples));
      return { utterance, labels: labels.at(-1) === -1 ? labels.subarray(0, -1) : labels };
    });
}

function distribution(all: readonly Labelled[], clusters: number): { activeClusters: number; unigramBits: number } {
  const counts = new Float64Array(clusters);
  for (const { labels } of all) for (const label of labels) counts[label]++;
  const total = counts.reduce((sum, count) => sum + count, 0);
  const used = [...counts].filter((count) => count > 0);
  return {
    activeClusters: used.length,
    unigramBits: used.reduce((sum, count) => sum - (count / total) * Math.log2(count / total), 0),
  };
}
