import { createHash } from 'node:crypto';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { melFrontEnd } from '../../lib/data/audio';
import { type Cursor, type PretrainBatch, PretrainBatches, type PretrainBatchOptions } from '../../lib/data/batches';
import { cropLengths, padLengths, samplesOfFrames, shapeOf } from '../../lib/data/buckets';
import { loadWaveform, openCorpus } from '../../lib/data/corpus';
import { evalBatches, evalShapes } from '../../lib/data/evaluation';
import { drawMask, thinMask } from '../../lib/data/masks';
import { hashText, Philox } from '../../lib/data/philox';
import { type Corpus, frameCount, type Utterance } from '../../lib/data/types';
import { normalizeWaveform, WaveformStore } from '../../lib/data/waveforms';
import { sound, wav } from './sounds';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-batches-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** 25 utterances of 0.3 to 2 s; sample i of utterance u is unlike any other. */
const lengths = Array.from({ length: 25 }, (_, u) => 4800 + ((u * 7919) % 27200));
let corpus: Corpus;
let whole: Map<string, Float32Array>;

beforeAll(async () => {
  for (const [u, samples] of lengths.entries()) {
    fs.writeFileSync(path.join(folder, `u${String(u).padStart(2, '0')}.wav`), wav(sound(samples, 16000, u + 1)));
  }
  corpus = await openCorpus(`folder:${folder}`);
  whole = new Map(await Promise.all(corpus.utterances.map(async (u) => [u.id, await loadWaveform(u)] as const)));
});

const frames = (id: string) => frameCount((whole.get(id) as Float32Array).length);
/** Frame i of an utterance is labelled i, plus a number of its own. */
const labelled = (id: string) =>
  Int32Array.from({ length: frames(id) }, (_, i) => 1000 * (Number(id.slice(1)) + 1) + i);

function batches(options: Partial<PretrainBatchOptions> = {}): PretrainBatches {
  const store = new WaveformStore(corpus);
  return new PretrainBatches({
    utterances: corpus.utterances,
    store,
    labels: labelled,
    batchSeconds: 4,
    seed: 7,
    ...options,
  });
}

async function take(source: PretrainBatches, count: number, cursor?: Cursor): Promise<PretrainBatch[]> {
  const taken: PretrainBatch[] = [];
  for await (const batch of source.from(cursor)) {
    taken.push(batch);
    if (taken.length === count) break;
  }
  return taken;
}

/** A batch with its big arrays as text, which compares quickly. */
const digest = ({ waveform, mel, labels, mask, ...rest }: PretrainBatch) => {
  const hash = createHash('sha256');
  for (const array of [waveform ?? mel, labels, mask]) if (array) hash.update(array);
  return { ...rest, hash: hash.digest('hex') };
};
const digests = async (source: PretrainBatches, count: number, cursor?: Cursor) =>
  (await take(source, count, cursor)).map(digest);

const identical = (a: Float32Array, b: Float32Array) => a.length === b.length && a.every((value, i) => value === b[i]);

const rowOf = (batch: PretrainBatch, row: number) => ({
  waveform: (batch.waveform as Float32Array).subarray(row * batch.samples, (row + 1) * batch.samples),
  labels: batch.labels.subarray(row * batch.frames, (row + 1) * batch.frames),
  mask: batch.mask.subarray(row * batch.frames, (row + 1) * batch.frames),
});

describe('masks', () => {
  const draw = (length: number, seed: number, options = {}) => drawMask(length, options, new Philox(seed));

  test('cover 56.6 % of 781 frames at probability 0.8, in spans of 10, and never the last frame', () => {
    let masked = 0;
    for (let seed = 0; seed < 200; seed++) {
      const mask = draw(781, seed);
      masked += mask.reduce((a, b) => a + b, 0);
      expect(mask[780]).toBe(0);
      for (const span of Array.from(mask).join('').split('0').filter(Boolean))
        expect(span.length).toBeGreaterThanOrEqual(10);
    }
    expect(masked / 200 / 781).toBeCloseTo(0.566, 2);
  });

  test('every utterance gets at least two spans; very short ones get shorter spans', () => {
    expect(draw(60, 1, { probability: 0.01 }).reduce((a, b) => a + b, 0)).toBeGreaterThan(10);
    for (let length = 0; length < 14; length++) {
      for (let seed = 0; seed < 20; seed++) {
        const mask = draw(length, seed);
        if (length >= 2) {
          expect(mask[length - 1]).toBe(0);
          expect(mask).toContain(1);
        } else expect(mask).not.toContain(1);
      }
    }
    expect(draw(100, 1, { probability: 0 })).not.toContain(1);
    expect(draw(100, 1, { probability: 1, length: 1 }).reduce((a, b) => a + b, 0)).toBe(99);
  });

  test('thinning leaves the wished number, all of them masked before', () => {
    const mask = draw(200, 3);
    const before = mask.slice();
    thinMask(mask, 40, new Philox(4));
    expect(mask.reduce((a, b) => a + b, 0)).toBe(40);
    for (const [i, value] of mask.entries()) expect(value).toBeLessThanOrEqual(before[i]);
  });
});

