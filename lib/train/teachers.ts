/** Teachers: whose features are clustered into labels. MFCCs first, then a layer of the final model of the iteration before. */
import { lengthBuckets } from '../analysis/speech';
import { type Codebook, type FeatureKind, writeLabels } from '../cluster';
import { audioReason, mfcc } from '../data/audio';
import { loadWaveform } from '../data/corpus';
import { frameCount, type Utterance } from '../data/types';
import { toHubertkitError } from '../binding';
import type { BatchShape } from '../nn/hubert';
import { HubertModel } from '../nn/model';
import type { SpeechInput } from '../nn/steps';
import { ahead } from './ahead';
import type { Session } from './session';
import { type Piece, type Shape, speechBatch } from './speech';

/** The rows of an utterance, row-major. */
export interface Features {
  utterance: Utterance;
  rows: Float32Array;
}

export interface Teacher extends AsyncDisposable {
  kind: FeatureKind;
  /** Rows, and so labels, per second. */
  rate: 50 | 100;
  dim: number;
  /** Rows of each utterance, in the order given or in that of their lengths; those that cannot be decoded are left out. */
  features(utterances: readonly Utterance[]): AsyncGenerator<Features>;
  /** Clusters of those rows. */
  labels(utterances: readonly Utterance[], codebook: Codebook): AsyncGenerator<[id: string, labels: Int32Array]>;
}

/** Writes the labels that `teacher` gives to utterances with a codebook of its own; `onLabelled` hears of each. */
export async function writeLabelsOf(
  teacher: Teacher,
  utterances: readonly Utterance[],
  codebook: Codebook,
  file: string,
  onLabelled: (done: number) => void,
): Promise<void> {
  async function* entries() {
    let done = 0;
    for await (const entry of teacher.labels(utterances, codebook)) {
      onLabelled(++done);
      yield entry;
    }
  }
  const { fingerprint, clusters } = codebook;
  await writeLabels(file, { ...teacher.kind, fingerprint, clusters, rate: teacher.rate }, entries());
}

/** What a layer teacher needs of the run it works for. */
export type TeacherHost = Pick<Session, 'device' | 'speech' | 'refuseWhenAborted'> & {
  config: Pick<Session['config'], 'batchSeconds'>;
  model: Pick<Session['model'], 'frontEnd'>;
};

/** 39 Kaldi MFCCs at 100 Hz. Audio that cannot be decoded turns up here: it is added to the corpus's skipped files. */
export function mfccTeacher({ corpus }: Pick<Session, 'corpus'>): Teacher {
  const read = async (utterance: Utterance): Promise<Features | undefined> => {
    try {
      return { utterance, rows: (await mfcc(await loadWaveform(utterance))).data };
    } catch (error) {
      const { code } = toHubertkitError(error);
      if (code !== 'HK_AUDIO') throw error;
      const { path } = utterance;
      if (!corpus.skipped.some((known) => known.path === path))
        corpus.skipped.push({ path, reason: audioReason(path, error), code });
      return undefined;
    }
  };
  async function* features(utterances: readonly Utterance[]) {
    for await (const found of ahead(utterances, read)) if (found) yield found;
  }
  return {
    kind: { feature: 'mfcc', layer: null },
    rate: 100,
    dim: 39,
    features,
    async *labels(utterances, codebook) {
      for await (const { utterance, rows } of features(utterances))
        yield [utterance.id, (await codebook.assign(rows)).labels];
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** Longer utterances are heard in parts of equal length, at most so many frames: 60 s. */
const maxPieceFrames = 3000;

/** Hidden states of a model in eval mode, nothing masked: layer 0 is the transformer's input, layer l the output of block l. */
export async function layerTeacher(session: TeacherHost, folder: string, layer: number): Promise<Teacher> {
  const model = await HubertModel.load(folder, { device: session.device });
  const dim = model.config.hiddenSize;
  const { batchSeconds } = session.config;

  /** What `run` gives for each frame, `width` numbers, put together for each utterance. */
  async function* overBatches<T extends Float32Array | Int32Array>(
    utterances: readonly Utterance[],
    width: number,
    run: (shape: BatchShape, input: SpeechInput) => Promise<T>,
  ): AsyncGenerator<[Utterance, T]> {
    const unfinished = new Map<string, T[]>();
    const load = async (batch: PartBatch) => ({
      ...batch,
      input: await speechBatch(session.speech, session.model.frontEnd, batch.parts, batch.shape),
    });
    for await (const { parts, shape, input } of ahead(partBatches(utterances, batchSeconds), load)) {
      session.refuseWhenAborted();
      const frames = await run(shape, input);
      for (const [row, { utterance, index, of }] of parts.entries()) {
        const begin = row * shape.frames * width;
        const known = unfinished.get(utterance.id) ?? [];
        known[index] = frames.slice(begin, begin + input.frameLengths[row] * width) as T;
        unfinished.set(utterance.id, known);
        if (known.filter(Boolean).length < of) continue;
        unfinished.delete(utterance.id);
        yield [utterance, joined(known)];
      }
    }
  }

  return {
    kind: { feature: 'layer', layer },
    rate: 50,
    dim,
    async *features(utterances) {
      const run = async (shape: BatchShape, input: SpeechInput) =>
        (await model.extracting(shape, { layers: [layer] }).run(input)).get(layer)!;
      for await (const [utterance, rows] of overBatches(utterances, dim, run)) yield { utterance, rows };
    },
    async *labels(utterances, { clusters, centroids }) {
      const run = (shape: BatchShape, input: SpeechInput) =>
        model.assigning(shape, { layer, clusters }).run(input, centroids);
      for await (const [{ id }, labels] of overBatches(utterances, 1, run)) yield [id, labels];
    },
    [Symbol.asyncDispose]: () => model[Symbol.asyncDispose](),
  };
}

/** Part `index` of the `of` parts of an utterance. */
interface Part extends Piece {
  index: number;
  of: number;
}

interface PartBatch {
  shape: Shape;
  parts: Part[];
}

/** Whole utterances, the very long ones in parts, in batches of similar length. */
function partBatches(utterances: readonly Utterance[], batchSeconds: number): PartBatch[] {
  const all = utterances.flatMap((utterance) => {
    const frames = frameCount(utterance.samples);
    const of = Math.ceil(frames / maxPieceFrames);
    const start = (index: number) => Math.floor((index * frames) / of);
    return Array.from(
      { length: of },
      (_, index): Part => ({ utterance, start: start(index), frames: start(index + 1) - start(index), index, of }),
    );
  });
  return lengthBuckets(all, batchSeconds).flatMap(({ members, ...shape }) =>
    Array.from({ length: Math.ceil(members.length / shape.batch) }, (_, i) => ({
      shape,
      parts: members.slice(i * shape.batch, (i + 1) * shape.batch),
    })),
  );
}

function joined<T extends Float32Array | Int32Array>(parts: T[]): T {
  if (parts.length === 1) return parts[0];
  const length = parts.reduce((sum, part) => sum + part.length, 0);
  const whole = new (parts[0].constructor as new (length: number) => T)(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
