import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { runExperiment } from '../../lib/experiments/engine';
import { type Experiment, outcomes } from '../../lib/experiments/experiment';
import type { ExperimentOptions } from '../../lib/experiments/plan';
import { readJsonLines } from '../../lib/formats/atomic';
import { writeToneCorpus } from '../finetune/tones';
import { microExperiment } from './micro';
import { runAndKill } from '../run-and-kill';

let root: string;
let corpus: string;

beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-experiment-'));
  corpus = writeToneCorpus(path.join(root, 'tones'), { train: 30, valid: 4, test: 4 });
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

/** results.jsonl without the columns that tell time. */
async function timeless(out: string): Promise<object[]> {
  const rows = await readJsonLines<Record<string, unknown>>(path.join(out, 'results.jsonl'));
  return rows.map(({ wallSeconds: _, finetuneWallSeconds: __, ...rest }) => rest);
}

/** Two teacher layers, on a first iteration of their own. */
const heights = (...layers: number[]): Experiment => ({
  name: 'heights',
  question: 'Which layer?',
  cells: (scale) =>
    layers.map((layer) => ({
      name: `layer-${layer}`,
      parameters: { teacherLayer: layer },
      schedule: [scale.first(1), scale.later(1, { teacher: { layer } })],
    })),
  comparisons: () => [
    {
      outcome: outcomes.bestPnmi,
      baseline: { name: 'layer 0', where: { cell: 'layer-0' } },
      others: [{ name: 'layer 1', where: { teacherLayer: 1 } }],
    },
  ],
});

const run = (out: string, experiment: Experiment, options: Partial<ExperimentOptions> = {}) =>
  runExperiment({ ...microExperiment(corpus, out, experiment), audioHours: 0.01, ...options });