describe('row lengths', () => {
  test('a row of so many frames has exactly the samples that they see', () => {
    for (const count of [1, 2, 49, 781]) {
      expect(frameCount(samplesOfFrames(count))).toBe(count);
      expect(frameCount(samplesOfFrames(count) - 1)).toBe(count - 1);
    }
    expect(shapeOf(49, 10)).toEqual({ batch: 10, samples: 15760, frames: 49 });
    expect(shapeOf(1000, 1).batch).toBe(1);
  });

  test('crop lengths lose least, pad lengths pad least: no other choice does better', () => {
    const values = [12, 12, 13, 20, 21, 22, 40, 41, 60];
    const cropped = (chosen: number[]) =>
      values.reduce((sum, v) => {
        const below = chosen.filter((c) => c <= v);
        return sum + (below.length > 0 ? v - Math.max(...below) : 2 * (Math.min(...chosen) - v));
      }, 0);
    const padded = (chosen: number[]) =>
      values.reduce((sum, v) => sum + Math.min(...chosen.filter((c) => c >= v)) - v, 0);
    const crop = cropped(cropLengths(values, 3));
    const pad = padded(padLengths(values, 3));
    for (const a of values)
      for (const b of values)
        for (const c of values) {
          expect(crop).toBeLessThanOrEqual(cropped([a, b, c]));
          expect(pad).toBeLessThanOrEqual(padded([a, b, c, 60]) + (new Set([a, b, c, 60]).size > 3 ? 1e9 : 0));
        }
    expect(padLengths(values, 3).at(-1)).toBe(60);
    expect(cropLengths([5], 4)).toEqual([5]);
    expect(padLengths([], 4)).toEqual([]);
    expect(
      padLengths(
        Array.from({ length: 5000 }, (_, i) => i + 1),
        5,
      ),
    ).toHaveLength(5);
  });
});

