/** A few row lengths for utterances of many lengths: every length is a program to compile. */
import { HubertkitError } from '../errors';
import { frameSamples, frameStride, sampleRate } from './types';

export interface BatchShape {
  /** Rows. */
  batch: number;
  /** Samples of a row: 320 frames + 80, of which none is wasted. */
  samples: number;
  frames: number;
}

/** The waveform that gives exactly so many frames: 320 (frames - 1) + 400 samples. */
export function samplesOfFrames(frames: number): number {
  return frameStride * frames + (frameSamples - frameStride);
}

/** As many rows as fit into `batchSeconds` of audio, at least one. */
export function shapeOf(frames: number, batchSeconds: number): BatchShape {
  const samples = samplesOfFrames(frames);
  return { batch: Math.max(1, Math.floor((batchSeconds * sampleRate) / samples)), samples, frames };
}

/** The most frames that fit into so many seconds. Throws HK_ARGUMENT when not even one does. */
export function framesOfSeconds(seconds: number, name: string): number {
  const frames = Math.floor((seconds * sampleRate - (frameSamples - frameStride)) / frameStride);
  if (frames >= 1) return frames;
  throw new HubertkitError(
    'HK_ARGUMENT',
    `${name} is ${seconds} s, expected a finite number of at least 0.025 s (one frame).`,
  );
}

/** Lengths to crop to, ascending, at most `count`: see {@link leastWaste}. Padding counts twice. */
export function cropLengths(frames: readonly number[], count: number): number[] {
  return leastWaste(frames, count, 2);
}

/** Lengths to pad to, ascending, at most `count`; the last is the longest of `frames`. */
export function padLengths(frames: readonly number[], count: number): number[] {
  const mirrored = leastWaste(
    frames.map((length) => -length),
    count,
    Number.POSITIVE_INFINITY,
  );
  return mirrored.map((length) => -length).reverse();
}

/**
 * Chooses at most `count` of the values that occur, so that taking each value down to the nearest chosen one below it loses least;
 * values below the smallest chosen one are taken up to it, at `upWeight` times the difference. Dynamic programming over up to 64
 * evenly spaced values; exact when there are not more.
 */
function leastWaste(values: readonly number[], count: number, upWeight: number): number[] {
  const sorted = [...values].sort((a, b) => a - b);
  if (sorted.length === 0) return [];
  const choices = evenlySpaced(sorted, 64);
  const below = choices.map((choice) => prefix(sorted, choice));
  const total = prefix(sorted, Number.POSITIVE_INFINITY);
  /** Lost by the values from choice i up to `end` when they are taken down to choice i. */
  const down = (i: number, end: Prefix) => end.sum - below[i].sum - (end.count - below[i].count) * choices[i];
  let best = choices.map((choice, i) => ({
    waste: below[i].count === 0 ? 0 : upWeight * (below[i].count * choice - below[i].sum),
    chosen: [choice],
  }));
  let answer = { waste: Number.POSITIVE_INFINITY, chosen: [choices[0]] };
  for (let used = 1; used <= Math.max(1, count); used++) {
    for (const [i, { waste, chosen }] of best.entries()) {
      const whole = waste + down(i, total);
      if (whole < answer.waste) answer = { waste: whole, chosen };
    }
    best = choices.map((choice, i) => {
      let least = { waste: Number.POSITIVE_INFINITY, chosen: [choice] };
      for (let j = 0; j < i; j++) {
        const waste = best[j].waste + down(j, below[i]);
        if (waste < least.waste) least = { waste, chosen: [...best[j].chosen, choice] };
      }
      return least;
    });
  }
  return answer.chosen;
}

interface Prefix {
  count: number;
  sum: number;
}

/** Number and sum of the sorted values below `limit`. */
function prefix(sorted: readonly number[], limit: number): Prefix {
  let sum = 0;
  let count = 0;
  while (count < sorted.length && sorted[count] < limit) sum += sorted[count++];
  return { count, sum };
}

/** Different values at up to `most` evenly spaced places of a sorted list, its ends included. */
function evenlySpaced(sorted: readonly number[], most: number): number[] {
  const distinct = [...new Set(sorted)];
  const from = distinct.length <= most ? distinct : sorted;
  const places = Math.min(most, from.length);
  const step = (from.length - 1) / Math.max(1, places - 1);
  return [...new Set(Array.from({ length: places }, (_, i) => from[Math.round(i * step)]))];
}
