/** What native/addon/core.cpp exports: parameter stores and compiled programs, known by number. */
export type TypedArray = Float32Array | Int32Array | Uint8Array;

/** 0 f32, 1 bf16, 2 i32, 3 u8: the order of hk_dtype in native/include/hubertkit/backend.h. */
export type NativeDtype = 0 | 1 | 2 | 3;

/** Where a value lives. The `flat` kinds are the store's whole buffers, for the optimiser. */
export type ValueKind =
  | 'feed'
  | 'temporary'
  | 'parameter'
  | 'gradient'
  | 'flat-values'
  | 'flat-gradients'
  | 'flat-m'
  | 'flat-v';

export interface NativeValue {
  kind: ValueKind;
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
  /** Value ids, -1: absent. */
  inputs: number[];
  outputs: number[];
  attributes: Record<string, number>;
  /** The gate that must be open for the op to run, -1: it always runs. */
  gate: number;
}

export type StoreBuffer = 'values' | 'gradients' | 'm' | 'v';
export type InitialiserKind = 'zeros' | 'constant' | 'normal' | 'uniform';

export interface CompiledProgram {
  handle: number;
  /** Bytes: intermediates, the largest op's scratch, feeds and fetches. */
  memory: { arena: number; scratch: number; buffers: number };
  costs: { flops: number; bytes: number }[];
}

export interface CoreNative {
  createStore(device: string, parameters: { name: string; shape: number[] }[]): { handle: number; size: number };
  storeRead(store: number, which: StoreBuffer, name: string): Float32Array<ArrayBuffer>;
  storeWrite(store: number, which: StoreBuffer, name: string, values: Float32Array): void;
  storeInitialise(
    store: number,
    name: string,
    begin: number,
    count: number,
    kind: InitialiserKind,
    a: number,
    b: number,
    seed: bigint,
    stream: number,
  ): void;
  disposeStore(store: number): void;
  compileProgram(store: number, values: NativeValue[], ops: NativeOp[], gates: number): Promise<CompiledProgram>;
  runProgram(
    program: number,
    feeds: TypedArray[],
    gates: Uint8Array,
    seed: bigint,
    draw: bigint,
    profile: boolean,
  ): Promise<{
    fetches: TypedArray[];
    /** Seconds of a steady clock when the run began. */
    began: number;
    seconds: number;
    opSeconds?: Float64Array;
  }>;
  disposeProgram(program: number): void;
  setThreads(threads: number): Promise<void>;
  /** Of 'cpu', 'cuda' or 'cuda:N'; memory in bytes. Throws HK_NO_DEVICE, saying what is missing. */
  deviceInfo(device: string): { variant: string; free: number; total: number };
  /** `bf16`: this processor multiplies bf16. */
  backendInfo(): { name: string; variant: string; dnnl: string; threads: number; bf16: boolean };
}
