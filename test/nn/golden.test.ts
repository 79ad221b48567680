// Parity with a float64 reference of one pretraining step (test/golden): values within 1e-5 of each tensor's largest entry,
// gradients within 1e-4 relative norm; single precision over this depth leaves about 1e-6.
import { Graph, Scope } from '../../lib/nn/graph';
import { featureExtractor, featureProjection, hubert } from '../../lib/nn/hubert';
import type { HubertModel } from '../../lib/nn/model';
import { linear, maskFrames, posConv, weightNorm } from '../../lib/nn/ops';
import { type Golden, goldenModel, loadGolden, relativeError, relativeNorm } from '../golden/load';

const valueTolerance = 1e-5;
const gradientTolerance = 1e-4;

let golden: Golden;
let model: HubertModel;

beforeAll(async () => {
  golden = await loadGolden();
  model = await goldenModel(golden);
});
afterAll(() => model.dispose());

/** [B, C, T] as [B, T, C]. */
function transposed(x: Float32Array, batch: number, channels: number): Float32Array {
  const frames = x.length / batch / channels;
  const y = new Float32Array(x.length);
  for (let b = 0; b < batch; b++)
    for (let c = 0; c < channels; c++)
      for (let t = 0; t < frames; t++) y[(b * frames + t) * channels + c] = x[(b * channels + c) * frames + t];
  return y;
}

const expected = (name: string) => golden.expected.get(name)!;

describe('the golden forward pass', () => {
  test.each([0, 1, 2, 3, 4, 5, 6])('convolution %i agrees', async (layer) => {
    const config = {
      ...golden.config,
      convKernels: golden.config.convKernels.slice(0, layer + 1),
      convStrides: golden.config.convStrides.slice(0, layer + 1),
    };
    const g = new Graph(false);
    const wave = g.feed('waveform', [2, golden.shape.samples]);
    g.output('y', featureExtractor(wave, new Scope(g).at('feature_extractor'), config));
    await using program = await g.compile(model.store);
    const { y } = await program.run({ waveform: golden.input.waveform });
    expect(relativeError(y, transposed(expected(`conv.${layer}`), 2, golden.config.convDim))).toBeLessThan(
      valueTolerance,
    );
  });

  test('projection, mask, positional convolution and its weight norm agree', async () => {
    const { config } = golden;
    const g = new Graph(false);
    const p = new Scope(g);
    const frames = model.frames(golden.shape.samples);
    const features = g.feed('features', [2, frames, config.convDim]);
    const projected = featureProjection(features, p.at('feature_projection'), config);
    const embedding = p.parameter('masked_spec_embed', [config.hiddenSize], { kind: 'zeros' });
    const masked = maskFrames(projected, g.feed('mask', [2, frames], 'u8'), g.feed('lengths', [2], 'i32'), embedding);
    const conv = p.at('encoder.pos_conv_embed.conv');
    const k = config.posConvKernel;
    const v = conv.parameter('parametrizations.weight.original1', [48, 12, k], { kind: 'zeros' });
    const weight = weightNorm(v, conv.parameter('parametrizations.weight.original0', [1, 1, k], { kind: 'zeros' }));
    g.output('feature_projection', projected);
    g.output('masked_input', masked);
    g.output('pos_conv.weight', weight);
    g.output(
      'pos_conv',
      posConv(masked, weight, conv.parameter('bias', [48], { kind: 'zeros' }), config.posConvGroups),
    );
    await using program = await g.compile(model.store);
    const got = await program.run({
      features: expected('features'),
      mask: golden.input.mask,
      lengths: golden.input.frameLengths,
    });
    for (const name of Object.keys(got))
      expect([name, relativeError(got[name], expected(name)) < valueTolerance]).toEqual([name, true]);
  });

  test('every hidden state agrees, and so do the logits', async () => {
    const { config } = golden;
    const g = new Graph(false);
    const { states } = hubert(g, golden.shape, config);
    for (const [i, state] of states.entries()) g.output(`hidden.${i}`, state);
    const p = new Scope(g);
    const w = p.parameter('final_proj.weight', [16, 48], { kind: 'zeros' });
    g.output('final_proj', linear(states[2], w, p.parameter('final_proj.bias', [16], { kind: 'zeros' })));
    await using program = await g.compile(model.store);
    const { waveform, mask, frameLengths } = golden.input;
    const got = await program.run({ waveform, mask, frameLengths });
    for (const name of Object.keys(got))
      expect([name, relativeError(got[name], expected(name)) < valueTolerance]).toEqual([name, true]);
    const logits = cosineLogits(got.final_proj as Float32Array, model.store.read('label_embs_concat'), 16);
    expect(relativeError(logits, expected('logits'))).toBeLessThan(valueTolerance);
  });

  test('losses, counts and the feature penalty agree', async () => {
    const got = await model.evaluating(golden.shape).run(golden.input);
    const { values } = golden;
    expect(got.masked.loss / got.masked.frames).toBeCloseTo(values.loss_masked, 5);
    expect(got.unmasked.loss / got.unmasked.frames).toBeCloseTo(values.loss_unmasked, 5);
    expect(got.masked.correct).toBe(values.correct_masked);
    expect(got.masked.frames).toBe(38);
    expect(got.featurePenalty).toBeCloseTo(values.features_pen, 6);
  });
});

