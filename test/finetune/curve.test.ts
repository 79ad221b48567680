import { meanHeight, updatesToReach } from '../../lib/finetune/curve';
import { isBetter } from '../../lib/finetune/finetune';

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

test('the better weights are those with the lower WER; while hardly a word is right, those with the lower CER', () => {
  expect(isBetter({ wer: 0.5, cer: 0.4 }, { wer: 0.6, cer: 0.3 })).toBe(true);
  expect(isBetter({ wer: 0.5, cer: 0.4 }, { wer: 0.5, cer: 0.3 })).toBe(false);
  expect(isBetter({ wer: 0.8, cer: 0.6 }, { wer: 1.1, cer: 0.5 })).toBe(true);
  expect(isBetter({ wer: 1.1, cer: 0.6 }, { wer: 1, cer: 0.9 })).toBe(true);
  expect(isBetter({ wer: 1, cer: 0.9 }, { wer: 1.1, cer: 0.6 })).toBe(false);
  expect(isBetter({ wer: 1, cer: 0.9 }, undefined)).toBe(true);
});
