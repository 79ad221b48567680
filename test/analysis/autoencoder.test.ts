import { autoencoderIndex, dropAtTop } from '../../lib/analysis/autoencoder';

test('layers that only move away from the input have index 0', () => {
  expect(autoencoderIndex([1, 0.8, 0.5, 0.2])).toBe(0);
});

test('a top layer that equals the input has index 1', () => {
  expect(autoencoderIndex([1, 0.6, 0.3, 1])).toBe(1);
});

test('a top layer half way back has index one half', () => {
  expect(autoencoderIndex([1, 0.2, 0.6])).toBeCloseTo(0.5);
});

test('a network that passes its input on has index 0, and one layer is refused', () => {
  expect(autoencoderIndex([1, 1, 1])).toBe(0);
  expect(() => autoencoderIndex([1])).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
});

test('drop-at-top is what the top has lost against the best layer', () => {
  expect(dropAtTop([0.2, 0.5, 0.4])).toBeCloseTo(0.1);
  expect(dropAtTop([0.2, 0.3, 0.4])).toBe(0);
});
