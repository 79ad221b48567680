// Same machine, thread count and seed: identical bits. Across thread counts our own kernels keep their reduction order and the
// GEMM library may not: loss within 1e-4 over 20 updates.
import { wrappedAsync } from '../../lib/binding';
import { hubertConfig } from '../../lib/nn/config';
import { HubertModel } from '../../lib/nn/model';

const config = hubertConfig('nano', {
  convDim: 32,
  hiddenSize: 64,
  intermediateSize: 128,
  layers: 2,
  hiddenDropout: 0.1,
  attentionDropout: 0.1,
  inputDropout: 0.1,
  layerDrop: 0.2,
});
const batch = 2;
const samples = 320 * 40 + 80;

async function losses(updates: number, seed: number): Promise<{ losses: number[]; weights: Float32Array }> {
  await using model = HubertModel.create({ config, clusters: 20, seed });
  const step = model.pretraining({ batch, samples });
  const frames = model.frames(samples);
  const waveform = Float32Array.from(
    { length: batch * samples },
    (_, i) => 0.3 * Math.sin(i * 0.05 + Math.sin(i * 0.0007) * 20),
  );
  const labels = Int32Array.from({ length: batch * frames }, (_, i) => (i * 7) % 20);
  const mask = Uint8Array.from({ length: batch * frames }, (_, i) => (i % 20 < 10 ? 1 : 0));
  const masked = mask.reduce((a, b) => a + b, 0);
  const result: number[] = [];
  for (let i = 0; i < updates; i++) {
    const { masked: counts } = await step.run(
      { waveform, labels, mask, frameLengths: Int32Array.of(frames, frames - 5) },
      {
        seed,
        draw: i,
        weights: { masked: 1 / masked, penalty: 10 },
        openLayers: [true, i % 3 !== 0],
        update: { learningRate: 1e-3, step: i + 1, clip: 10 },
      },
    );
    result.push(counts.loss / counts.frames);
  }
  return { losses: result, weights: model.store.read('encoder.layers.0.attention.q_proj.weight') };
}

const setThreads = (threads: number) => wrappedAsync((n) => n.setThreads(threads));
afterAll(() => setThreads(2));

test('the same seed gives the same bits after 50 updates, another seed others', async () => {
  await setThreads(2);
  const first = await losses(50, 1);
  const second = await losses(50, 1);
  expect(second.losses).toEqual(first.losses);
  expect(second.weights).toEqual(first.weights);
  expect(first.losses[49]).toBeLessThan(first.losses[0]);
  const other = await losses(2, 2);
  expect(other.losses[0]).not.toBe(first.losses[0]);
});

test('one thread and two agree within 1e-4 over 20 updates', async () => {
  await setThreads(1);
  const one = await losses(20, 1);
  await setThreads(2);
  const two = await losses(20, 1);
  one.losses.forEach((loss, i) => {
    expect(Math.abs(loss - two.losses[i])).toBeLessThan(1e-4);
  });
});
