/** Calls that ops take, and the same with one thing wrong. */
import type { CallOutput, NdArray } from '../../lib/nn/call';

export interface Call {
  kind: string;
  inputs: (NdArray | null)[];
  outputs: (CallOutput | null)[];
  attributes: Record<string, number>;
}

type Dtype = 'f32' | 'i32' | 'u8';
type Tensor = { dtype: Dtype; shape: number[] } | null;

const arrays = { f32: Float32Array, i32: Int32Array, u8: Uint8Array };

/** 'f32 2 5 8, i32 2, none' */
function tensors(list: string): Tensor[] {
  return list.split(', ').map((text) => {
    const [dtype, ...shape] = text.split(' ');
    return dtype === 'none' ? null : { dtype: dtype as Dtype, shape: shape.map(Number) };
  });
}

// Kind, inputs, outputs, attributes.
const rightCalls: [kind: string, inputs: string, outputs: string, attributes?: Record<string, number>][] = [
  ['add', 'f32 3 5, f32 3 5', 'f32 3 5'],
  ['scale', 'f32 3 5', 'f32 3 5', { factor: 2 }],
  ['cast', 'f32 3 5', 'f32 3 5'],
  ['select', 'f32 3 5, f32 3 5', 'f32 3 5', { gate: 0 }],
  ['gelu', 'f32 3 5', 'f32 3 5'],
  ['gelu_grad', 'f32 3 5, f32 3 5', 'f32 3 5'],
  ['dropout', 'f32 3 5', 'f32 3 5', { dropout: 0.1, stream: 3 }],
  ['mean_square', 'f32 3 5', 'f32 1'],
  ['mean_square_grad', 'f32 3 5, f32 1', 'f32 3 5'],
  ['argmax', 'f32 3 5', 'i32 3'],
  ['layer_norm', 'f32 2 4 8, f32 8, f32 8', 'f32 2 4 8, f32 8 2', { eps: 1e-5 }],
  ['layer_norm_grad', 'f32 2 4 8, f32 8, f32 8 2, f32 2 4 8', 'f32 2 4 8, f32 8, f32 8'],
  [
    'add_layer_norm',
    'f32 2 4 8, f32 2 4 8, f32 8, f32 8',
    'f32 2 4 8, f32 2 4 8, f32 8 2',
    { eps: 1e-5, dropout: 0.1, stream: 3 },
  ],
  [
    'add_layer_norm_grad',
    'f32 2 4 8, f32 8, f32 8 2, f32 2 4 8, f32 2 4 8',
    'f32 2 4 8, f32 2 4 8, f32 8, f32 8',
    { dropout: 0.1, stream: 3 },
  ],
  ['mask_frames', 'f32 2 4 8, u8 2 4, i32 2, f32 8', 'f32 2 4 8'],
  ['mask_frames_grad', 'u8 2 4, i32 2, f32 2 4 8', 'f32 2 4 8, f32 8'],
  ['channel_mask', 'f32 2 4 8, u8 2 8', 'f32 2 4 8'],
  ['gather_rows', 'f32 2 4 8, i32 5', 'f32 1 5 8'],
  ['scatter_rows', 'f32 1 5 8, i32 5', 'f32 2 4 8'],
  ['pos_conv', 'f32 2 9 8, f32 8 4 4, f32 8', 'f32 2 9 8, f32 2 9 8', { groups: 2, gelu: 1 }],
  ['pos_conv_grad', 'f32 2 9 8, f32 8 4 4, f32 2 9 8', 'f32 2 9 8, f32 8 4 4, f32 8', { groups: 2 }],
  ['conv0_norm_gelu', 'f32 2 50, f32 4 1 10, f32 4, f32 4', 'f32 2 9 4, f32 2 110', { stride: 5, eps: 1e-5 }],
  [
    'conv0_norm_gelu_grad',
    'f32 2 50, f32 4 1 10, f32 4, f32 4, f32 2 110, f32 2 9 4',
    'f32 4 1 10, f32 4, f32 4',
    { stride: 5, eps: 1e-5 },
  ],
  ['conv1d', 'f32 2 11 6, f32 4 6 3, f32 4', 'f32 2 5 4, f32 2 5 4', { stride: 2, gelu: 1 }],
  ['conv1d_grad', 'f32 2 11 6, f32 4 6 3, f32 2 5 4', 'f32 2 11 6, f32 4 6 3, f32 4', { stride: 2 }],
  ['weight_norm', 'f32 6 4 3, f32 1 1 3', 'f32 6 4 3'],
  ['weight_norm_grad', 'f32 6 4 3, f32 1 1 3, f32 6 4 3', 'f32 6 4 3, f32 1 1 3'],
  ['linear', 'f32 2 4 8, f32 6 8, f32 6', 'f32 2 4 6, f32 2 4 6', { gelu: 1 }],
  ['linear_grad', 'f32 2 4 8, f32 6 8, f32 2 4 6', 'f32 2 4 8, f32 6 8, f32 6'],
  ['attention', 'f32 2 4 24, i32 2', 'f32 2 4 8, f32 2 2 4', { heads: 2, dropout: 0.1, stream: 3 }],
  [
    'attention_grad',
    'f32 2 4 24, i32 2, f32 2 4 8, f32 2 2 4, f32 2 4 8',
    'f32 2 4 24',
    { heads: 2, dropout: 0.1, stream: 3 },
  ],
  ['cross_entropy', 'f32 7 5, i32 7', 'f32 3, f32 7'],
  ['cross_entropy_grad', 'f32 7 5, i32 7, f32 7, f32 3', 'f32 7 5'],
  [
    'masked_cross_entropy',
    'f32 2 4 8, f32 3 8, f32 3, f32 5 3, i32 2 4, u8 2 4, i32 2',
    'f32 6, f32 8 3, f32 8',
    { temperature: 0.1, unmasked: 1 },
  ],
  [
    'masked_cross_entropy_grad',
    'f32 2 4 8, f32 3 8, f32 3, f32 5 3, i32 2 4, u8 2 4, i32 2, f32 8 3, f32 8, f32 6',
    'f32 2 4 8, f32 3 8, f32 3, f32 5 3',
    { temperature: 0.1, unmasked: 1 },
  ],
  ['ctc', 'f32 2 9 5, i32 2, i32 2 3, i32 2', 'f32 2, f32 2 9 5', { blank: 0, zero_infinity: 1 }],
  ['ctc_grad', 'f32 2 9 5, f32 2', 'f32 2 9 5'],
  ['kmeans_assign', 'f32 9 4, f32 3 4', 'i32 9, f32 9'],
  ['kmeans_update', 'f32 9 4, i32 9, f32 3 4, i32 3', 'f32 3 4, i32 3'],
  ['mfcc', 'f32 2 800', 'f32 2 3 39'],
];