describe('an experiment', () => {
  const out = () => path.join(root, 'one', 'heights');

  test('writes a row for each checkpoint, layer and measure, and a verdict over its seeds', async () => {
    const summary = await run(out(), heights(0, 1), { seeds: 2 });
    const rows = await readJsonLines<Record<string, unknown>>(path.join(out(), 'results.jsonl'));
    const last = rows.findLast((row) => row.measure === 'pnmi' && row.layer === 1)!;
    expect(last).toMatchObject({
      experiment: 'heights',
      cell: 'layer-1',
      parameters: { teacherLayer: 1 },
      seed: 2,
      iteration: 2,
    });
    for (const column of ['totalUpdates', 'audioSeconds', 'relabelAudioSeconds', 'wallSeconds', 'value'])
      expect(last[column]).toBeGreaterThan(0);
    expect(last.configHash).toMatch(/^[0-9a-f]{16}$/);
    expect(last.version).toMatch(/^\d+\.\d+\.\d+/);
    const [verdict] = summary.verdicts;
    expect(verdict.sentence).toContain('2 seeds');
    expect(verdict.conditions.map(({ name }) => name)).toEqual(['layer 0', 'layer 1']);
    const best = (cell: string, seed: number) =>
      Math.max(
        ...rows
          .filter(
            (r) =>
              r.cell === cell &&
              r.seed === seed &&
              r.iteration === 2 &&
              r.update !== 0 &&
              r.kind === 'layer' &&
              r.measure === 'pnmi',
          )
          .map((r) => r.value as number),
      );
    expect(verdict.conditions[1].values).toEqual([best('layer-1', 1), best('layer-1', 2)]);
    expect(JSON.parse(fs.readFileSync(path.join(out(), 'summary.json'), 'utf8')).verdicts[0].sentence).toBe(
      verdict.sentence,
    );
  });

  test('trains an iteration that cells share once', async () => {
    const cost = (cell: string) => JSON.parse(fs.readFileSync(path.join(out(), 'seed-1', cell, 'cost.json'), 'utf8'));
    const rows = await readJsonLines<Record<string, number | string>>(path.join(out(), 'results.jsonl'));
    const whole = rows.findLast((row) => row.cell === 'layer-1' && row.seed === 1)!.audioSeconds as number;
    expect(cost('layer-0').audioSeconds).toBeCloseTo(whole, 0);
    expect(cost('layer-1').audioSeconds).toBeLessThan(0.7 * whole);
  });

  test('that took over an iteration ends bit for bit like one that trained it', async () => {
    const alone = path.join(root, 'alone', 'heights');
    await run(alone, heights(1), { audioHours: (0.01 * 2) / 3 });
    expect(fs.existsSync(path.join(alone, 'seed-1', 'layer-1', 'reused.json'))).toBe(false);
    const shared = (await timeless(out())).filter(
      (row) => 'seed' in row && row.seed === 1 && 'cell' in row && row.cell === 'layer-1',
    );
    expect(shared).toEqual(await timeless(alone));
    const weights = (of: string) => {
      const folder = path.join(of, 'seed-1', 'layer-1', 'iteration-2', 'checkpoints');
      return fs.readFileSync(path.join(folder, fs.readdirSync(folder).sort().at(-1)!, 'model.safetensors'));
    };
    expect(weights(out()).equals(weights(alone))).toBe(true);
    const log = (of: string) =>
      fs.readFileSync(path.join(of, 'seed-1', 'layer-1', 'metrics.jsonl'), 'utf8').split('\n').length;
    expect(log(out())).toBe(log(alone));
  });

  test('does not take over what another version of hubertkit has trained', async () => {
    const alone = path.join(root, 'alone', 'heights', 'seed-1', 'layer-1', 'system.json');
    const system = JSON.parse(fs.readFileSync(alone, 'utf8'));
    const beside = (name: string) => path.join(root, 'alone', name);
    const reused = (name: string) => fs.existsSync(path.join(beside(name), 'seed-1', 'layer-1', 'reused.json'));
    await run(beside('same'), heights(1), { audioHours: (0.01 * 2) / 3 });
    expect(reused('same')).toBe(true);
    fs.rmSync(beside('same'), { recursive: true });
    fs.writeFileSync(alone, JSON.stringify({ ...system, hubertkit: '0.0.1' }));
    await run(beside('other'), heights(1), { audioHours: (0.01 * 2) / 3 });
    expect(reused('other')).toBe(false);
  });

  test('may get more seeds, but no other options', async () => {
    const events: string[] = [];
    await runExperiment(
      { ...microExperiment(corpus, out(), heights(0, 1)), audioHours: 0.01, seeds: 2 },
      { onProgress: ({ phase }) => events.push(phase) },
    );
    expect(events).toEqual([]);
    await expect(run(out(), heights(0, 1), { audioHours: 0.02 })).rejects.toMatchObject({
      code: 'HK_MISMATCH',
      message: expect.stringContaining('unitUpdates'),
    });
  });
});

/** What a child that can be killed is started with. */
const childOf = (out: string) => [path.join(__dirname, 'child.js'), 'layer-reset', corpus, out, '0.005'];

test('layer-reset killed at random three times and started again ends with the same results as uninterrupted', async () => {
  const [whole, killed] = [path.join(root, 'whole', 'layer-reset'), path.join(root, 'killed', 'layer-reset')];
  expect(await runAndKill(childOf(whole), Number.POSITIVE_INFINITY, 0)).toBe(true);
  const points: string[] = [];
  for (let kill = 0; kill < 3; kill++) {
    const [lines, milliseconds] = [1 + Math.floor(Math.random() * 150), Math.floor(Math.random() * 100)];
    points.push(`${lines} lines + ${milliseconds} ms`);
    if (await runAndKill(childOf(killed), lines, milliseconds)) break;
  }
  console.info(`killed after ${points.join(', ')}`);
  expect(await runAndKill(childOf(killed), Number.POSITIVE_INFINITY, 0)).toBe(true);
  const rows = await timeless(killed);
  expect(rows).toEqual(await timeless(whole));
  expect(rows.filter((row) => 'kind' in row && row.kind === 'finetune')).toHaveLength(24);
}, 300_000);
