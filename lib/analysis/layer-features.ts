/** Features of an evaluation set, gathered: hidden states of a model, and the spectral features they are compared with. */
import { logMel, mfcc } from '../data/audio';
import { loadWaveform } from '../data/corpus';
import type { HubertModel } from '../nn/model';
import { ahead } from '../train/ahead';
import type { PhonedUtterance } from './evaluation-set';
import { refuseWhenAborted } from './interrupt';
import { batchesOf, lengthBuckets, type SpeechSource } from './speech';

/** Rows of all utterances of a set, in their order: f32 [frames, dimensions]. */
export interface FrameMatrix {
  rows: number;
  dimensions: number;
  data: Float32Array;
}

/** Padded audio of a batch, in seconds. */
const batchSeconds = 30;

/**
 * Hidden states of some layers in eval mode, nothing masked, for each of several sets. A frame that the header promised and
 * decoding did not give repeats the one before it.
 */
export async function layerFeatures(
  model: HubertModel,
  layers: number[],
  sets: readonly (readonly PhonedUtterance[])[],
  speech: SpeechSource,
  signal?: AbortSignal,
): Promise<Map<number, FrameMatrix[]>> {
  const dimensions = model.config.hiddenSize;
  const starts = sets.map(offsets);
  const empty = (set: number) => matrix(starts[set].total, dimensions);
  const found = new Map(layers.map((layer) => [layer, sets.map((_, set) => empty(set))]));
  const all = sets.flatMap((set, s) => set.map((phoned) => ({ ...phoned, set: s, start: starts[s].of.get(phoned)! })));
  const load = async ({
    bucket,
    members,
  }: {
    bucket: { batch: number; samples: number; frames: number };
    members: typeof all;
  }) => {
    const utterances = members.map(({ utterance }) => utterance);
    return { bucket, members, input: await speech.batch(utterances, bucket) };
  };
  for await (const { bucket, members, input } of ahead(batchesOf(lengthBuckets(all, batchSeconds)), load)) {
    refuseWhenAborted(signal, 'The analysis');
    const states = await model.extracting({ batch: bucket.batch, samples: bucket.samples }, { layers }).run(input);
    members.forEach(({ set, start, frames }, row) => {
      for (const layer of layers) {
        const from = states
          .get(layer)!
          .subarray(row * bucket.frames * dimensions, (row + 1) * bucket.frames * dimensions);
        place(found.get(layer)![set], start, frames, from.subarray(0, input.frameLengths[row] * dimensions));
      }
    });
  }
  return found;
}

/** 39 MFCCs at the frames of the model (every second one of Kaldi's). */
export function mfccFeatures(set: readonly PhonedUtterance[]): Promise<FrameMatrix> {
  return spectralFeatures(set, 39, async (waveform) => {
    const { rows, data } = await mfcc(waveform);
    return Array.from({ length: Math.ceil(rows / 2) }, (_, i) => data.subarray(2 * i * 39, (2 * i + 1) * 39));
  });
}

/** 80 log-mel energies at the frames of the model. */
export function logMelFeatures(set: readonly PhonedUtterance[]): Promise<FrameMatrix> {
  return spectralFeatures(set, 80, async (waveform) => {
    const { rows, data } = await logMel(waveform, { framesPerSecond: 50 });
    return Array.from({ length: rows }, (_, i) => data.subarray(i * 80, (i + 1) * 80));
  });
}

async function spectralFeatures(
  set: readonly PhonedUtterance[],
  dimensions: number,
  rowsOf: (waveform: Float32Array) => Promise<Float32Array[]>,
): Promise<FrameMatrix> {
  const { of, total } = offsets(set);
  const found = matrix(total, dimensions);
  const load = async (phoned: PhonedUtterance) => ({
    phoned,
    rows: await rowsOf(await loadWaveform(phoned.utterance)),
  });
  for await (const { phoned, rows } of ahead(set, load)) {
    const flat = new Float32Array(rows.length * dimensions);
    rows.forEach((row, i) => {
      flat.set(row, i * dimensions);
    });
    place(found, of.get(phoned)!, phoned.frames, flat);
  }
  return found;
}

/** Copies an utterance's rows to its place; missing last ones repeat the last there is. */
function place(target: FrameMatrix, start: number, frames: number, rows: Float32Array): void {
  const { dimensions, data } = target;
  const available = Math.min(frames, rows.length / dimensions);
  data.set(rows.subarray(0, available * dimensions), start * dimensions);
  const last = rows.subarray((available - 1) * dimensions, available * dimensions);
  for (let i = available; i < frames; i++) data.set(last, (start + i) * dimensions);
}

/** Every `step`-th row. */
export function everyNth({ rows, dimensions, data }: FrameMatrix, step: number): FrameMatrix {
  const chosen = matrix(Math.ceil(rows / step), dimensions);
  for (let i = 0; i < chosen.rows; i++) {
    chosen.data.set(data.subarray(i * step * dimensions, (i * step + 1) * dimensions), i * dimensions);
  }
  return chosen;
}

function matrix(rows: number, dimensions: number): FrameMatrix {
  return { rows, dimensions, data: new Float32Array(rows * dimensions) };
}

function offsets(set: readonly PhonedUtterance[]): { of: Map<PhonedUtterance, number>; total: number } {
  const of = new Map<PhonedUtterance, number>();
  let total = 0;
  for (const phoned of set) {
    of.set(phoned, total);
    total += phoned.frames;
  }
  return { of, total };
}

/** One array of all pieces, in their order. */
export function concatenated(pieces: readonly Float32Array[]): Float32Array {
  const whole = new Float32Array(pieces.reduce((sum, piece) => sum + piece.length, 0));
  let at = 0;
  for (const piece of pieces) {
    whole.set(piece, at);
    at += piece.length;
  }
  return whole;
}
