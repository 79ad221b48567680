// A step that computes the top block of the frames to predict alone has the losses and gradients of one that computes all.
import { native } from '../../lib/binding';
import { frameCount, type HubertConfig, hubertConfig } from '../../lib/nn/config';
import { HubertModel } from '../../lib/nn/model';
import { type PretrainOptions, type PretrainStepOptions, predictedFrames } from '../../lib/nn/steps';

const small = { convDim: 16, hiddenSize: 32, intermediateSize: 64, layers: 3, posConvGroups: 4, projectionSize: 16 };
const [batch, samples, clusters] = [2, 320 * 30 + 80, 7];
const config = (changes: Partial<HubertConfig> = {}) => hubertConfig('nano', { ...small, ...changes });
const frames = frameCount(config(), samples);

/** Twelve frames masked in each row; of the second row the last four are not valid, some frames have no label. */
const input = {
  waveform: Float32Array.from(
    { length: batch * samples },
    (_, i) => 0.3 * Math.sin(i * 0.05 + 20 * Math.sin(i * 7e-4)),
  ),
  labels: Int32Array.from({ length: batch * frames }, (_, i) => (i % 11 === 3 ? -1 : (i * 3) % clusters)),
  mask: Uint8Array.from({ length: batch * frames }, (_, i) => (i % frames >= 10 && i % frames < 22 ? 1 : 0)),
  frameLengths: Int32Array.of(frames, 18),
};

async function stepOf(model: HubertModel, options: PretrainStepOptions, run: Partial<PretrainOptions> = {}) {
  const step = model.pretraining({ batch, samples, ...options });
  const weights = { masked: 0.1, unmasked: 0.05, penalty: 10 };
  const losses = await step.run(input, { seed: 1, draw: 0, weights, ...run });
  const gradients = new Map(model.store.names().map((name) => [name, model.store.read(name, 'gradients')]));
  return { losses, gradients, memory: (await step.ready()).memory };
}

/** Largest difference of a gradient, over the norm of the largest one. */
function difference(got: Map<string, Float32Array>, expected: Map<string, Float32Array>): number {
  const scale = Math.max(...[...expected.values()].map((g) => Math.hypot(...g)));
  const distance = ([name, g]: [string, Float32Array]) => Math.hypot(...g.map((v, i) => v - expected.get(name)![i]));
  return Math.max(...[...got].map(distance)) / scale;
}

interface Variant {
  changes?: Partial<HubertConfig>;
  options?: PretrainStepOptions;
  run?: Partial<PretrainOptions>;
}

const variants: [string, Variant][] = [
  ['norms after each part', {}],
  ['norms before each part', { changes: { normFirst: true } }],
  ['the top block left out', { changes: { layerDrop: 0.2 }, run: { openLayers: [true, true, false] } }],
  ['another block left out', { changes: { layerDrop: 0.2 }, run: { openLayers: [true, false, true] } }],
  ['a loss below the top', { options: { intermediateLayers: [2] } }],
  ['blocks computed again', { options: { checkpoint: 'layers' } }],
  ['unmasked frames predicted too', { options: { unmasked: true } }],
];

test.each(variants)('%s: the same losses and gradients', async (_, { changes, options, run }) => {
  await using whole = HubertModel.create({ config: config(changes), clusters, seed: 5 });
  await using few = HubertModel.create({ config: config(changes), clusters, seed: 5 });
  const expected = await stepOf(whole, { ...options }, run);
  const got = await stepOf(few, { ...options, predictedFrames: options?.unmasked ? batch * frames : 24 }, run);
  for (const part of ['masked', 'unmasked'] as const) {
    expect(got.losses[part].loss).toBeCloseTo(expected.losses[part].loss, 4);
    expect(got.losses[part].frames).toBe(expected.losses[part].frames);
    expect(got.losses[part].correct).toBe(expected.losses[part].correct);
  }
  expect(got.losses.intermediate.masked).toBeCloseTo(expected.losses.intermediate.masked, 4);
  expect(difference(got.gradients, expected.gradients)).toBeLessThan(1e-6);
  expect(expected.losses.masked.frames).toBeGreaterThan(0);
  if (!options?.unmasked) expect(got.memory.arena).toBeLessThanOrEqual(expected.memory.arena);
});

(native().backendInfo().bf16 ? test : test.skip)('the same in bf16, up to its rounding', async () => {
  await using whole = HubertModel.create({ config: config(), clusters, seed: 5 });
  await using few = HubertModel.create({ config: config(), clusters, seed: 5 });
  const expected = await stepOf(whole, { precision: 'bf16' });
  const got = await stepOf(few, { precision: 'bf16', predictedFrames: 24 });
  expect(Math.abs(got.losses.masked.loss / expected.losses.masked.loss - 1)).toBeLessThan(1e-3);
  expect(difference(got.gradients, expected.gradients)).toBeLessThan(1e-2);
});

test('rows that are left over change nothing', async () => {
  await using tight = HubertModel.create({ config: config(), clusters, seed: 5 });
  await using loose = HubertModel.create({ config: config(), clusters, seed: 5 });
  const [a, b] = [await stepOf(tight, { predictedFrames: 20 }), await stepOf(loose, { predictedFrames: 53 })];
  expect(b.losses.masked.loss).toBeCloseTo(a.losses.masked.loss, 4);
  expect(difference(b.gradients, a.gradients)).toBeLessThan(1e-6);
});

test('more frames to predict than the step was made for, and impossible numbers of them, are refused', async () => {
  await using model = HubertModel.create({ config: config(), clusters, seed: 5 });
  const refusal = { code: 'HK_ARGUMENT' };
  await expect(stepOf(model, { predictedFrames: 10 })).rejects.toMatchObject(refusal);
  for (const number of [0, 1.5, batch * frames + 1])
    await expect(stepOf(model, { predictedFrames: number })).rejects.toMatchObject(refusal);
});

test('masked frames are rounded up to a sixteenth of all', () => {
  const masked = (n: number) => predictedFrames(Uint8Array.from({ length: 100 }, (_, i) => (i < n ? 1 : 0)));
  expect([0, 1, 6, 7, 12, 13, 25, 26, 57, 100].map(masked)).toEqual([7, 7, 7, 13, 13, 19, 25, 32, 63, 100]);
});