describe('pretraining batches', () => {
  test('rows are pieces of their utterance at multiples of 320 samples, with the labels of those frames', async () => {
    for (const batch of await take(batches(), 40)) {
      expect(batch.labels).toHaveLength(batch.batch * batch.frames);
      expect(batch.samples).toBe(320 * batch.frames + 80);
      for (const [row, id] of batch.ids.entries()) {
        const { waveform, labels } = rowOf(batch, row);
        const length = batch.frameLengths[row];
        const start = batch.starts[row];
        expect(length).toBe(Math.min(batch.frames, frames(id)));
        const samples = 320 * length + 80;
        const source = (whole.get(id) as Float32Array).subarray(320 * start, 320 * start + samples);
        expect(identical(waveform.subarray(0, samples), source)).toBe(true);
        expect(waveform.subarray(samples).every((value) => value === 0)).toBe(true);
        expect(labels.subarray(0, length)).toEqual(labelled(id).subarray(start, start + length));
        expect(labels.subarray(length).every((label) => label === -1)).toBe(true);
      }
      const valid = batch.frameLengths.reduce((a, b) => a + b, 0);
      expect(batch.audioSeconds).toBeCloseTo(valid / 50, 9);
    }
  });

  test('full rows of a batch have equally many masked frames; nothing behind the end of a row is masked', async () => {
    for (const batch of await take(batches(), 30)) {
      const counts = new Set<number>();
      for (let row = 0; row < batch.batch; row++) {
        const { mask } = rowOf(batch, row);
        const count = mask.reduce((a, b) => a + b, 0);
        expect(count).toBeGreaterThan(0);
        if (batch.frameLengths[row] === batch.frames) counts.add(count);
        expect(mask.subarray(batch.frameLengths[row])).not.toContain(1);
      }
      expect(counts.size).toBeLessThanOrEqual(1);
      expect(batch.maskedFrames).toBe(batch.mask.reduce((a, b) => a + b, 0));
    }
  });

  test('the same seed gives the same batches, another seed others', async () => {
    expect(await digests(batches(), 12)).toEqual(await digests(batches({ depth: 5 }), 12));
    const other = await take(batches({ seed: 8 }), 12);
    expect(other.map(({ ids }) => ids)).not.toEqual((await take(batches(), 12)).map(({ ids }) => ids));
  });

  test('continuing from any saved cursor gives the batches that would have come', async () => {
    const source = batches();
    const count = 2 * source.batchesPerEpoch + 4;
    const all = await digests(source, count);
    for (const at of [0, 1, source.batchesPerEpoch - 1, source.batchesPerEpoch]) {
      const cursor = JSON.parse(JSON.stringify(all[at].cursor)) as Cursor;
      expect(await digests(batches({ depth: 1 }), 3, cursor)).toEqual(all.slice(at + 1, at + 4));
    }
    expect(all.map(({ number }) => number)).toEqual(Array.from({ length: count }, (_, i) => i));
  });

  test('an epoch shows every utterance at most once, and over epochs every one comes', async () => {
    const source = batches();
    const seen = new Set<string>();
    for (let epoch = 0; epoch < 6; epoch++) {
      const taken = await take(source, source.batchesPerEpoch, { epoch, index: 0 });
      const ids = taken.flatMap((batch) => batch.ids);
      const filled = source.shapes.filter(({ utterances, batch }) => utterances < batch).length;
      if (filled === 0) expect(new Set(ids).size).toBe(ids.length);
      for (const id of ids) seen.add(id);
    }
    expect(seen.size).toBe(25);
  });

  test('an utterance is cropped and masked differently in each epoch', async () => {
    const source = batches({ buckets: 1 });
    const taken = await take(source, 4 * source.batchesPerEpoch);
    const starts = new Set<number>();
    for (const batch of taken)
      for (const [row, id] of batch.ids.entries()) if (id === 'u05') starts.add(batch.starts[row]);
    expect(starts.size).toBeGreaterThan(1);
    expect(taken[0].mask).not.toEqual(taken[source.batchesPerEpoch].mask);
  });

  test('rows fill batchSeconds, shapes are few, long utterances are cut to maxSeconds, short ones left out', () => {
    const source = batches({ batchSeconds: 3, maxSeconds: 1, minSamples: 8000, buckets: 2 });
    expect(source.shapes.length).toBeLessThanOrEqual(2);
    for (const { batch, samples, frames: length } of source.shapes) {
      expect(samples).toBeLessThanOrEqual(16000);
      expect(samples).toBe(samplesOfFrames(length));
      if (batch > 1) expect(batch * samples).toBeLessThanOrEqual(48000);
    }
    expect(source.leftOut).toBe(lengths.filter((samples) => samples < 8000).length);
    expect(source.shapes.reduce((sum, { utterances }) => sum + utterances, 0)).toBe(25 - source.leftOut);
  });

  test('fewer utterances than rows: they are repeated with other masks', async () => {
    const longest = corpus.utterances.filter(({ samples }) => samples > 30000).slice(0, 2);
    const [batch] = await take(batches({ utterances: longest, batchSeconds: 30, buckets: 1 }), 1);
    expect(batch.batch).toBeGreaterThan(4);
    expect(new Set(batch.ids).size).toBe(2);
    const masks = batch.ids.map((id, row) => [id, rowOf(batch, row).mask.join('')]);
    const ofOne = masks.filter(([id]) => id === batch.ids[0]).map(([, mask]) => mask);
    expect(new Set(ofOne).size).toBe(ofOne.length);
  });

  test('a file that turns out bad is recorded once and replaced, the same way each time', async () => {
    const broken = corpus.utterances.map((u, i) => (i === 4 ? { ...u, path: path.join(folder, 'gone.wav') } : u));
    const run = async () => {
      const own: Corpus = { ...corpus, utterances: broken, skipped: [] };
      const taken = await digests(batches({ utterances: broken, store: new WaveformStore(own) }), 20);
      return { taken, skipped: own.skipped };
    };
    const first = await run();
    expect(first.skipped).toEqual([
      { path: path.join(folder, 'gone.wav'), reason: expect.stringMatching(/cannot be opened/), code: 'HK_AUDIO' },
    ]);
    expect(first.taken.flatMap(({ ids }) => ids)).not.toContain('u04');
    expect(await run()).toEqual(first);
  });

  test('too many bad files stop it with HK_CORPUS', async () => {
    const broken = corpus.utterances.map((u) => ({ ...u, path: path.join(folder, `gone-${u.id}.wav`) }));
    const own: Corpus = { ...corpus, utterances: broken, skipped: [] };
    const taking = take(batches({ utterances: broken, store: new WaveformStore(own) }), 1);
    await expect(taking).rejects.toMatchObject({ code: 'HK_CORPUS', message: expect.stringMatching(/cannot be used/) });
  });

  test('labels that do not fit are refused with the id and both counts; one more or less is tolerated', async () => {
    const off = (by: number) => batches({ labels: (id) => new Int32Array(frames(id) + by) });
    await expect(take(off(2), 1)).rejects.toMatchObject({
      code: 'HK_MISMATCH',
      message: expect.stringMatching(/Utterance u\d+ has \d+ frames .* \d+ labels/),
    });
    await expect(take(batches({ labels: () => undefined }), 1)).rejects.toMatchObject({ code: 'HK_MISMATCH' });
    for (const batch of await take(off(-1), 10)) {
      for (const [row, id] of batch.ids.entries())
        expect(batch.starts[row] + batch.frameLengths[row]).toBeLessThanOrEqual(frames(id) - 1);
    }
    await take(off(1), 10);
  });

  test('the mel front end gets the rows of the mel frames', async () => {
    const store = new WaveformStore(corpus, { frontEnd: 'mel' });
    for (const batch of await take(batches({ store }), 8)) {
      expect(batch.waveform).toBeUndefined();
      expect(batch.mel).toHaveLength(batch.batch * batch.frames * 80);
      const id = batch.ids[0];
      const mel = await melFrontEnd(whole.get(id) as Float32Array);
      const expected = mel.data.subarray(batch.starts[0] * 80, (batch.starts[0] + batch.frameLengths[0]) * 80);
      expect((batch.mel as Float32Array).subarray(0, expected.length)).toEqual(expected);
    }
  });

  test('nothing to train on, a cursor of another corpus and wrong settings are errors', async () => {
    expect(() => batches({ minSamples: 1e6 })).toThrow(/none of 62\.50 s or more/);
    expect(() => batches({ batchSeconds: 0 })).toThrow(/batchSeconds/);
    expect(() => batches({ maxSeconds: 0.01 })).toThrow(/maxSeconds/);
    for (const cursor of [
      { epoch: 0, index: 1000 },
      { epoch: -1, index: 0 },
      { epoch: 0.5, index: 0 },
    ]) {
      await expect(take(batches(), 1, cursor)).rejects.toMatchObject({ code: 'HK_MISMATCH' });
    }
  });
});

