/** Batches for pretraining: endless, the same for the same seed, and continued exactly from a saved cursor. */
import { HubertkitError } from '../errors';
import { melFrontEndColumns } from './audio';
import { type BatchShape, cropLengths, framesOfSeconds, shapeOf } from './buckets';
import { drawMask, type MaskOptions, thinMask } from './masks';
import { hashText, Philox, type Seed } from './philox';
import { frameCount, frameStride, sampleRate, type Utterance } from './types';
import type { WaveformStore } from './waveforms';

/** The speech of a batch as a model's front end takes it, and what is known about each row. */
export interface SpeechBatch extends BatchShape {
  /** f32 [batch * samples], zero behind the end of a row; absent for the mel front end. */
  waveform?: Float32Array;
  /** f32 [batch * frames * 80], for the mel front end. */
  mel?: Float32Array;
  /** i32 [batch]: valid frames of each row. */
  frameLengths: Int32Array;
  /** i32 [batch * frames]; -1: no label (behind the end of a row). */
  labels: Int32Array;
  /** u8 [batch * frames]; 1: masked. */
  mask: Uint8Array;
  /** Audio in it, without padding. */
  audioSeconds: number;
}

/** Where in the endless sequence of batches one is. */
export interface Cursor {
  epoch: number;
  /** Of the next batch in its epoch. */
  index: number;
}

export interface PretrainBatch extends SpeechBatch {
  /** [batch]: whose speech each row is. */
  ids: string[];
  /** i32 [batch]: the frame of the utterance at which each row starts. */
  starts: Int32Array;
  maskedFrames: number;
  /** 0 for the first batch of epoch 0, then one more each. */
  number: number;
  /** Continue here after this batch. */
  cursor: Cursor;
}

export interface PretrainBatchOptions {
  utterances: readonly Utterance[];
  store: WaveformStore;
  /** Labels at 50 Hz of an utterance, i32 [its frames] (one more or less is tolerated). Absent: no labels (-1). */
  labels?: (id: string) => Int32Array | undefined;
  /** Audio in a batch: decides the rows of each shape. Above 0. */
  batchSeconds: number;
  /** Longer utterances are cropped. Default 15.6, at least 0.025. */
  maxSeconds?: number;
  /** Shorter utterances are left out. Default 4000 samples (0.25 s): room for two masked spans. */
  minSamples?: number;
  /** Different row lengths, each a program to compile. Default 4. */
  buckets?: number;
  mask?: MaskOptions;
  seed: Seed;
  /** Batches prepared ahead. Default 2. */
  depth?: number;
}

interface Bucket extends BatchShape {
  members: Utterance[];
}

interface Plan {
  bucket: Bucket;
  members: Utterance[];
}

interface Row {
  id: string;
  speech: Float32Array;
  labels?: Int32Array;
  start: number;
  frames: number;
}

/**
 * Utterances are put into a few buckets of equal row length (chosen so that least is lost): each is cropped to its bucket's
 * length at a random multiple of 320 samples, labels cut alike, so that no row is padded. Only utterances shorter than the
 * smallest bucket are padded with zeros (and have a smaller frameLengths). An epoch visits every bucket in a new order; the
 * utterances of a bucket that do not fill a last batch wait for another epoch, and a bucket with fewer utterances than rows
 * repeats some within the batch, cropped and masked differently.
 *
 * Order and crops depend on (seed, epoch, utterance), masks on (seed, batch number, utterance); nothing depends on timing. A file
 * that turns out unusable is recorded in the corpus's `skipped`, and another utterance of its bucket, drawn by the same seed,
 * takes its place.
 */
export class PretrainBatches {
  /** The shapes that will occur, shortest first, with the number of utterances of each. */
  readonly shapes: (BatchShape & { utterances: number })[];
  /** Batches of an epoch: always the same number. */
  readonly batchesPerEpoch: number;
  /** Utterances shorter than `minSamples`. */
  readonly leftOut: number;
  private readonly buckets: Bucket[];
  private planned?: { epoch: number; batches: Plan[] };

  constructor(private readonly options: PretrainBatchOptions) {
    const { utterances, minSamples = 4000, batchSeconds } = options;
    if (!(batchSeconds > 0)) {
      throw new HubertkitError('HK_ARGUMENT', `batchSeconds is ${batchSeconds}, expected a number above 0.`);
    }
    const long = utterances.filter(({ samples }) => samples >= minSamples && frameCount(samples) > 0);
    this.leftOut = utterances.length - long.length;
    if (long.length === 0) {
      const seconds = (minSamples / sampleRate).toFixed(2);
      const all = `${utterances.length} utterances, none of ${seconds} s or more`;
      throw new HubertkitError('HK_CORPUS', `There is nothing to train on: ${all}.`);
    }
    this.buckets = makeBuckets(long, options);
    this.shapes = this.buckets.map(({ members, ...shape }) => ({ ...shape, utterances: members.length }));
    this.batchesPerEpoch = this.buckets.reduce((sum, bucket) => sum + fullBatches(bucket), 0);
  }

