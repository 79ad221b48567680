/** The float64 reference of a small HuBERT (test/golden/README.md). */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { packageRoot } from '../../lib/binding';
import { readSafetensors, toFloat32 } from '../../lib/formats/safetensors';
import { type HubertConfig, hubertConfig } from '../../lib/nn/config';
import { HubertModel } from '../../lib/nn/model';

const folder = path.join(packageRoot, 'test', 'golden');
const file = (name: string) => path.join(folder, name);

export interface Golden {
  config: HubertConfig;
  values: Record<string, number>;
  history: { loss: number[]; grad_norm: number[] };
  adamw: { lr: number; betas: [number, number]; eps: number; weight_decay: number; clip: number };
  input: { waveform: Float32Array; frameLengths: Int32Array; labels: Int32Array; mask: Uint8Array };
  expected: Map<string, Float32Array>;
  gradients: Map<string, Float32Array>;
  updated: Map<string, Float32Array>;
  shape: { batch: number; samples: number };
}

async function tensors(name: string): Promise<Map<string, Float32Array>> {
  const read = await readSafetensors(file(name));
  return new Map([...read.tensors].map(([key, t]) => [key, toFloat32(t)]));
}

export async function loadGolden(): Promise<Golden> {
  const json = JSON.parse(fs.readFileSync(file('config.json'), 'utf8'));
  const inputs = (await readSafetensors(file('inputs.safetensors'))).tensors;
  const config = hubertConfig('nano', {
    convDim: json.conv_dim[0],
    hiddenSize: json.hidden_size,
    intermediateSize: json.intermediate_size,
    heads: json.num_attention_heads,
    layers: json.num_hidden_layers,
    projectionSize: json.final_dim,
    posConvKernel: json.num_conv_pos_embeddings,
    posConvGroups: json.num_conv_pos_embedding_groups,
  });
  return {
    config,
    values: json.values,
    history: json.history,
    adamw: json.adamw,
    input: {
      waveform: inputs.get('waveform')!.data as Float32Array,
      frameLengths: inputs.get('frame_lengths')!.data as Int32Array,
      labels: inputs.get('labels')!.data as Int32Array,
      mask: inputs.get('mask')!.data as Uint8Array,
    },
    expected: await tensors('expected.safetensors'),
    gradients: await tensors('grads.safetensors'),
    updated: await tensors('adamw.safetensors'),
    shape: { batch: 2, samples: inputs.get('waveform')!.shape[1] },
  };
}

/** A model with the golden weights. */
export async function goldenModel(golden: Golden): Promise<HubertModel> {
  const model = HubertModel.create({ config: golden.config, clusters: 20 });
  await model.loadWeights(file('weights.safetensors'));
  return model;
}

/** Largest absolute difference, divided by the largest entry of `expected`. */
export function relativeError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let worst = 0;
  let largest = 0;
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  for (let i = 0; i < expected.length; i++) {
    worst = Math.max(worst, Math.abs(got[i] - expected[i]));
    largest = Math.max(largest, Math.abs(expected[i]));
  }
  return Number.isFinite(worst) ? worst / Math.max(largest, 1e-30) : Number.POSITIVE_INFINITY;
}

/** |got - expected| / |expected|, Euclidean. */
export function relativeNorm(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  let difference = 0;
  let norm = 0;
  for (let i = 0; i < expected.length; i++) {
    difference += (got[i] - expected[i]) ** 2;
    norm += expected[i] ** 2;
  }
  return Math.sqrt(difference / Math.max(norm, 1e-30));
}