describe('evaluation batches', () => {
  const options = () => ({ store: new WaveformStore(corpus), batchSeconds: 6, labels: labelled });

  test('every frame of every utterance comes exactly once, with its samples and label', async () => {
    for (const maxSeconds of [30, 0.7]) {
      const seen = new Map<string, number[]>();
      for await (const batch of evalBatches(corpus.utterances, { ...options(), maxSeconds })) {
        for (const { utterance, row, first, frames: count } of batch.pieces) {
          const list = seen.get(utterance.id) ?? [];
          for (let i = 0; i < count; i++) list.push(first + i);
          seen.set(utterance.id, list);
          expect(batch.frameLengths[row]).toBe(count);
          const samples = (batch.waveform as Float32Array).subarray(
            row * batch.samples,
            row * batch.samples + 320 * count + 80,
          );
          const source = (whole.get(utterance.id) as Float32Array).subarray(320 * first, 320 * (first + count) + 80);
          expect(identical(samples, source)).toBe(true);
          expect(batch.labels[row * batch.frames]).toBe(labelled(utterance.id)[first]);
        }
        expect(batch.mask).not.toContain(1);
      }
      for (const { id } of corpus.utterances) {
        expect(seen.get(id)?.sort((a, b) => a - b)).toEqual(Array.from({ length: frames(id) }, (_, i) => i));
      }
    }
  });

  test('shapes are known beforehand and few', async () => {
    const shapes = evalShapes(corpus.utterances, { ...options(), buckets: 3 });
    expect(shapes.length).toBeLessThanOrEqual(3);
    for await (const { batch, samples, frames: length } of evalBatches(corpus.utterances, {
      ...options(),
      buckets: 3,
    })) {
      expect(shapes).toContainEqual({ batch, samples, frames: length });
    }
  });

  test('masks are the same each time, whatever else is in the batch', async () => {
    const masks = async (utterances: Utterance[], batchSeconds: number) => {
      const found = new Map<string, string>();
      for await (const batch of evalBatches(utterances, { ...options(), batchSeconds, mask: { seed: 1 } })) {
        for (const { utterance, row, frames: count } of batch.pieces) {
          found.set(utterance.id, batch.mask.subarray(row * batch.frames, row * batch.frames + count).join(''));
        }
      }
      return found;
    };
    const all = await masks(corpus.utterances, 6);
    const one = await masks(corpus.utterances.slice(3, 4), 2);
    expect(all.get('u03')).toBe(one.get('u03'));
    expect(all.get('u03')).toContain('1');
  });

  test('a file that cannot be decoded is left out', async () => {
    const broken = corpus.utterances.map((u, i) => (i === 4 ? { ...u, path: path.join(folder, 'gone.wav') } : u));
    const own: Corpus = { ...corpus, utterances: broken, skipped: [] };
    const ids: string[] = [];
    for await (const batch of evalBatches(broken, { store: new WaveformStore(own), batchSeconds: 6 })) {
      ids.push(...batch.pieces.map(({ utterance }) => utterance.id));
      expect(batch.frameLengths.every((length) => length >= 1)).toBe(true);
    }
    expect(ids.sort()).toEqual(corpus.utterances.map(({ id }) => id).filter((id) => id !== 'u04'));
    expect(own.skipped).toHaveLength(1);
  });
});