  /** The batches from a cursor on (default: the beginning), prepared `depth` ahead. Throws HK_MISMATCH for a cursor beyond its epoch. */
  async *from(cursor: Cursor = { epoch: 0, index: 0 }): AsyncGenerator<PretrainBatch, never, void> {
    this.checkCursor(cursor);
    const ahead: Promise<PretrainBatch>[] = [];
    const depth = Math.max(1, this.options.depth ?? 2);
    let next = { ...cursor };
    for (;;) {
      while (ahead.length < depth) {
        const batch = this.make(next);
        batch.catch(() => {}); // reported when its turn comes
        ahead.push(batch);
        next = this.after(next);
      }
      yield await (ahead.shift() as Promise<PretrainBatch>);
    }
  }

  private checkCursor({ epoch, index }: Cursor): void {
    const whole = Number.isSafeInteger(epoch) && Number.isSafeInteger(index) && epoch >= 0 && index >= 0;
    if (whole && index < this.batchesPerEpoch) return;
    throw new HubertkitError(
      'HK_MISMATCH',
      `The cursor (epoch ${epoch}, batch ${index}) does not fit: an epoch has ${this.batchesPerEpoch} batches. ` +
        'Did the corpus or the batch settings change since it was saved?',
    );
  }

  private after({ epoch, index }: Cursor): Cursor {
    return index + 1 < this.batchesPerEpoch ? { epoch, index: index + 1 } : { epoch: epoch + 1, index: 0 };
  }

  /** The batches of an epoch: each bucket shuffled and cut, then the batches of all buckets shuffled. */
  private epoch(epoch: number): Plan[] {
    if (this.planned?.epoch === epoch) return this.planned.batches;
    const batches: Plan[] = [];
    for (const [b, bucket] of this.buckets.entries()) {
      const order = new Philox(this.options.seed, epoch, b + 1).shuffle([...bucket.members]);
      for (let i = 0; i < fullBatches(bucket); i++) {
        const members = Array.from(
          { length: bucket.batch },
          (_, row) => order[(i * bucket.batch + row) % order.length],
        );
        batches.push({ bucket, members });
      }
    }
    new Philox(this.options.seed, epoch, 0).shuffle(batches);
    this.planned = { epoch, batches };
    return batches;
  }

  private async make(cursor: Cursor): Promise<PretrainBatch> {
    const { bucket, members } = this.epoch(cursor.epoch)[cursor.index];
    const number = cursor.epoch * this.batchesPerEpoch + cursor.index;
    const rows = await Promise.all(members.map((utterance, row) => this.row(bucket, utterance, row, cursor.epoch)));
    const batch = assemble(bucket, rows, this.options.store.mel);
    const keys = rows.map(({ id }, row) => rowKey(id, row, members));
    drawMasks(batch, keys, this.options.mask ?? {}, this.options.seed, number);
    return {
      ...batch,
      ids: rows.map(({ id }) => id),
      starts: Int32Array.from(rows, ({ start }) => start),
      maskedFrames: batch.mask.reduce((sum, masked) => sum + masked, 0),
      number,
      cursor: this.after(cursor),
    };
  }

  /** One row: the utterance, or when it cannot be decoded another of its bucket. */
  private async row(bucket: Bucket, utterance: Utterance, row: number, epoch: number): Promise<Row> {
    const { seed, store } = this.options;
    const random = new Philox(seed, epoch, hashText(`crop ${row} ${utterance.id}`));
    let chosen = utterance;
    for (let attempt = 0; attempt < 100; attempt++) {
      const speech = await store.tryLoad(chosen);
      if (speech) return this.crop(bucket, chosen, speech, random);
      chosen = bucket.members[random.below(bucket.members.length)];
    }
    throw new HubertkitError(
      'HK_CORPUS',
      `No utterance of ${bucket.frames} frames could be decoded; see skipped.jsonl.`,
    );
  }

  private crop(bucket: Bucket, { id }: Utterance, speech: Float32Array, random: Philox): Row {
    const whole = this.options.store.frames(speech);
    const labels = this.labelsOf(id, whole);
    const frames = Math.min(whole, labels?.length ?? whole);
    const start = frames > bucket.frames ? random.below(frames - bucket.frames + 1) : 0;
    return { id, speech, labels, start, frames: Math.min(frames, bucket.frames) };
  }

