/** Parameters by name, in native memory. */
import { wrapped } from '../binding';
import type { StoreBuffer } from '../binding/core';
import { resolveDevice } from '../binding/device';
import { HubertkitError } from '../errors';
import type { Initialiser, ParameterSpec } from './graph';

const forgotten = new FinalizationRegistry<number>((handle) => wrapped((n) => n.disposeStore(handle)));

/** A tensor as it is saved: a parameter, or a slice of one, under its Hugging Face name. */
export interface NamedTensor {
  name: string;
  shape: number[];
  parameter: string;
  /** First element and count within the parameter. */
  begin: number;
  count: number;
  init: Initialiser;
}

/**
 * The parameters of one or more programs, f32 on one device: values, gradients and AdamW's moments m and v, each one flat buffer.
 * Gradients and moments are taken at first use. `read` and `write` copy; a disposed store throws HK_DISPOSED.
 */
export class ParameterStore {
  readonly handle: number;
  /** Floats in a flat buffer, padding included. */
  readonly size: number;
  /** Where each parameter ends in a flat buffer (padding included), in order: the optimiser's segments. */
  readonly segmentEnds: Int32Array;
  private readonly tensors = new Map<string, NamedTensor>();
  private readonly order: string[];
  private readonly disposed = { done: false };

  /** Where the parameters live: 'cpu', 'cuda' or 'cuda:N'. */
  readonly device: string;

  /** `device` may also be 'auto'. @throws HK_NO_DEVICE */
  constructor(
    readonly specs: ParameterSpec[],
    device = 'cpu',
  ) {
    this.device = resolveDevice(device).device;
    const parameters = specs.map((s) => ({ name: s.name, shape: [...s.shape] }));
    const made = wrapped((n) => n.createStore(this.device, parameters));
    this.handle = made.handle;
    this.size = made.size;
    this.order = specs.map((s) => s.name);
    let end = 0;
    this.segmentEnds = Int32Array.from(specs, (s) => {
      end += Math.ceil(s.shape.reduce((a, b) => a * b, 1) / 16) * 16;
      return end;
    });
    for (const spec of specs) for (const tensor of namedTensors(spec)) this.tensors.set(tensor.name, tensor);
    forgotten.register(this, this.handle, this.disposed);
  }

  /** Names of the parameters as the optimiser sees them (a block of q, k and v is one). */
  parameterNames(): string[] {
    return [...this.order];
  }

  /** Names as saved (Hugging Face `HubertModel` names), in order. */
  names(): string[] {
    return [...this.tensors.keys()];
  }

  has(name: string): boolean {
    return this.tensors.has(name);
  }

  tensor(name: string): NamedTensor {
    const found = this.tensors.get(name);
    if (!found) throw new HubertkitError('HK_NAME', `No parameter is named '${name}'.`);
    return found;
  }

  shape(name: string): number[] {
    return [...this.tensor(name).shape];
  }

  /** Number of scalars in all parameters, without padding. */
  get parameterCount(): number {
    let total = 0;
    for (const t of this.tensors.values()) total += t.count;
    return total;
  }

  /** A copy of the values (or gradients, or moments) of a named tensor; zeros where nothing was trained yet. */
  read(name: string, which: StoreBuffer = 'values'): Float32Array<ArrayBuffer> {
    const t = this.tensor(name);
    const whole = wrapped((n) => n.storeRead(this.handle, which, t.parameter));
    return whole.length === t.count ? whole : whole.slice(t.begin, t.begin + t.count);
  }

  write(name: string, values: Float32Array, which: StoreBuffer = 'values'): void {
    const t = this.tensor(name);
    if (values?.length !== t.count)
      throw new HubertkitError(
        'HK_SHAPE',
        `'${name}' is f32[${t.shape.join(', ')}] with ${t.count} elements, got ${values?.length}.`,
      );
    const whole = wrapped((n) => n.storeRead(this.handle, which, t.parameter));
    whole.set(values, t.begin);
    wrapped((n) => n.storeWrite(this.handle, which, t.parameter, whole));
  }

  /** Begins a named tensor anew. The numbers depend on the seed and the name alone. */
  initialise(name: string, seed: number | bigint): void {
    const t = this.tensor(name);
    const { kind, a = 0, b = 1 } = t.init;
    wrapped((n) =>
      n.storeInitialise(
        this.handle,
        t.parameter,
        t.begin,
        t.count,
        kind,
        a,
        b,
        BigInt.asUintN(64, BigInt(seed)),
        hash(name),
      ),
    );
  }

  initialiseAll(seed: number | bigint): void {
    for (const name of this.tensors.keys()) this.initialise(name, seed);
  }

  /** Releases the memory once no program runs on it. */
  dispose(): void {
    if (this.disposed.done) return;
    this.disposed.done = true;
    forgotten.unregister(this.disposed);
    wrapped((n) => n.disposeStore(this.handle));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }
}

function namedTensors(spec: ParameterSpec): NamedTensor[] {
  const rowSize = spec.shape.slice(1).reduce((a, b) => a * b, 1);
  let row = 0;
  return spec.slices.map((slice) => {
    const tensor = {
      name: slice.name,
      shape: [slice.rows, ...spec.shape.slice(1)],
      parameter: spec.name,
      begin: row * rowSize,
      count: slice.rows * rowSize,
      init: slice.init,
    };
    row += slice.rows;
    return tensor;
  });
}

/** FNV-1a, 32 bits: the random stream of a parameter. */
function hash(name: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) h = Math.imul(h ^ name.charCodeAt(i), 0x01000193);
  return h >>> 0;
}
