/** What native/addon/core.cpp exports: parameter stores and compiled programs. */
export type TypedArray = Float32Array | Int32Array | Uint8Array;

/** 0 f32, 1 bf16, 2 i32, 3 u8: the order of hk_dtype in native/include/hubertkit/backend.h. */
export type NativeDtype = 0 | 1 | 2 | 3;

export interface NativeValue {
  /** feed: given to run(); fetch: returned by run(); temporary: lives in the arena; the others are in the store. */
  kind: 'feed' | 'temporary' | 'parameter' | 'gradient' | 'flat-values' | 'flat-gradients' | 'flat-m' | 'flat-v';
  dtype: NativeDtype;
  shape: number[];
  /** parameter and gradient: the parameter's name. */
  name?: string;
  /** An output that ops add to: zero-filled before its first use when it is a temporary. */
  accumulates?: boolean;
  fetch?: boolean;
}

export interface NativeOp {
  kind: string;
  label: string;
  inputs: number[]; // value ids, -1: absent
  outputs: number[];
  attributes: Record<string, number>;
  gate: number; // -1: always runs
}

export interface NativeStore {
  readonly size: number;
  read(which: 'values' | 'gradients' | 'm' | 'v', name: string): Float32Array;
  write(which: 'values' | 'gradients' | 'm' | 'v', name: string, values: Float32Array): void;
  initialise(name: string, begin: number, count: number, kind: 'zeros' | 'normal' | 'uniform', a: number, b: number, seed: bigint, stream: number): void;
  dispose(): void;
}

export interface NativeProgram {
  readonly memory: { arena: number; scratch: number; buffers: number; total: number };
  readonly costs: { flops: number; bytes: number }[];
  run(
    feeds: (TypedArray | null)[],
    gates: Uint8Array,
    seed: bigint,
    draw: bigint,
    profile: boolean,
  ): Promise<{ fetches: TypedArray[]; seconds: number; opSeconds?: Float64Array }>;
  dispose(): void;
}

export interface CoreNative {
  Store: new (device: string, parameters: { name: string; shape: number[] }[]) => NativeStore;
  Program: new (store: NativeStore, values: NativeValue[], ops: NativeOp[], gates: number) => NativeProgram;
  setThreads(threads: number): void;
  backendInfo(): { name: string; variant: string; dnnl: string; threads: number };
}
