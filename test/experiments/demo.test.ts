import { demoConfig } from '../../lib/experiments/demo';
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
