/** One audio file, and the spectral features of one waveform. All of it runs on worker threads of the native core. */
import { wrappedAsync } from '../binding';
import { HubertkitError } from '../errors';
import { frameCount, sampleRate } from './types';

export interface AudioInfo {
  /** Length at the file's own rate as its header says; undefined when the header legally leaves it open (pipes). */
  frames?: number;
  /** Hz. */
  sampleRate: number;
  channels: number;
  /** For people: "FLAC (Free Lossless Audio Codec), Signed 16 bit PCM". */
  format: string;
}

export interface DecodedAudio {
  /** 16 kHz mono, full scale +-1 (float files may go beyond; then there is a warning). */
  samples: Float32Array;
  /** Hz, before resampling. */
  sourceRate: number;
  channels: number;
  /** Decoded frames at the source's rate. */
  sourceFrames: number;
  format: string;
  /** Legal but worth knowing: open length, all zero, beyond full scale. */
  warnings: string[];
}

/** Rows of numbers, row-major. */
export interface FeatureMatrix {
  rows: number;
  columns: number;
  data: Float32Array;
}

/**
 * Reads the header of an audio file (found by content, not by extension). Cheap: nothing is decoded.
 * Throws HK_AUDIO: cannot be opened, not audio, no data, absurd rate or channel count, fewer bytes than claimed.
 */
export async function probeAudio(path: string): Promise<AudioInfo> {
  const { frames, sampleRate, channels, format } = await wrappedAsync((n) => n.probeAudio(path));
  return { frames: frames < 0 ? undefined : frames, sampleRate, channels, format };
}

/**
 * Decodes a file to 16 kHz mono: channels are averaged, other rates resampled (soxr, high quality). Throws HK_AUDIO with the
 * path and the reason: what {@link probeAudio} throws, and empty, shorter than 400 samples at 16 kHz, longer than `maxSeconds`,
 * truncated or with fewer frames than the header claims, damaged, samples that are not finite.
 * @param options.maxSeconds default 14400 (4 h), 1 to 1000000
 */
export async function decodeAudio(path: string, options: { maxSeconds?: number } = {}): Promise<DecodedAudio> {
  const decoded = await wrappedAsync((n) => n.decodeAudio(path, options.maxSeconds ?? 14400));
  const { samples, sampleRate: sourceRate, channels, frames: sourceFrames, format, warnings } = decoded;
  return { samples, sourceRate, channels, sourceFrames, format, warnings };
}

/** The reason inside an HK_AUDIO message, without the path. */
export function audioReason(path: string, error: unknown): string {
  const { message } = error as Error;
  return message.startsWith(`${path}: `) ? message.slice(path.length + 2) : message;
}

/**
 * Kaldi MFCCs, the first teacher of HuBERT: [floor((samples - 400) / 160) + 1, 39] at 100 Hz. 13 cepstra (C0 instead of the
 * energy, lifter 22) of 23 mel filters, their deltas (window 5, edges repeated) and the deltas of those; no mean or variance
 * normalisation. As torchaudio.compliance.kaldi.mfcc(use_energy=False, dither=0) with compute_deltas twice (fairseq's
 * dump_mfcc_feature). MFCC frame 2i sees the same samples as frame i of the model.
 */
export async function mfcc(samples: Float32Array): Promise<FeatureMatrix> {
  const data = await wrappedAsync((n) => n.mfcc(samples));
  return { rows: data.length / 39, columns: 39, data };
}

/**
 * Kaldi log-mel filter bank energies (natural logarithm, floor 2^-23).
 * @param options.filters default 80, 1 to 128
 * @param options.framesPerSecond 100 (default), or 50: frame i sees the same samples as frame i of the model
 */
export async function logMel(
  samples: Float32Array,
  options: { filters?: number; framesPerSecond?: 50 | 100 } = {},
): Promise<FeatureMatrix> {
  const { filters = 80, framesPerSecond = 100 } = options;
  if (framesPerSecond !== 50 && framesPerSecond !== 100) {
    throw new HubertkitError('HK_ARGUMENT', `framesPerSecond is ${framesPerSecond}, expected 50 or 100.`);
  }
  const data = await wrappedAsync((n) => n.logMel(samples, filters, sampleRate / framesPerSecond));
  return { rows: data.length / filters, columns: filters, data };
}

/** Numbers per frame of the mel front end: two frames of 40 filters. */
export const melFrontEndColumns = 80;

/**
 * The input of the mel front end (after MelHuBERT, 2211.09944): 40 log-mel filters at 100 Hz, two frames stacked: row i holds
 * mel frames 2i and 2i + 1, so that it starts at sample 320 i like frame i of the waveform model. Each of the 40 filters is
 * normalised to zero mean and unit variance over the utterance. [floor((samples - 400) / 320) + 1, 80]; where the waveform ends
 * before frame 2i + 1 is complete, frame 2i stands in for it.
 */
export async function melFrontEnd(samples: Float32Array): Promise<FeatureMatrix> {
  const filters = melFrontEndColumns / 2;
  const mel = await logMel(samples, { filters });
  normalizeColumns(mel);
  const rows = frameCount(samples.length);
  const data = new Float32Array(rows * melFrontEndColumns);
  for (let row = 0; row < rows; row++) {
    const second = Math.min(2 * row + 1, mel.rows - 1);
    data.set(mel.data.subarray(2 * row * filters, (2 * row + 1) * filters), row * melFrontEndColumns);
    data.set(mel.data.subarray(second * filters, (second + 1) * filters), row * melFrontEndColumns + filters);
  }
  return { rows, columns: melFrontEndColumns, data };
}

/** Zero mean, unit variance of each column, in place; a column that does not vary becomes zero. */
function normalizeColumns({ rows, columns, data }: FeatureMatrix): void {
  const sums = new Float64Array(columns);
  const squares = new Float64Array(columns);
  for (let i = 0; i < data.length; i++) sums[i % columns] += data[i];
  for (let i = 0; i < data.length; i++) squares[i % columns] += (data[i] - sums[i % columns] / rows) ** 2;
  const scales = squares.map((sum) => 1 / Math.sqrt(sum / rows + 1e-5));
  for (let i = 0; i < data.length; i++) data[i] = (data[i] - sums[i % columns] / rows) * scales[i % columns];
}
