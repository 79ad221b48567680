import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { estimateExperiments } from '../../lib/experiments/estimate';
import { writeToneCorpus } from '../finetune/tones';
import { microExperiment } from './micro';

let root: string;
let corpus: string;

beforeAll(() => {
  root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-estimate-'));
  corpus = writeToneCorpus(path.join(root, 'tones'), { train: 30, valid: 4, test: 4 });
});
afterAll(() => fs.rmSync(root, { recursive: true, force: true }));

test('a prediction trains nothing, counts what experiments share once, and is the sum of its cells', async () => {
  const out = path.join(root, 'experiments');
  const options = (name: string, audioHours: number) => ({
    ...microExperiment(corpus, path.join(out, name), name),
    audioHours,
  });
  // Units of 4 updates of 4 s: four cells of one, then three of one, of which the first is a cell of the one before.
  const { cells, speed, seconds, audioSeconds } = await estimateExperiments([
    options('masking', 64 / 3600),
    options('unmasked-loss', 48 / 3600),
    options('layer-reset', 60 / 3600),
  ]);
  expect(fs.existsSync(out)).toBe(false);
  const of = (name: string) => cells.filter(({ experiment }) => experiment === name);
  expect(of('masking').map(({ updates, sharedUpdates }) => updates - sharedUpdates)).toEqual([4, 4, 4, 4]);
  expect(of('unmasked-loss').map(({ updates, sharedUpdates }) => updates - sharedUpdates)).toEqual([0, 4, 4]);
  expect(of('layer-reset').map(({ fineTunings }) => fineTunings)).toEqual([17, 7]);
  for (const rate of Object.values(speed)) expect(rate).toBeGreaterThan(0);
  const sum = (key: 'seconds' | 'audioSeconds') => cells.reduce((total, cell) => total + cell[key], 0);
  expect(seconds).toBeCloseTo(sum('seconds'), 6);
  expect(audioSeconds).toBeCloseTo(sum('audioSeconds'), 6);
  expect(of('layer-reset')[0].seconds).toBeGreaterThan(of('masking')[0].seconds);
});
