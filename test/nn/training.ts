/** A few updates of a small model with dropout, on a made-up waveform: for tests of what must not change its bits. */
import { hubertConfig } from '../../lib/nn/config';
import { HubertModel } from '../../lib/nn/model';
import type { PretrainStepOptions } from '../../lib/nn/steps';

export const config = hubertConfig('nano', {
  convDim: 32,
  hiddenSize: 64,
  intermediateSize: 128,
  layers: 3,
  hiddenDropout: 0.1,
  attentionDropout: 0.1,
  inputDropout: 0.1,
  layerDrop: 0.2,
});
export const batch = 2;
export const samples = 320 * 40 + 80;
export const clusters = 20;

function inputOf(frames: number) {
  return {
    waveform: Float32Array.from(
      { length: batch * samples },
      (_, i) => 0.3 * Math.sin(i * 0.05 + Math.sin(i * 0.0007) * 20),
    ),
    labels: Int32Array.from({ length: batch * frames }, (_, i) => (i * 7) % clusters),
    mask: Uint8Array.from({ length: batch * frames }, (_, i) => (i % 20 < 10 ? 1 : 0)),
    frameLengths: Int32Array.of(frames, frames - 5),
  };
}

/** Block 2 left out in every third update. */
const everyThird = (update: number) => [true, update % 3 !== 0, true];

interface TrainOptions extends PretrainStepOptions {
  seed?: number;
  device?: string;
  openLayers?: (update: number) => boolean[];
}

/** Losses of so many updates, the gradient of one more by parameter, and the planned memory. */
export async function train(
  updates: number,
  { seed = 3, device, openLayers = everyThird, ...options }: TrainOptions = {},
) {
  await using model = HubertModel.create({ config, clusters, seed, device });
  const step = model.pretraining({ batch, samples, ...options });
  const input = inputOf(model.frames(samples));
  const weights = { masked: 1 / input.mask.reduce((a, b) => a + b, 0), penalty: 10 };
  const losses: number[] = [];
  for (let i = 0; i < updates; i++) {
    const update = { learningRate: 1e-3, step: i + 1, clip: 10 };
    const { masked } = await step.run(input, { seed, draw: i, weights, update, openLayers: openLayers(i) });
    losses.push(masked.loss / masked.frames);
  }
  await step.run(input, { seed, draw: updates, weights });
  const gradients = new Map(model.store.names().map((name) => [name, model.store.read(name, 'gradients')]));
  return { losses, gradients, memory: (await step.ready()).memory };
}