  private labelsOf(id: string, frames: number): Int32Array | undefined {
    const { labels } = this.options;
    return labels && checkLabels(id, labels(id), frames);
  }
}

/** Labels that fit an utterance of so many frames. Throws HK_MISMATCH with the id and both counts. */
export function checkLabels(id: string, labels: Int32Array | undefined, frames: number): Int32Array {
  if (labels && labels.length > 0 && Math.abs(labels.length - frames) <= 1) return labels;
  const found = labels ? `${labels.length} labels` : 'no labels';
  throw new HubertkitError(
    'HK_MISMATCH',
    `Utterance ${id} has ${frames} frames (20 ms each) and ${found}. Labels must be at 50 Hz and made from the same audio.`,
  );
}

/** Crops start where labels do; a repeated utterance draws numbers of its own in each row. */
function rowKey(id: string, row: number, members: readonly Utterance[]): string {
  const repeated = members.findIndex((utterance) => utterance.id === id) !== row;
  return repeated ? `${row} ${id}` : id;
}

function makeBuckets(utterances: readonly Utterance[], options: PretrainBatchOptions): Bucket[] {
  const { batchSeconds, maxSeconds = 15.6, buckets = 4 } = options;
  const longest = framesOfSeconds(maxSeconds, 'maxSeconds');
  const usable = (utterance: Utterance) => Math.min(longest, frameCount(utterance.samples));
  const made = cropLengths(utterances.map(usable), buckets).map((frames): Bucket => {
    return { ...shapeOf(frames, batchSeconds), members: [] };
  });
  for (const utterance of utterances) {
    const fits = made.filter(({ frames }) => frames <= usable(utterance));
    (fits.at(-1) ?? made[0]).members.push(utterance);
  }
  for (let i = made.length - 1; i > 0; i--) {
    if (made[i].members.length < made[i].batch) made[i - 1].members.push(...made.splice(i, 1)[0].members);
  }
  for (const { members } of made) members.sort((a, b) => (a.id < b.id ? -1 : 1));
  return made;
}

const fullBatches = ({ members, batch }: Bucket) => Math.max(1, Math.floor(members.length / batch));

/** Rows put together, without a mask. */
export function assemble(shape: BatchShape, rows: readonly Omit<Row, 'id'>[], mel: boolean): SpeechBatch {
  const { batch, samples, frames } = shape;
  const width = mel ? frames * melFrontEndColumns : samples;
  const data = new Float32Array(batch * width);
  const labels = new Int32Array(batch * frames).fill(-1);
  const frameLengths = new Int32Array(batch).fill(1); // a row without speech is silent, one frame long and unlabelled
  let valid = 0;
  for (const [b, row] of rows.entries()) {
    data.set(cut(row, mel), b * width);
    frameLengths[b] = row.frames;
    valid += row.frames;
    if (row.labels) labels.set(row.labels.subarray(row.start, row.start + row.frames), b * frames);
  }
  const speech = mel ? { mel: data } : { waveform: data };
  const mask = new Uint8Array(batch * frames);
  return {
    batch,
    samples,
    frames,
    ...speech,
    frameLengths,
    labels,
    mask,
    audioSeconds: (valid * frameStride) / sampleRate,
  };
}

/** The samples (or mel rows) that the frames of a row see. */
function cut({ speech, start, frames }: Omit<Row, 'id'>, mel: boolean): Float32Array {
  if (mel) return speech.subarray(start * melFrontEndColumns, (start + frames) * melFrontEndColumns);
  const from = start * frameStride;
  return speech.subarray(from, from + (frames - 1) * frameStride + 400);
}

/**
 * Draws the mask of each row, keyed (seed, number, row key), and thins those of full length to the one with fewest masked frames,
 * so that each counts the same. Padded rows keep theirs: a short one would thin all others.
 */
export function drawMasks(
  batch: SpeechBatch,
  keys: readonly string[],
  options: MaskOptions,
  seed: Seed,
  number: number,
): void {
  const randoms = keys.map((key) => new Philox(seed, number, hashText(`mask ${key}`)));
  const masks = keys.map((_, b) => drawMask(batch.frameLengths[b], options, randoms[b]));
  const full = masks.filter((mask) => mask.length === batch.frames);
  const fewest = Math.min(...full.map((mask) => mask.reduce((sum, masked) => sum + masked, 0)));
  for (const [b, mask] of masks.entries()) {
    if (mask.length === batch.frames) thinMask(mask, fewest, randoms[b]);
    batch.mask.set(mask, b * batch.frames);
  }
}
