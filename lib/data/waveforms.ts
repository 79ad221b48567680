/** Decoded speech by utterance: loaded on worker threads, kept in memory as long as there is room. */
import { HubertkitError } from '../errors';
import { audioReason, melFrontEnd, melFrontEndColumns } from './audio';
import { checkSkipped, loadWaveform } from './corpus';
import { type Corpus, frameCount, type Utterance } from './types';

export interface WaveformStoreOptions {
  /** What may be kept in memory. Default 1 GiB: 4.6 hours of waveforms. Decoding again is cheap (FLAC at about 2000x real time). */
  memoryBytes?: number;
  /** What {@link WaveformStore.load} gives: `waveform` (default) f32 [samples], or `mel` f32 [frames, 80] (see melFrontEnd). */
  frontEnd?: 'waveform' | 'mel';
  /** Zero mean and unit variance over each utterance (the Large models; HubertConfig.normalizeWaveform). Default false. */
  normalizeWaveform?: boolean;
  /** {@link WaveformStore.tryLoad} refuses to go on when more than this share of the corpus is unusable. Default 0.1. */
  maxSkippedShare?: number;
}

/** The least recently used utterances make room for new ones. The arrays are shared: do not write to them. */
export class WaveformStore {
  readonly frontEnd: 'waveform' | 'mel';
  private readonly kept = new Map<string, Float32Array>(); // in order of use
  private readonly loading = new Map<string, Promise<Float32Array>>();
  private readonly failed = new Set<string>();
  private readonly memoryBytes: number;
  private bytes = 0;

  constructor(
    private readonly corpus: Corpus,
    private readonly options: WaveformStoreOptions = {},
  ) {
    this.frontEnd = options.frontEnd ?? 'waveform';
    this.memoryBytes = options.memoryBytes ?? 2 ** 30;
    if (!(this.memoryBytes >= 0)) {
      throw new HubertkitError('HK_ARGUMENT', `memoryBytes is ${this.memoryBytes}, expected a number of bytes from 0.`);
    }
  }

  /** Bytes held in memory. */
  get bytesKept(): number {
    return this.bytes;
  }

  /** Whether {@link load} gives mel frames instead of a waveform. */
  get mel(): boolean {
    return this.frontEnd === 'mel';
  }

  /** Frames of what {@link load} gave. */
  frames(speech: Float32Array): number {
    return this.mel ? speech.length / melFrontEndColumns : frameCount(speech.length);
  }

  /** The speech of an utterance. Calls that overlap decode once. Throws HK_AUDIO. */
  async load(utterance: Utterance): Promise<Float32Array> {
    const known = this.kept.get(utterance.id);
    if (known) {
      this.kept.delete(utterance.id);
      this.kept.set(utterance.id, known);
      return known;
    }
    const running = this.loading.get(utterance.id);
    if (running) return running;
    const started = this.decode(utterance).finally(() => this.loading.delete(utterance.id));
    this.loading.set(utterance.id, started);
    return started;
  }

  /**
   * As {@link load}, but a file that turns out unusable gives undefined and is added to the corpus's `skipped`, once. Throws
   * HK_CORPUS when by that too much of the corpus is unusable.
   */
  async tryLoad(utterance: Utterance): Promise<Float32Array | undefined> {
    if (this.failed.has(utterance.id)) return undefined;
    try {
      return await this.load(utterance);
    } catch (error) {
      if ((error as HubertkitError).code !== 'HK_AUDIO') throw error;
      this.markSkipped(utterance, error as HubertkitError);
      return undefined;
    }
  }

  private markSkipped(utterance: Utterance, error: HubertkitError): void {
    if (this.failed.has(utterance.id)) return;
    this.failed.add(utterance.id);
    const { path } = utterance;
    this.corpus.skipped.push({ path, reason: audioReason(path, error), code: error.code });
    checkSkipped(this.corpus, this.options.maxSkippedShare);
  }

  private async decode(utterance: Utterance): Promise<Float32Array> {
    const waveform = await loadWaveform(utterance);
    const speech = this.mel ? (await melFrontEnd(waveform)).data : this.normalised(waveform);
    this.keep(utterance.id, speech);
    return speech;
  }

  private keep(id: string, speech: Float32Array): void {
    if (speech.byteLength > this.memoryBytes) return;
    this.kept.set(id, speech);
    this.bytes += speech.byteLength;
    for (const [oldest, array] of this.kept) {
      if (this.bytes <= this.memoryBytes) break;
      this.kept.delete(oldest);
      this.bytes -= array.byteLength;
    }
  }

  private normalised(waveform: Float32Array): Float32Array {
    return this.options.normalizeWaveform ? normalizeWaveform(waveform) : waveform;
  }
}

/** (x - mean) / sqrt(variance + 1e-5) over the whole waveform, as the layer norm of fairseq's audio loader. */
export function normalizeWaveform(waveform: Float32Array): Float32Array {
  let sum = 0;
  for (const value of waveform) sum += value;
  const mean = sum / waveform.length;
  let squares = 0;
  for (const value of waveform) squares += (value - mean) ** 2;
  const scale = 1 / Math.sqrt(squares / waveform.length + 1e-5);
  return waveform.map((value) => (value - mean) * scale);
}
