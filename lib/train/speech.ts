/** Speech as batches take it: stretches of utterances, cut at frame boundaries, side by side in one array. */
import type { SpeechSource } from '../analysis/speech';
import { melFrontEndColumns } from '../data/audio';
import { frameCount, frameSamples, frameStride, sampleRate, type Utterance } from '../data/types';
import type { HubertConfig } from '../nn/config';
import type { SpeechInput } from '../nn/steps';

/** Frames [start, start + frames) of an utterance: samples 320 start .. 320 (start + frames) + 80. */
export interface Piece {
  utterance: Utterance;
  start: number;
  frames: number;
}

export interface Shape {
  batch: number;
  frames: number;
  /** Samples of each row: 320 frames + 80. */
  samples: number;
}

export function shapeOf(batch: number, frames: number): Shape {
  return { batch, frames, samples: samplesOf(frames) };
}

/** The fewest samples that give so many frames. */
export const samplesOf = (frames: number): number => frames * frameStride + (frameSamples - frameStride);

export const secondsOf = (frames: number): number => (frames * frameStride) / sampleRate;

/** Frames of so many seconds, at least 1. */
export const framesOf = (seconds: number): number => Math.max(1, frameCount(Math.round(seconds * sampleRate)));

/**
 * The speech of a batch. What lies behind the end of a shorter piece is the piece mirrored, not silence: the GroupNorm of the
 * extractor takes its moments over the whole row, and padding must not change them. Frame lengths say what is real; rows without
 * a piece are silent, with one frame that nothing reads.
 */
export async function speechBatch(
  source: SpeechSource,
  frontEnd: HubertConfig['frontEnd'],
  pieces: readonly Piece[],
  shape: Shape,
): Promise<SpeechInput> {
  const loaded = await Promise.all(pieces.map(({ utterance }) => source.load(utterance)));
  const frameLengths = new Int32Array(shape.batch).fill(1);
  const mel = frontEnd === 'mel';
  const unit = mel ? melFrontEndColumns : frameStride;
  const row = mel ? shape.frames * unit : shape.samples;
  const data = new Float32Array(shape.batch * row);
  pieces.forEach(({ start, frames }, r) => {
    const speech = loaded[r].subarray(start * unit);
    const available = mel ? speech.length / unit : frameCount(speech.length);
    frameLengths[r] = Math.min(frames, available, shape.frames);
    const used = speech.subarray(0, mel ? frameLengths[r] * unit : samplesOf(frameLengths[r]));
    const target = data.subarray(r * row, (r + 1) * row);
    target.set(used);
    if (!mel) mirror(target, used.length);
  });
  return { [mel ? 'mel' : 'waveform']: data, frameLengths };
}

/** Fills what follows the first `length` elements by going back and forth over them. */
function mirror(row: Float32Array, length: number): void {
  for (let i = length; i < row.length; i++) {
    const phase = i % (2 * length);
    row[i] = row[phase < length ? phase : 2 * length - 1 - phase];
  }
}
