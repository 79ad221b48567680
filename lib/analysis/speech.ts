/** Batches of whole utterances as a model's front end takes them, decoded once and kept in memory. */
import { melFrontEnd } from '../data/audio';
import { loadWaveform } from '../data/corpus';
import { frameCount, frameSamples, frameStride, sampleRate, type Utterance } from '../data/types';
import type { HubertConfig } from '../nn/config';
import type { SpeechInput } from '../nn/steps';
import { speechBatch } from '../train/speech';

/** Rows of one padded length. */
export interface SpeechShape {
  batch: number;
  /** Samples of each row. */
  samples: number;
  frames: number;
}

export class SpeechSource {
  private readonly kept = new Map<string, Float32Array>();
  private bytes = 0;

  /** @param memoryMiB what may be kept; utterances beyond it are decoded again each time. Default 1024. */
  constructor(
    private readonly config: Pick<HubertConfig, 'frontEnd' | 'normalizeWaveform'>,
    private readonly memoryMiB = 1024,
  ) {}

  /** f32 [samples] at 16 kHz, or f32 [frames, 80] for the mel front end. */
  async load(utterance: Utterance): Promise<Float32Array> {
    const known = this.kept.get(utterance.id);
    if (known) return known;
    const waveform = await loadWaveform(utterance);
    const speech = this.config.frontEnd === 'mel' ? (await melFrontEnd(waveform)).data : this.normalised(waveform);
    if (this.bytes + speech.byteLength <= this.memoryMiB * 2 ** 20 && !this.kept.has(utterance.id)) {
      this.kept.set(utterance.id, speech);
      this.bytes += speech.byteLength;
    }
    return speech;
  }

  /** Whole utterances, each padded to the length of `shape` (see {@link speechBatch}). */
  batch(utterances: readonly Utterance[], shape: SpeechShape): Promise<SpeechInput> {
    const pieces = utterances.map((utterance) => ({ utterance, start: 0, frames: frameCount(utterance.samples) }));
    return speechBatch(this, this.config.frontEnd, pieces, shape);
  }

  private normalised(waveform: Float32Array): Float32Array {
    if (!this.config.normalizeWaveform) return waveform;
    let sum = 0;
    for (const value of waveform) sum += value;
    const mean = sum / waveform.length;
    let squares = 0;
    for (const value of waveform) squares += (value - mean) ** 2;
    const scale = 1 / Math.sqrt(squares / waveform.length + 1e-5);
    return waveform.map((value) => (value - mean) * scale);
  }
}

/** Something with a length in frames, to be batched with others of similar length. */
export interface Timed {
  utterance: Utterance;
  frames: number;
}

export interface Bucket<T extends Timed> extends SpeechShape {
  members: T[];
}

/** A program is compiled for each shape: at most this many. */
const maxBuckets = 4;

/**
 * Sorts by length and cuts where the padding is least: dynamic programming over at most 4 buckets, each padded to its longest
 * member, a whole number of frames. A batch has at most `batchSeconds` of padded audio, and at least one utterance.
 */
export function lengthBuckets<T extends Timed>(items: readonly T[], batchSeconds: number): Bucket<T>[] {
  const sorted = [...items].sort((a, b) => a.frames - b.frames || (a.utterance.id < b.utterance.id ? -1 : 1));
  const cuts = cheapestCuts(sorted.map(({ frames }) => frames));
  return cuts.map((end, i) => {
    const members = sorted.slice(i === 0 ? 0 : cuts[i - 1], end);
    const frames = members[members.length - 1].frames;
    const samples = frames * frameStride + (frameSamples - frameStride);
    const fitting = Math.max(1, Math.floor((batchSeconds * sampleRate) / samples));
    return { batch: Math.min(fitting, members.length), samples, frames, members };
  });
}

/** Ends of the groups of sorted lengths that minimise the padded total, tried at up to 64 evenly spaced positions. */
function cheapestCuts(lengths: readonly number[]): number[] {
  const steps = Math.min(64, lengths.length);
  if (steps === 0) return [];
  const ends = Array.from({ length: steps }, (_, i) => Math.round(((i + 1) * lengths.length) / steps));
  const cost = (from: number, to: number) => (to - from) * lengths[to - 1];
  let best = ends.map((end) => ({ total: cost(0, end), cuts: [end] }));
  for (let g = 1; g < maxBuckets; g++) {
    best = ends.map((end, i) => {
      let choice = best[i];
      for (let j = 0; j < i; j++) {
        const total = best[j].total + cost(ends[j], end);
        if (total < choice.total) choice = { total, cuts: [...best[j].cuts, end] };
      }
      return choice;
    });
  }
  return best[best.length - 1].cuts;
}

/** Every member exactly once; the members of a last batch may be fewer than its rows. */
export function* batchesOf<T extends Timed>(
  buckets: readonly Bucket<T>[],
): Generator<{ bucket: Bucket<T>; members: T[] }> {
  for (const bucket of buckets) {
    for (let start = 0; start < bucket.members.length; start += bucket.batch) {
      yield { bucket, members: bucket.members.slice(start, start + bucket.batch) };
    }
  }
}
