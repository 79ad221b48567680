import { Contingency, clusteringMeasures, entropy, meanSegmentLength } from '../../lib/analysis/clustering';
import { randomNumbers } from '../reference/loss';

const draw = (n: number, classes: number, seed: number) => {
  const random = randomNumbers(seed);
  return Array.from({ length: n }, () => Math.floor(((random() + 1) / 2) * classes));
};

test('PNMI and both purities are 1 for a relabelling', () => {
  const phones = draw(1000, 7, 1);
  const relabelling = [4, 2, 6, 0, 1, 5, 3];
  const m = clusteringMeasures(
    phones,
    phones.map((p) => relabelling[p]),
    { phones: 7, clusters: 9 },
  );
  expect(m.pnmi).toBeCloseTo(1, 12);
  expect(m.phonePurity).toBe(1);
  expect(m.clusterPurity).toBe(1);
  expect(m.activeClusters).toBe(7);
  expect(m.mutualInformation).toBeCloseTo(m.phoneEntropy, 12);
});

test('PNMI is 0 for independent labels', () => {
  const phones = Array.from({ length: 60 }, (_, t) => t % 3);
  const clusters = Array.from({ length: 60 }, (_, t) => Math.floor(t / 3) % 4);
  const m = clusteringMeasures(phones, clusters, { phones: 3, clusters: 4 });
  expect(m.pnmi).toBeCloseTo(0, 12);
  expect(m.phonePurity).toBeCloseTo(1 / 3, 12);
  expect(m.clusterPurity).toBeCloseTo(1 / 4, 12);
  expect(m.clusterPerplexity).toBeCloseTo(4, 10);
});

test('the chance level is what independent random labels come to', () => {
  const m = clusteringMeasures(draw(20000, 40, 2), draw(20000, 100, 3), { phones: 40, clusters: 100 });
  expect(m.chancePnmi).toBeCloseTo((39 * 99) / (2 * 20000 * m.phoneEntropy), 12);
  expect(m.pnmi / m.chancePnmi).toBeGreaterThan(0.9);
  expect(m.pnmi / m.chancePnmi).toBeLessThan(1.1);
});

test('a hand-made table: purities, entropies and MI by their formulas', () => {
  // p(phone 0) = 1/2, p(phone 1) = 1/2; cluster 0: 3 of phone 0 and 1 of phone 1; cluster 1: 1 and 3
  const m = clusteringMeasures([0, 0, 0, 0, 1, 1, 1, 1], [0, 0, 0, 1, 1, 1, 1, 0], { phones: 2, clusters: 2 });
  expect(m.phonePurity).toBeCloseTo(0.75, 12);
  expect(m.clusterPurity).toBeCloseTo(0.75, 12);
  const information = Math.log(2) + 0.75 * Math.log(0.75) + 0.25 * Math.log(0.25);
  expect(m.mutualInformation).toBeCloseTo(information, 12);
  expect(m.pnmi).toBeCloseTo(information / Math.log(2), 12);
});

test('merging clusters never raises PNMI, and splitting never lowers phone purity', () => {
  const phones = draw(3000, 10, 5);
  const noise = draw(3000, 20, 6);
  const fine = phones.map((p, t) => (t % 2 ? p * 2 + (noise[t] % 2) : noise[t]));
  const sizes = { phones: 10, clusters: 20 };
  const coarse = clusteringMeasures(
    phones,
    fine.map((c) => c >> 1),
    sizes,
  );
  const m = clusteringMeasures(phones, fine, sizes);
  expect(coarse.pnmi).toBeLessThanOrEqual(m.pnmi);
  expect(m.phonePurity).toBeGreaterThanOrEqual(coarse.phonePurity);
  expect(m.clusterPurity).toBeLessThanOrEqual(coarse.clusterPurity);
});

test('frames without a phone or a cluster are left out; utterances add up', () => {
  const contingency = new Contingency(2, 2);
  contingency.add([0, -1, 1], [1, 0, 0]);
  contingency.add([0, 1], [1, -1]);
  expect(contingency.measures()).toMatchObject({ frames: 3, activeClusters: 2, phonePurity: 1 });
});

test('no frames, or one phone only: zeros, no NaN', () => {
  expect(clusteringMeasures([], [], { phones: 2, clusters: 2 })).toMatchObject({ frames: 0, pnmi: 0, chancePnmi: 0, phonePurity: 0 });
  expect(clusteringMeasures([1, 1], [0, 1], { phones: 2, clusters: 2 })).toMatchObject({ pnmi: 0, chancePnmi: 0, phonePurity: 1 });
});

test('labels that do not fit are refused', () => {
  expect(() => new Contingency(2, 2).add([0], [0, 1])).toThrow(/1 frames with phones, 2 with clusters/);
  expect(() => new Contingency(2, 2).add([2], [0])).toThrow(/phone 2 of 2/);
  expect(() => new Contingency(0, 2)).toThrow(/whole numbers/);
});

test('entropy of equal counts is the logarithm of their number', () => {
  expect(entropy([5, 5, 5, 5, 0])).toBeCloseTo(Math.log(4), 12);
  expect(entropy([7])).toBe(0);
});

test('the segment length is frames over runs, and utterances end a run', () => {
  expect(
    meanSegmentLength([
      [1, 1, 2, 2, 2],
      [2, 2, 2],
    ]),
  ).toBeCloseTo(8 / 3, 12);
  expect(meanSegmentLength([[]])).toBe(0);
});