/** A tensor that is absent, of another dtype, of another size in each dimension, or of another rank. */
function* wrongTensors(tensor: Tensor): Generator<Tensor> {
  yield null;
  if (!tensor) return;
  const { dtype, shape } = tensor;
  yield { dtype: dtype === 'i32' ? 'f32' : 'i32', shape };
  yield { dtype, shape: [...shape, 2] };
  yield { dtype, shape: shape.slice(1) };
  for (const i of shape.keys())
    for (const step of [-1, 1]) if (shape[i] + step > 0) yield { dtype, shape: shape.with(i, shape[i] + step) };
}

function* wrongLists(list: Tensor[]): Generator<Tensor[]> {
  yield [...list, { dtype: 'f32', shape: [1] }];
  for (const [i, tensor] of list.entries()) for (const wrong of wrongTensors(tensor)) yield list.with(i, wrong);
}

function call(kind: string, inputs: Tensor[], outputs: Tensor[], attributes: Record<string, number>): Call {
  return {
    kind,
    inputs: inputs.map((t) => t && { shape: t.shape, data: new arrays[t.dtype](0) }),
    outputs,
    attributes,
  };
}

/** Of each kind of op a call that is right, and calls with one thing changed: most of these are wrong. */
export const calls: [kind: string, right: Call, changed: Call[]][] = rightCalls.map(
  ([kind, inputList, outputList, attributes = {}]) => {
    const [inputs, outputs] = [tensors(inputList), tensors(outputList)];
    const changed = [
      ...[...wrongLists(inputs)].map((list) => call(kind, list, outputs, attributes)),
      ...[...wrongLists(outputs)].map((list) => call(kind, inputs, list, attributes)),
      ...Object.keys(attributes).flatMap((name) =>
        [-1, 0, 0.5, 1, 3, 1e12, Number.NaN].map((value) =>
          call(kind, inputs, outputs, { ...attributes, [name]: value }),
        ),
      ),
    ];
    return [kind, call(kind, inputs, outputs, attributes), changed];
  },
);
