/** One op, called alone: a one-op program. Tests, benchmarks and selftest use this door. */
import type { NativeValue, TypedArray } from '../binding/core';
import { Program, type RunOptions } from './program';
import { ParameterStore } from './store';

export interface NdArray {
  shape: number[];
  data: TypedArray;
}

export interface CallOutput {
  shape: number[];
  dtype?: 'f32' | 'i32' | 'u8';
  /** The op adds to this output (parameter gradients): it begins at zero. */
  accumulates?: boolean;
}

const codes = { f32: 0, i32: 2, u8: 3 } as const;

export interface CallOptions extends RunOptions {
  /** Default 'cpu'. */
  device?: string;
  /** Gates of the program, by name; `select` refers to them by their place. */
  gates?: Record<string, boolean>;
  /** Inputs that the op changes (adamw): returned after the outputs, in this order. */
  mutated?: number[];
}

/** Compiles a one-op program, to be run many times (benchmarks): inputs are the feeds '0', '1', ... */
export async function compileOp(
  kind: string,
  inputs: (NdArray | null)[],
  attributes: Record<string, number>,
  outputs: (CallOutput | null)[],
  options: CallOptions = {},
): Promise<Program> {
  const store = new ParameterStore([{ name: 'unused', shape: [1], slices: [] }], options.device);
  const values: NativeValue[] = [];
  const feeds: { name: string; value: NativeValue }[] = [];
  const fetches = new Map<string, number>();
  const inputIds = inputs.map((x, i) => {
    if (!x) return -1;
    const tag = Object.prototype.toString.call(x.data);
    const dtype = tag === '[object Int32Array]' ? codes.i32 : tag === '[object Uint8Array]' ? codes.u8 : codes.f32;
    const value: NativeValue = { kind: 'feed', dtype, shape: x.shape, fetch: options.mutated?.includes(i) };
    if (value.fetch) fetches.set(`mutated ${i}`, fetches.size);
    feeds.push({ name: String(i), value });
    return values.push(value) - 1;
  });
  const outputIds = outputs.map((o, i) => {
    if (!o) return -1;
    fetches.set(String(i), fetches.size);
    return (
      values.push({
        kind: 'temporary',
        dtype: codes[o.dtype ?? 'f32'],
        shape: o.shape,
        accumulates: o.accumulates,
        fetch: true,
      }) - 1
    );
  });
  const op = { kind, label: kind, inputs: inputIds, outputs: outputIds, attributes, gate: -1 };
  return Program.compile(store, values, [op], feeds, fetches, Object.keys(options.gates ?? {}));
}

/** Runs one op of the table in native/include/hubertkit/backend.h's terms; null stands for an absent input or output. */
export async function callOp(
  kind: string,
  inputs: (NdArray | null)[],
  attributes: Record<string, number>,
  outputs: (CallOutput | null)[],
  options: CallOptions = {},
): Promise<NdArray[]> {
  await using program = await compileOp(kind, inputs, attributes, outputs, options);
  const feeds: Record<string, TypedArray> = {};
  inputs.forEach((x, i) => {
    if (x) feeds[String(i)] = x.data;
  });
  const { mutated = [], ...run } = options;
  const results = await program.run(feeds, run);
  program.store.dispose();
  return [
    ...outputs.map((o, i) =>
      o ? { shape: o.shape, data: results[String(i)] } : { shape: [], data: new Float32Array(0) },
    ),
    ...mutated.map((i) => ({ shape: inputs[i]!.shape, data: results[`mutated ${i}`] })),
  ];
}
