import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import type { PretrainOptions } from '../../lib/train/config';
import type { Progress } from '../../lib/train/progress';
import { pretrain } from '../../lib/train/pretrain';
import { openRun } from '../../lib/train/run';
import { microConfig, notes, notesCorpus, writeWav } from './micro';
import { runAndKill } from '../run-and-kill';

let root: string;
let corpus: string;
let reference: string;
const events: Progress[] = [];

beforeAll(async () => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-pretrain-'));
  corpus = path.join(root, 'corpus');
  reference = path.join(root, 'reference');
  notesCorpus(corpus, 20);
  await pretrain(microConfig(corpus, reference), { onProgress: (event) => events.push(event) });
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** metrics.jsonl without the two fields that tell time. */
function timeless(folder: string): string[] {
  const lines = fs.readFileSync(path.join(folder, 'metrics.jsonl'), 'utf8').trimEnd().split('\n');
  return lines.map((line) => {
    const { wallSeconds, audioSecondsPerSecond, ...rest } = JSON.parse(line);
    return JSON.stringify(rest);
  });
}

const fileOf = (run: string, name: string) => fs.readFileSync(path.join(run, name));

function expectSameRun(folder: string): void {
  expect(timeless(folder)).toEqual(timeless(reference));
  for (const name of [
    'iteration-1/centroids.safetensors',
    'iteration-2/centroids.safetensors',
    'iteration-2/labels/train.labels',
    'iteration-1/checkpoints/step-000014/model.safetensors',
    'iteration-2/checkpoints/step-000008/model.safetensors',
    'iteration-2/checkpoints/step-000008/optimizer.safetensors',
  ])
    expect(fileOf(folder, name).equals(fileOf(reference, name))).toBe(true);
}

/** What a child that can be killed is started with. */
const childOf = (out: string) => [path.join(__dirname, 'child.js'), corpus, out];

describe('a run', () => {
  test('is a folder with everything in it', () => {
    const run = openRun(reference);
    expect(run.complete).toBe(true);
    expect(run.checkpoints().map(({ name }) => name)).toEqual([
      'iteration-1/step-000000',
      'iteration-1/step-000007',
      'iteration-1/step-000014',
      'iteration-2/step-000000',
      'iteration-2/step-000004',
      'iteration-2/step-000008',
    ]);
    const withOptimizer = run.checkpoints().filter((c) => fs.existsSync(path.join(c.folder, 'optimizer.safetensors')));
    expect(withOptimizer.map(({ name }) => name)).toEqual(['iteration-2/step-000008']);
    expect(run.system?.cores).toBeGreaterThan(0);
    expect(run.checkpoint('iteration-1').update).toBe(14);
    expect(() => run.checkpoint('iteration-3')).toThrow(expect.objectContaining({ code: 'HK_NAME' }));
  });

  test('logs each line at its update, validates with the same frames and learns', () => {
    const metrics = openRun(reference).metrics();
    const of = (kind: string, iteration: number) => metrics.filter((m) => m.kind === kind && m.iteration === iteration);
    expect(of('train', 1).map((m) => m.update)).toEqual([2, 4, 6, 8, 10, 12, 14]);
    expect(of('train', 2).map((m) => m.totalUpdates)).toEqual([16, 18, 20, 22]);
    expect(of('valid', 1).map((m) => m.update)).toEqual([0, 6, 12, 14]);
    const [first, , , last] = of('valid', 1);
    expect(first.maskedLossBits).toBeGreaterThan(first.unigramBits - 0.5);
    expect(last.maskedLossBits).toBeLessThan(first.maskedLossBits);
    const tenth = of('train', 1)[4];
    expect(tenth.audioSeconds).toBeGreaterThan(10 * 8 * 0.6);
    expect(tenth.audioSeconds).toBeLessThanOrEqual(10 * 8);
    expect(metrics.every((m) => m.skippedSteps === undefined || m.skippedSteps === 0)).toBe(true);
    expect(of('train', 1).every((m) => m.relabelAudioSeconds === 0)).toBe(true);
    expect(of('train', 2)[0].relabelAudioSeconds).toBeGreaterThan(60);
  });

  test('tells what it does', () => {
    const kinds = new Set(events.map(({ kind }) => kind));
    for (const kind of ['run', 'labels', 'labelled', 'update', 'valid', 'checkpoint']) expect(kinds).toContain(kind);
    const labelled = events.flatMap((event) => (event.kind === 'labelled' ? [event] : []));
    expect(labelled.map(({ clusters }) => clusters)).toEqual([12, 10]);
    expect(labelled[0].unigramBits).toBeGreaterThan(2);
    expect(labelled[0].unigramBits).toBeLessThanOrEqual(Math.log2(12));
  });

  test('that is finished is not done again', async () => {
    const before = fs.readFileSync(path.join(reference, 'metrics.jsonl'), 'utf8');
    const result = await pretrain(microConfig(corpus, reference));
    expect(result.totalUpdates).toBe(22);
    expect(fs.readFileSync(path.join(reference, 'metrics.jsonl'), 'utf8')).toBe(before);
  });

  test('refuses another configuration in its folder, naming the key', async () => {
    const other = { ...microConfig(corpus, reference), clip: 1 };
    await expect(pretrain(other)).rejects.toMatchObject({
      code: 'HK_CONFIG',
      message: expect.stringContaining('clip is 10 there and 1 now'),
    });
  });

  test('refuses a device that is not there before it computes anything', async () => {
    const config = { ...microConfig(corpus, path.join(root, 'no-device')), device: 'cuda:99' };
    const seen: Progress[] = [];
    await expect(pretrain(config, { onProgress: (e) => seen.push(e) })).rejects.toMatchObject({ code: 'HK_NO_DEVICE' });
    expect(seen).toEqual([]);
  });

  test('refuses a folder that another process trains in', async () => {
    const out = path.join(root, 'busy');
    fs.mkdirSync(out);
    fs.writeFileSync(path.join(out, '.lock'), String(process.ppid));
    await expect(pretrain(microConfig(corpus, out))).rejects.toMatchObject({ code: 'HK_BUSY' });
  });
});

test('a run killed at random points and started again ends bit for bit like one that was not', async () => {
  const out = path.join(root, 'killed');
  const points: string[] = [];
  for (let kill = 0; kill < 3; kill++) {
    const [lines, milliseconds] = [1 + Math.floor(Math.random() * 30), Math.floor(Math.random() * 60)];
    points.push(`${lines} lines + ${milliseconds} ms`);
    if (await runAndKill(childOf(out), lines, milliseconds)) break;
  }
  console.info(`killed after ${points.join(', ')}`);
  expect(await runAndKill(childOf(out), Number.POSITIVE_INFINITY, 0)).toBe(true);
  expectSameRun(out);
});

test('an aborted run leaves a checkpoint where it stood and goes on from there', async () => {
  const out = path.join(root, 'aborted');
  const controller = new AbortController();
  const stopAt = (event: Progress) => {
    if (event.kind === 'update' && event.metrics.totalUpdates === 8) controller.abort();
  };
  const run = pretrain(microConfig(corpus, out), { onProgress: stopAt, signal: controller.signal });
  await expect(run).rejects.toMatchObject({ code: 'HK_INTERRUPTED' });
  expect(openRun(out).latest()?.name).toBe('iteration-1/step-000008');
  await pretrain(microConfig(corpus, out));
  expectSameRun(out);
});

/** A single iteration of a few updates. */
const oneIteration = (from: string, name: string, updates: number): PretrainOptions => ({
  ...microConfig(from, path.join(root, name)),
  schedule: [{ teacher: 'mfcc', clusters: 12, updates }],
});

test('updates without a finite gradient are skipped, counted and written down with their utterances', async () => {
  const config = { ...oneIteration(corpus, 'infinite', 6), learningRate: 1e36 };
  const alarms: string[] = [];
  const { skippedSteps } = await pretrain(config, {
    onProgress: (event) => event.kind === 'alarm' && alarms.push(event.message),
  });
  expect(skippedSteps).toBeGreaterThan(2);
  const lines = fs.readFileSync(path.join(config.out, 'skipped-steps.jsonl'), 'utf8').trim().split('\n');
  expect(lines).toHaveLength(skippedSteps);
  expect(JSON.parse(lines[0]).utterances[0].id).toMatch(/^train\/notes-/);
  expect(openRun(config.out).metrics().at(-2)?.skippedSteps).toBe(skippedSteps);
});

test('the mel front end trains too', async () => {
  const config: PretrainOptions = { ...oneIteration(corpus, 'mel', 20), frontEnd: 'mel', learningRate: 3e-3 };
  await pretrain(config);
  const valid = openRun(config.out)
    .metrics()
    .filter((m) => m.kind === 'valid');
  expect(valid.at(-1)!.maskedLossBits).toBeLessThan(valid[0].maskedLossBits - 0.2);
});

test('a damaged file is listed and left out; too many of them stop the run', async () => {
  const damaged = path.join(root, 'damaged');
  notesCorpus(damaged, 12);
  const whole = path.join(damaged, 'train', 'cut.wav');
  writeWav(whole, notes(2, 99));
  fs.truncateSync(whole, 30_000);
  const config = {
    ...microConfig(damaged, path.join(root, 'skips')),
    schedule: microConfig('', '').schedule?.slice(0, 1),
  };
  await pretrain(config);
  const skipped = fs
    .readFileSync(path.join(root, 'skips', 'skipped.jsonl'), 'utf8')
    .trim()
    .split('\n');
  expect(skipped).toHaveLength(1);
  expect(JSON.parse(skipped[0])).toMatchObject({ path: whole, code: 'HK_AUDIO' });
  const strict = { ...config, out: path.join(root, 'strict'), maxSkippedShare: 0.01 };
  await expect(pretrain(strict)).rejects.toMatchObject({ code: 'HK_CORPUS' });
});
