/** Times 39-dimensional MFCC of one minute of noise, on one thread. */
import { mfcc } from '../data/audio';
import { median, pseudoRandom, round, timed } from './median';

export interface MfccBenchResult {
  audio_s: number;
  /** Median seconds. */
  mfcc_s: number;
  x_real_time: number;
}

/** One minute of noise, 16 kHz. */
export function noise(): Float32Array {
  const random = pseudoRandom(1);
  return Float32Array.from({ length: 60 * 16000 }, () => 0.2 * (random() - 0.5));
}

export async function benchMfcc(): Promise<MfccBenchResult> {
  const samples = noise();
  const audioSeconds = samples.length / 16000;
  const seconds = median(await timed(() => mfcc(samples), 9, 2));
  return { audio_s: audioSeconds, mfcc_s: round(seconds, 5), x_real_time: Math.round(audioSeconds / seconds) };
}
