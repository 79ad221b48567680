// Same machine, thread count and seed: identical bits. Across thread counts our own kernels keep their reduction order and the
// GEMM library may not: loss within 1e-4 over 20 updates.
import { wrappedAsync } from '../../lib/binding';
import type { PretrainStepOptions } from '../../lib/nn/steps';
import { train } from './training';

const setThreads = (threads: number) => wrappedAsync((n) => n.setThreads(threads));
afterAll(() => setThreads(2));

test('the same seed gives the same bits after 50 updates, another seed others', async () => {
  await setThreads(2);
  const first = await train(50, { seed: 1 });
  const second = await train(50, { seed: 1 });
  expect(second.losses).toEqual(first.losses);
  expect(second.gradients).toEqual(first.gradients);
  expect(first.losses[49]).toBeLessThan(first.losses[0]);
  const other = await train(2, { seed: 2 });
  expect(other.losses[0]).not.toBe(first.losses[0]);
});

test('one thread and two agree within 1e-4 over 20 updates', async () => {
  await setThreads(1);
  const one = await train(20, { seed: 1 });
  await setThreads(2);
  const two = await train(20, { seed: 1 });
  one.losses.forEach((loss, i) => {
    expect(Math.abs(loss - two.losses[i])).toBeLessThan(1e-4);
  });
});

test('blocks that are computed again for their gradient give the same bits in less memory, dropout and LayerDrop included', async () => {
  const kept = await train(10);
  const again = await train(10, { checkpoint: 'layers' });
  expect(again.losses).toEqual(kept.losses);
  expect(again.gradients).toEqual(kept.gradients);
  expect(again.memory.arena).toBeLessThan(kept.memory.arena);
});

test('with the top block computed of the frames to predict alone: the same bits twice, and blocks computed again', async () => {
  const first = await train(10, { predictedFrames: 45 });
  const options: PretrainStepOptions[] = [{ predictedFrames: 45 }, { predictedFrames: 45, checkpoint: 'layers' }];
  for (const option of options) {
    const second = await train(10, option);
    expect(second.losses).toEqual(first.losses);
    expect(second.gradients).toEqual(first.gradients);
  }
  expect(first.losses[9]).toBeLessThan(first.losses[0]);
});
