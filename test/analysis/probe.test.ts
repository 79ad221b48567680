import { type LabelledFrames, linearProbe } from '../../lib/analysis/probe';
import { Philox } from '../../lib/data/philox';

/** Frames around `classes` random centres; `spread` is the deviation around a centre. */
function clouds(frames: number, classes: number, dimensions: number, spread: number, seed: number): LabelledFrames {
  const random = new Philox(seed);
  const centres = new Philox(99);
  const centre = Float32Array.from({ length: classes * dimensions }, () => centres.normal());
  const labels = Int32Array.from({ length: frames }, () => random.below(classes));
  const features = new Float32Array(frames * dimensions);
  for (let i = 0; i < frames; i++) {
    for (let d = 0; d < dimensions; d++) {
      features[i * dimensions + d] = 50 + 3 * (centre[labels[i] * dimensions + d] + spread * random.normal());
    }
  }
  return { features, labels };
}

test('classes that a plane separates are learnt, and hold on frames never seen', async () => {
  const { accuracy, trainAccuracy } = await linearProbe(clouds(3000, 6, 16, 0.3, 1), clouds(700, 6, 16, 0.3, 2), {
    classes: 6,
  });
  expect(trainAccuracy).toBeGreaterThan(0.99);
  expect(accuracy).toBeGreaterThan(0.99);
});

test('features that say nothing of the label give the accuracy of guessing', async () => {
  const train = clouds(3000, 5, 8, 1, 3);
  const test = clouds(1500, 5, 8, 1, 4);
  const shuffled = (frames: LabelledFrames) => ({ ...frames, labels: new Philox(5).shuffle(frames.labels.slice()) });
  const { accuracy, majorityAccuracy } = await linearProbe(shuffled(train), shuffled(test), { classes: 5, epochs: 4 });
  expect(Math.abs(accuracy - 0.2)).toBeLessThan(0.06);
  expect(Math.abs(majorityAccuracy - 0.2)).toBeLessThan(0.06);
});

test('the same data give the same accuracy, and frames without a label do not count', async () => {
  const train = clouds(1000, 4, 8, 1.2, 6);
  const test = clouds(500, 4, 8, 1.2, 7);
  const first = await linearProbe(train, test, { classes: 4 });
  expect(await linearProbe(train, test, { classes: 4 })).toEqual(first);
  test.labels.fill(-1, 0, 100);
  expect((await linearProbe(train, test, { classes: 4 })).testFrames).toBe(400);
});

test('labels beyond the classes and rows that do not fit are refused', async () => {
  const frames = clouds(20, 4, 8, 1, 8);
  await expect(linearProbe(frames, frames, { classes: 2 })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
  const short = { ...frames, features: frames.features.subarray(1) };
  await expect(linearProbe(frames, short, { classes: 4 })).rejects.toMatchObject({ code: 'HK_SHAPE' });
});