describe('the golden backward pass', () => {
  test('the gradient of every parameter agrees', async () => {
    await using fresh = await goldenModel(golden);
    await fresh
      .pretraining(golden.shape)
      .run(golden.input, { seed: 0, draw: 0, weights: { masked: 1 / 38, penalty: 10 } });
    const bad: [string, number][] = [];
    for (const [name, gradient] of golden.gradients) {
      const got = fresh.store.read(name, 'gradients');
      // In theory zero: softmax does not see a shift of the scores. Compared absolutely.
      const error = name.endsWith('k_proj.bias') ? Math.max(...got.map(Math.abs)) : relativeNorm(got, gradient);
      if (!(error < gradientTolerance)) bad.push([name, error]);
    }
    expect(bad).toEqual([]);
    expect(golden.gradients.size).toBe(fresh.store.names().length);
  });

  test('gradients of two runs add up', async () => {
    await using fresh = await goldenModel(golden);
    const step = fresh.pretraining(golden.shape);
    for (let i = 0; i < 2; i++)
      await step.run(golden.input, { seed: 0, draw: 0, weights: { masked: 1 / 38, penalty: 10 } });
    const name = 'encoder.layers.1.feed_forward.output_dense.weight';
    const twice = golden.gradients.get(name)!.map((x) => 2 * x);
    expect(relativeNorm(fresh.store.read(name, 'gradients'), twice)).toBeLessThan(gradientTolerance);
  });

  test('three AdamW updates with clipping agree', async () => {
    await using fresh = await goldenModel(golden);
    const { adamw, history } = golden;
    const step = fresh.pretraining(golden.shape);
    for (let i = 0; i < 3; i++) {
      const update = {
        learningRate: adamw.lr,
        step: i + 1,
        beta1: adamw.betas[0],
        beta2: adamw.betas[1],
        eps: adamw.eps,
        weightDecay: adamw.weight_decay,
        clip: adamw.clip,
      };
      const got = await step.run(golden.input, { seed: 0, draw: i, weights: { masked: 1 / 38, penalty: 10 }, update });
      const loss = got.masked.loss / got.masked.frames + 10 * got.featurePenalty;
      expect(Math.abs(loss / history.loss[i] - 1)).toBeLessThan(1e-4);
      expect(Math.abs(got.update!.gradientNorm / history.grad_norm[i] - 1)).toBeLessThan(1e-4);
      expect(got.update!.skipped).toBe(false);
    }
    for (const name of fresh.store.names()) {
      // k_proj.bias: Adam divides rounding noise by eps; 1e-5 absolute (test/golden/README.md).
      const got = fresh.store.read(name);
      const want = golden.updated.get(name)!;
      const worst = got.reduce((m, x, i) => Math.max(m, Math.abs(x - want[i])), 0);
      expect([name, worst < (name.endsWith('k_proj.bias') ? 1e-3 : 3e-5)]).toEqual([name, true]);
    }
  });
});

function cosineLogits(z: Float32Array, e: Float32Array, p: number): Float64Array {
  const norm = (x: Float32Array, row: number) => {
    let s = 0;
    for (let i = 0; i < p; i++) s += x[row * p + i] ** 2;
    return Math.max(Math.sqrt(s), 1e-8);
  };
  const n = z.length / p;
  const k = e.length / p;
  const out = new Float64Array(n * k);
  for (let i = 0; i < n; i++)
    for (let j = 0; j < k; j++) {
      let dot = 0;
      for (let d = 0; d < p; d++) dot += z[i * p + d] * e[j * p + d];
      out[i * k + j] = dot / norm(z, i) / norm(e, j) / 0.1;
    }
  return out;
}
