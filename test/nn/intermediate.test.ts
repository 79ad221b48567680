import { HubertModel } from '../../lib/nn/model';
import { hubertConfig } from '../../lib/nn/config';

const config = hubertConfig('nano', {
  convDim: 16,
  hiddenSize: 32,
  intermediateSize: 64,
  layers: 3,
  posConvGroups: 4,
  projectionSize: 16,
});
const [batch, samples, clusters] = [2, 320 * 30 + 80, 7];

async function gradientsOf(model: HubertModel, intermediateLayers: number[]) {
  const frames = model.frames(samples);
  const step = model.pretraining({ batch, samples, intermediateLayers });
  const input = {
    waveform: Float32Array.from(
      { length: batch * samples },
      (_, i) => 0.3 * Math.sin(i * 0.05 + 20 * Math.sin(i * 7e-4)),
    ),
    labels: Int32Array.from({ length: batch * frames }, (_, i) => (i * 3) % clusters),
    mask: Uint8Array.from({ length: batch * frames }, (_, i) => (i % 10 < 5 ? 1 : 0)),
    frameLengths: new Int32Array(batch).fill(frames),
  };
  const { masked, intermediate } = await step.run(input, { seed: 1, draw: 0, weights: { masked: 0.01 } });
  return {
    masked,
    intermediate,
    of: new Map(model.store.names().map((name) => [name, model.store.read(name, 'gradients')])),
  };
}

test('with a loss at layer 1 the gradient is that of the whole network plus that of the network cut off above layer 1', async () => {
  await using both = HubertModel.create({ config, clusters, seed: 5 });
  await using whole = HubertModel.create({ config, clusters, seed: 5 });
  await using bottom = whole.dropLayers(2);
  const got = await gradientsOf(both, [1]);
  const [top, low] = [await gradientsOf(whole, []), await gradientsOf(bottom, [])];
  expect(got.masked).toEqual(top.masked);
  expect(got.intermediate.masked).toBeCloseTo(low.masked.loss, 3);
  expect(top.intermediate.masked).toBe(0);
  let compared = 0;
  for (const [name, gradient] of got.of) {
    const expected = top.of.get(name)!.map((value, i) => value + (low.of.get(name)?.[i] ?? 0));
    const size = Math.hypot(...expected);
    if (size < 1e-5) continue; // the bias of keys has no gradient but rounding
    expect(Math.hypot(...gradient.map((value, i) => value - expected[i])) / size).toBeLessThan(1e-4);
    compared++;
  }
  expect(compared).toBeGreaterThan(40);
  expect(low.of.has('encoder.layers.1.layer_norm.weight')).toBe(false);
});

test('a layer that the model does not have is refused', () => {
  const model = HubertModel.create({ config, clusters, seed: 5 });
  expect(() => model.pretraining({ batch, samples, intermediateLayers: [4] })).toThrow(
    expect.objectContaining({ code: 'HK_ARGUMENT' }),
  );
  model.dispose();
});
