import type { CheckpointAnalysis } from '../../lib/analysis';
import { demoConfig, phoneInformation } from '../../lib/experiments/demo';
import { resolveConfig } from '../../lib/train';

const config = (budgetSeconds: number) => resolveConfig(demoConfig({ budgetSeconds, corpus: 'c', out: 'o', seed: 1 }));
const updates = (budgetSeconds: number) =>
  config(budgetSeconds).schedule.reduce((sum, entry) => sum + entry.updates, 0);

test('the budget alone decides the number of updates, in proportion', () => {
  expect(updates(600)).toBe(updates(600));
  expect(updates(3600) / updates(600)).toBeCloseTo(6, 1);
});

test('two iterations of the nano model: MFCC labels, then a layer of the first model', () => {
  const { model, schedule } = config(600);
  expect(model.preset).toBe('nano');
  expect(schedule.map(({ teacher }) => teacher)).toEqual(['mfcc', { layer: 2 }]);
});

test('the table shows the best layer of the last checkpoint of each iteration', () => {
  const layers = (...pnmi: number[]) => pnmi.map((value, layer) => ({ layer, pnmi: value }));
  const shared = { random: { layers: layers(0.13, 0.14) }, mfcc: { pnmi: 0.34 }, chance: { pnmi: 0.05 } };
  const analyses = [
    { iteration: 1, layers: layers(0.5, 0.6), ...shared },
    { iteration: 1, layers: layers(0.2, 0.3, 0.1), ...shared },
    { iteration: 2, layers: layers(0.33, 0.32, 0.31), ...shared },
  ] as CheckpointAnalysis[];
  expect(phoneInformation(analyses)).toEqual({
    pnmi: { chance: 0.05, random: 0.14, mfcc: 0.34, iteration1: 0.3, iteration2: 0.33 },
    bestLayers: { iteration1: 1, iteration2: 0 },
  });
});
