import { meanHeight, updatesToReach } from '../../lib/finetune/curve';

const curve = [
  { update: 0, value: 1 },
  { update: 100, value: 0.8 },
  { update: 200, value: 0.4 },
  { update: 400, value: 0.5 },
];

test('updates to reach a threshold are interpolated between evaluations', () => {
  expect(updatesToReach(curve, 0.8)).toBeCloseTo(100);
  expect(updatesToReach(curve, 0.6)).toBeCloseTo(150);
  expect(updatesToReach(curve, 1)).toBe(0);
});

test('a threshold that is never reached is censored', () => {
  expect(updatesToReach(curve, 0.3)).toBeNull();
  expect(updatesToReach([], 0.3)).toBeNull();
});

test('the mean height of a constant curve is its value on both axes', () => {
  const flat = curve.map(({ update }) => ({ update, value: 0.7 }));
  expect(meanHeight(flat, 'linear')).toBeCloseTo(0.7);
  expect(meanHeight(flat, 'log')).toBeCloseTo(0.7);
});

test('the linear area is the trapezoid rule; the log axis weighs the beginning more', () => {
  expect(meanHeight(curve, 'linear')).toBeCloseTo((90 + 60 + 90) / 400);
  expect(meanHeight(curve, 'log')).toBeGreaterThan(meanHeight(curve, 'linear'));
});
