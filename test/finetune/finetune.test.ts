import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import {
  finetune,
  type FinetuneOptions,
  type FinetunePoint,
  type FinetuneResult,
  resetSweep,
} from '../../lib/finetune';
import type { Hypothesis } from '../../lib/finetune/evaluate';
import { readJsonLines } from '../../lib/formats/atomic';
import { hubertConfig } from '../../lib/nn/config';
import { HubertModel } from '../../lib/nn/model';
import { writeToneCorpus } from './tones';

let root: string;
let shared: FinetuneOptions;

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-finetune-'));
  const corpus = writeToneCorpus(path.join(root, 'tones'), { train: 60, valid: 9, test: 9 });
  await using model = HubertModel.create({
    config: hubertConfig('nano', { frontEnd: 'mel', layers: 2, hiddenSize: 64, intermediateSize: 128 }),
    clusters: 10,
    seed: 3,
  });
  await model.save(path.join(root, 'model'));
  shared = {
    source: path.join(root, 'model'),
    corpus,
    letters: 'ABCDEF',
    updates: 30,
    evaluations: 5,
    seed: 1,
    threads: 1,
  };
});

afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

const points = (folder: string) => readJsonLines<FinetunePoint>(path.join(folder, 'metrics.jsonl'));
const withoutTime = (list: FinetunePoint[]) => list.map(({ wallSeconds: _, ...rest }) => rest);

test('a language of tones is learnt: the error falls far below that of the beginning, on unseen utterances too', async () => {
  const out = path.join(root, 'learns');
  const result = await finetune(
    {
      ...shared,
      updates: 250,
      batchSeconds: 16,
      learningRate: 2e-3,
      evaluations: 25,
      timeMask: { probability: 0.3, length: 10 },
      channelMask: { probability: 0.25, length: 5 },
    },
    { out },
  );
  const curve = await points(out);
  expect(curve).toHaveLength(26);
  expect(curve[0].wer).toBeGreaterThanOrEqual(0.99);
  expect(result.cer).toBeLessThan(0.2);
  expect(result.testCer!).toBeLessThan(0.25);
  expect(result.updatesToTau).toBeGreaterThan(0);
  expect(result.data.train).toMatchObject({ usable: 60, alphabetCoverage: 1, unreadable: [] });
  expect(result.ckaToStart).toHaveLength(3);
  expect(result.blankRate).toBeLessThan(1);
  for (const file of ['model/model.safetensors', 'dev.jsonl', 'test.jsonl', 'config.yaml', 'result.json'])
    expect(fs.existsSync(path.join(out, file))).toBe(true);
  await expectLexiconRates(result, out);
}, 120_000);

/** Decoding with the lexicon writes training words alone, and its rate is that of the utterances in dev.jsonl. */
async function expectLexiconRates(result: FinetuneResult, out: string): Promise<void> {
  const manifest = fs
    .readFileSync(path.join(root, 'tones', 'manifest.tsv'), 'utf8')
    .trim()
    .split('\n')
    .slice(1);
  const rows = manifest.map((line) => line.split('\t'));
  const known = new Set(rows.filter((row) => row[4] === 'train').flatMap((row) => row[3].toUpperCase().split(' ')));
  expect(result.lexiconWords).toBe(known.size);
  const dev = await readJsonLines<Hypothesis>(path.join(out, 'dev.jsonl'));
  const written = dev.flatMap(({ lexiconHypothesis }) => lexiconHypothesis!.split(' '));
  expect(written.filter((word) => word !== '' && !known.has(word))).toEqual([]);
  const total = (value: (h: Hypothesis) => number) => dev.reduce((sum, h) => sum + value(h), 0);
  expect(result.lexiconWer).toBeCloseTo(total((h) => h.lexiconErrors!) / total((h) => h.reference), 12);
  expect(result.lexiconWer).toBeLessThan(0.9);
}

test('the same seed gives the same curve; a finished variant is returned as it is', async () => {
  const first = await finetune(shared, { out: path.join(root, 'same-1') });
  await finetune(shared, { out: path.join(root, 'same-2') });
  expect(withoutTime(await points(path.join(root, 'same-1')))).toEqual(
    withoutTime(await points(path.join(root, 'same-2'))),
  );
  let updates = 0;
  const again = await finetune(shared, { out: path.join(root, 'same-1'), onProgress: () => updates++ });
  expect(again).toEqual(first);
  expect(updates).toBe(0);
});

test('a fine-tuning that was stopped continues to the same curve and the same result', async () => {
  const [whole, parts] = [path.join(root, 'same-1'), path.join(root, 'parts')];
  const reference = await finetune(shared, { out: whole });
  const stop = new AbortController();
  const onProgress = ({ update }: { update: number }) => {
    if (update === 17) stop.abort();
  };
  await expect(finetune(shared, { out: parts, onProgress, signal: stop.signal })).rejects.toMatchObject({
    code: 'HK_INTERRUPTED',
  });
  const resumed = await finetune(shared, { out: parts });
  expect(withoutTime(await points(parts))).toEqual(withoutTime(await points(whole)));
  expect({ ...resumed, wallSeconds: 0 }).toEqual({ ...reference, wallSeconds: 0 });
  expect(fs.existsSync(path.join(parts, 'checkpoint'))).toBe(false);
});