describe('the waveform store', () => {
  test('keeps what fits, the least recently used leave first, and calls that overlap share one decoding', async () => {
    const [a, b, c] = corpus.utterances.map((u) => u);
    const bytes = (u: Utterance) => 4 * (whole.get(u.id) as Float32Array).length;
    const store = new WaveformStore(corpus, { memoryBytes: bytes(a) + Math.max(bytes(b), bytes(c)) });
    const [one, same] = await Promise.all([store.load(a), store.load(a)]);
    expect(same).toBe(one);
    await store.load(b);
    expect(await store.load(a)).toBe(one);
    await store.load(c);
    expect(await store.load(a)).toBe(one);
    expect(store.bytesKept).toBe(bytes(a) + bytes(c));
    const none = new WaveformStore(corpus, { memoryBytes: 0 });
    expect(await none.load(a)).toEqual(one);
    expect(none.bytesKept).toBe(0);
  });

  test('normalised waveforms have zero mean and unit variance; silence stays finite', () => {
    const { length } = sound(4000);
    const normal = normalizeWaveform(sound(4000).map((value) => 0.1 * value + 0.3));
    const mean = normal.reduce((a, b) => a + b, 0) / length;
    expect(mean).toBeCloseTo(0, 4);
    expect(normal.reduce((a, b) => a + b * b, 0) / length).toBeCloseTo(1, 1);
    expect(normalizeWaveform(new Float32Array(500)).every((value) => value === 0)).toBe(true);
    expect(normalizeWaveform(new Float32Array(500).fill(0.9)).every(Number.isFinite)).toBe(true);
  });

  test('ids decide about random numbers, not the order of utterances', async () => {
    const reversed = batches({ utterances: [...corpus.utterances].reverse() });
    expect((await take(reversed, 5)).map(({ ids }) => ids)).toEqual((await take(batches(), 5)).map(({ ids }) => ids));
    expect(hashText('u01')).not.toBe(hashText('u10'));
  });
});
