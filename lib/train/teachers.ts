/** Teachers: whose features are clustered into labels. MFCCs first, then a layer of the final model of the iteration before. */
import { lengthBuckets } from '../analysis/speech';
import type { Codebook, FeatureKind } from '../cluster';
import { mfcc } from '../data/audio';
import { audioReason } from '../data/audio';
import { loadWaveform } from '../data/corpus';
import { frameCount, type Utterance } from '../data/types';
import { toHubertkitError } from '../binding';
import { HubertModel } from '../nn/model';
import { ahead } from './ahead';
import type { Session } from './session';
import { type Piece, speechBatch } from './speech';

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

/** 39 Kaldi MFCCs at 100 Hz. Audio that cannot be decoded turns up here: it is added to the corpus's skipped files. */
export function mfccTeacher({ corpus }: Session): Teacher {
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
      for await (const { utterance, rows } of features(utterances)) yield [utterance.id, (await codebook.assign(rows)).labels];
    },
    async [Symbol.asyncDispose]() {},
  };
}

/** Longer utterances are heard in parts of equal length, at most so many frames: 60 s. */
const maxPieceFrames = 3000;

/** Hidden states of a model in eval mode, nothing masked: layer 0 is the transformer's input, layer l the output of block l. */
export async function layerTeacher(session: Session, folder: string, layer: number): Promise<Teacher> {
  const model = await HubertModel.load(folder, { device: session.device });
  const dim = model.config.hiddenSize;
  const { batchSeconds } = session.config;

  async function* overBatches<T extends Float32Array | Int32Array>(
    utterances: readonly Utterance[],
    width: number,
    empty: (length: number) => T,
    run: (shape: { batch: number; samples: number }, input: Awaited<ReturnType<typeof speechBatch>>) => Promise<T>,
  ): AsyncGenerator<[Utterance, T]> {
    const parts = new Map<string, T[]>();
    const batches = pieceBatches(utterances, batchSeconds);
    const load = async (batch: PieceBatch) => {
      const input = await speechBatch(session.speech, session.model.frontEnd, batch.pieces, batch.shape);
      return { ...batch, input };
    };
    for await (const { pieces, shape, input } of ahead(batches, load)) {
      session.refuseWhenAborted();
      const result = await run(shape, input);
      for (const [row, { utterance, index, of }] of pieces.entries()) {
        const begin = row * shape.frames * width;
        const own = result.slice(begin, begin + input.frameLengths[row] * width) as T;
        const known = parts.get(utterance.id) ?? [];
        known[index] = own;
        parts.set(utterance.id, known);
        if (known.filter(Boolean).length < of) continue;
        parts.delete(utterance.id);
        yield [utterance, of === 1 ? own : joined(known, empty)];
      }
    }
  }

  return {
    kind: { feature: 'layer', layer },
    rate: 50,
    dim,
    async *features(utterances) {
      const run = async (shape: { batch: number; samples: number }, input: Awaited<ReturnType<typeof speechBatch>>) =>
        (await model.extracting(shape, { layers: [layer] }).run(input)).get(layer)!;
      for await (const [utterance, rows] of overBatches(utterances, dim, (n) => new Float32Array(n), run)) yield { utterance, rows };
    },
    async *labels(utterances, { clusters, centroids }) {
      const run = (shape: { batch: number; samples: number }, input: Awaited<ReturnType<typeof speechBatch>>) =>
        model.assigning(shape, { layer, clusters }).run(input, centroids);
      for await (const [{ id }, labels] of overBatches(utterances, 1, (n) => new Int32Array(n), run)) yield [id, labels];
    },
    [Symbol.asyncDispose]: () => model[Symbol.asyncDispose](),
  };
}

/** Part `index` of the `of` parts of an utterance. */
interface Part extends Piece {
  index: number;
  of: number;
}

interface PieceBatch {
  shape: { batch: number; samples: number; frames: number };
  pieces: Part[];
}

/** Whole utterances, the very long ones in parts, in batches of similar length. */
function pieceBatches(utterances: readonly Utterance[], batchSeconds: number): PieceBatch[] {
  const parts = utterances.flatMap((utterance) => {
    const frames = frameCount(utterance.samples);
    const of = Math.ceil(frames / maxPieceFrames);
    const start = (index: number) => Math.floor((index * frames) / of);
    return Array.from({ length: of }, (_, index): Part => ({ utterance, start: start(index), frames: start(index + 1) - start(index), index, of }));
  });
  return lengthBuckets(parts, batchSeconds).flatMap(({ members, ...shape }) =>
    Array.from({ length: Math.ceil(members.length / shape.batch) }, (_, i) => ({
      shape,
      pieces: members.slice(i * shape.batch, (i + 1) * shape.batch),
    })),
  );
}

function joined<T extends Float32Array | Int32Array>(parts: T[], empty: (length: number) => T): T {
  const whole = empty(parts.reduce((sum, part) => sum + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