test('another configuration in the same folder is refused, naming what differs', async () => {
  const out = path.join(root, 'same-1');
  await finetune(shared, { out });
  await expect(finetune({ ...shared, learningRate: 0.5 }, { out })).rejects.toMatchObject({
    code: 'HK_MISMATCH',
    message: expect.stringContaining('learningRate'),
  });
});

test('during the freeze phase only what was reset and the head change', async () => {
  const options = { ...shared, updates: 4, freezeUpdates: 4, evaluations: 1, resetTop: 1, learningRate: 1e-2 };
  await finetune(options, { out: path.join(root, 'frozen') });
  await using before = await HubertModel.load(shared.source);
  before.resetLayers(1, 1);
  await using after = await HubertModel.load(path.join(root, 'frozen', 'model'));
  const result = JSON.parse(fs.readFileSync(path.join(root, 'frozen', 'result.json'), 'utf8'));
  const same = (name: string) =>
    Buffer.from(after.store.read(name).buffer).equals(Buffer.from(before.store.read(name).buffer));
  expect(same('encoder.layers.0.attention.q_proj.weight')).toBe(true);
  expect(same('feature_projection.projection.weight')).toBe(true);
  if (result.bestUpdate > 0) expect(same('encoder.layers.1.attention.q_proj.weight')).toBe(false);
});

test.each([
  [{ resetTop: 3 }, 'resetTop'],
  [{ dropTop: 2 }, 'dropTop'],
  [{ resetTop: 1, dropTop: 1 }, 'choose one'],
  [{ random: true, resetTop: 1 }, 'random'],
  [{ learningrate: 1 }, 'Did you mean "learningRate"'],
] as [Partial<FinetuneOptions>, string][])('options that make no sense are refused: %j', async (wrong, message) => {
  await expect(finetune({ ...shared, ...wrong }, { out: path.join(root, 'refused') })).rejects.toMatchObject({
    code: 'HK_CONFIG',
    message: expect.stringContaining(message),
  });
});

test('without a corpus the folder of a model says that it needs one, and how it is given', async () => {
  const { corpus: _, ...options } = shared;
  await expect(finetune(options, { out: path.join(root, 'refused') })).rejects.toMatchObject({
    code: 'HK_CONFIG',
    message: expect.stringMatching(/model needs transcribed audio: give `corpus` \(--corpus KIND:FOLDER\)/),
  });
});

test('a fine-tuning that failed before its first update leaves the folder to other options', async () => {
  const out = path.join(root, 'failed');
  await expect(finetune({ ...shared, trainSplits: ['none'] }, { out })).rejects.toMatchObject({ code: 'HK_CORPUS' });
  const result = await finetune({ ...shared, updates: 2, evaluations: 1 }, { out });
  expect(result.updates).toBe(2);
});

test('a sweep pairs its variants, compares them with k = 0 and is not repeated', async () => {
  const out = path.join(root, 'sweep');
  const { seed: _, ...options } = shared;
  const summary = await resetSweep({ ...options, seeds: [1, 2] }, { out });
  expect(summary.rows.map(({ name }) => name)).toEqual(['k=0', 'k=1', 'k=2', 'random']);
  expect(summary.variants).toHaveLength(8);
  expect(summary.rows[0].difference).toBeUndefined();
  for (const row of summary.rows.slice(1)) {
    const { estimate, low, high } = row.difference!.wer;
    expect(estimate).toBeCloseTo(row.wer.mean - summary.rows[0].wer.mean, 10);
    expect(low).toBeLessThanOrEqual(estimate);
    expect(high).toBeGreaterThanOrEqual(estimate);
  }
  // The same audio in the same order for each k of a seed.
  const audio = (name: string) => points(path.join(out, name)).then((list) => list.map((p) => p.audioSeconds));
  expect(await audio('reset-0-seed-1')).toEqual(await audio('reset-2-seed-1'));
  expect(await audio('reset-0-seed-1')).not.toEqual(await audio('reset-0-seed-2'));
  // Variants of a sweep run in processes of their own: the numbers are those of this one.
  await finetune({ ...shared, resetTop: 1, seed: 2 }, { out: path.join(root, 'alone') });
  const curve = async (folder: string) => withoutTime(await points(folder));
  expect(await curve(path.join(out, 'reset-1-seed-2'))).toEqual(await curve(path.join(root, 'alone')));
  let updates = 0;
  expect(await resetSweep({ ...options, seeds: [1, 2] }, { out, onProgress: () => updates++ })).toEqual(summary);
  expect(updates).toBe(0);
}, 120_000);

test('a sweep that is stopped continues to the numbers of one that is not', async () => {
  const options = { ...shared, k: [0], updates: 60 };
  const whole = await resetSweep(options, { out: path.join(root, 'whole') });
  const out = path.join(root, 'stopped');
  const stop = new AbortController();
  const onProgress = ({ done }: { done: number }) => done >= 40 && stop.abort();
  const stopped = resetSweep(options, { out, signal: stop.signal, onProgress });
  await expect(stopped).rejects.toMatchObject({ code: 'HK_INTERRUPTED' });
  expect(fs.existsSync(path.join(out, 'reset-0-seed-1', 'checkpoint', 'DONE'))).toBe(true);
  expect(await resetSweep(options, { out })).toEqual(whole);
}, 120_000);

test('dropping the top layer leaves a smaller network', async () => {
  await finetune({ ...shared, updates: 2, evaluations: 1, dropTop: 1 }, { out: path.join(root, 'drop') });
  await using model = await HubertModel.load(path.join(root, 'drop', 'model'));
  expect(model.config.layers).toBe(1);
});
