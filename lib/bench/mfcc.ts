/** Times 39-dimensional MFCC of one minute of noise, on one thread. */
import { mfcc } from '../data/audio';
import { median, pseudoRandom, round, timed } from './median';

export interface MfccBenchResult {
  audio_s: number;
  /** Median seconds. */
  mfcc_s: number;
  x_real_time: number;
}

export async function benchMfcc(): Promise<MfccBenchResult> {
  const random = pseudoRandom(1);
  const audioSeconds = 60;
  const samples = Float32Array.from({ length: audioSeconds * 16000 }, () => 0.2 * (random() - 0.5));
  const seconds = median(await timed(() => mfcc(samples), 9, 2));
  return { audio_s: audioSeconds, mfcc_s: round(seconds, 5), x_real_time: Math.round(audioSeconds / seconds) };
}
