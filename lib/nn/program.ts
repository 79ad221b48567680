/** A compiled graph: one asynchronous native call per run. */
import { wrapped, wrappedAsync } from '../binding';
import type { NativeOp, NativeValue, TypedArray } from '../binding/core';
import { HubertkitError } from '../errors';
import type { ParameterStore } from './store';
import { traceFile, traceRun } from './trace';

const forgotten = new FinalizationRegistry<number>((handle) => wrapped((n) => n.disposeProgram(handle)));

export interface RunOptions {
  /** Key of the random numbers (default 0). */
  seed?: number | bigint;
  /** Counts the runs of a training: the same (seed, draw) gives the same random numbers (default 0). */
  draw?: number | bigint;
  /** Gates by name; those not named are open. */
  gates?: Record<string, boolean>;
  /** Time each op (see `Program.lastProfile`). */
  profile?: boolean;
}

export interface OpProfile {
  kind: string;
  label: string;
  seconds: number;
  flops: number;
  bytes: number;
}

const arrayTypes = [Float32Array, undefined, Int32Array, Uint8Array] as const;
const dtypeNames = ['f32', 'bf16', 'i32', 'u8'];

/**
 * Compiled for fixed shapes on the device of its store. Its memory is planned at once and taken at the first run, from an arena that all
 * programs of the store share; nothing is allocated after that. One run at a time (HK_BUSY). Gradients are added to those in the store.
 */
export class Program {
  /** Per-op times of the last run with `profile`. */
  lastProfile: OpProfile[] = [];
  /** Seconds that the last run computed, without waiting. */
  lastSeconds = 0;
  private readonly disposed = { done: false };

  private constructor(
    private readonly handle: number,
    /** Keeps the store alive. */
    readonly store: ParameterStore,
    /** Bytes, known before anything runs: intermediates, scratch, feeds and fetches. */
    readonly memory: { arena: number; scratch: number; buffers: number },
    private readonly ops: NativeOp[],
    private readonly costs: { flops: number; bytes: number }[],
    private readonly feeds: { name: string; value: NativeValue }[],
    private readonly fetches: Map<string, number>,
    private readonly gates: string[],
  ) {
    forgotten.register(this, handle, this.disposed);
  }

  static async compile(
    store: ParameterStore,
    values: NativeValue[],
    ops: NativeOp[],
    feeds: { name: string; value: NativeValue }[],
    fetches: Map<string, number>,
    gates: string[],
  ): Promise<Program> {
    const made = await wrappedAsync((n) => n.compileProgram(store.handle, values, ops, gates.length));
    return new Program(made.handle, store, made.memory, ops, made.costs, feeds, fetches, gates);
  }

  /** Floating-point operations of one run with all gates open. */
  get flops(): number {
    return this.costs.reduce((sum, c) => sum + c.flops, 0);
  }

  /**
   * Runs every op once. `feeds` are copied in, so they may be reused at once; the results are new arrays.
   * Throws HK_NAME (unknown or missing feed or gate), HK_DTYPE, HK_SHAPE, HK_BUSY (still running), HK_DISPOSED.
   */
  async run(feeds: Record<string, TypedArray>, options: RunOptions = {}): Promise<Record<string, TypedArray>> {
    if (this.disposed.done) throw new HubertkitError('HK_DISPOSED', 'This program has been disposed.');
    const arrays = this.feeds.map(({ name, value }) => checkedFeed(name, value, feeds[name]));
    for (const name of Object.keys(feeds))
      if (!this.feeds.some((f) => f.name === name))
        throw new HubertkitError('HK_NAME', `The program has no feed '${name}'; it has: ${this.feedList()}.`);
    for (const name of Object.keys(options.gates ?? {}))
      if (!this.gates.includes(name))
        throw new HubertkitError('HK_NAME', `The program has no gate '${name}'; it has: ${this.gates.join(', ')}.`);
    const gates = Uint8Array.from(this.gates, (name) => ((options.gates?.[name] ?? true) ? 1 : 0));
    const seed = BigInt.asUintN(64, BigInt(options.seed ?? 0));
    const draw = BigInt.asUintN(64, BigInt(options.draw ?? 0));
    const trace = traceFile();
    const timed = (options.profile ?? false) || trace !== undefined;
    const done = await wrappedAsync((n) => n.runProgram(this.handle, arrays, gates, seed, draw, timed));
    this.lastSeconds = done.seconds;
    if (done.opSeconds)
      this.lastProfile = this.ops.map((op, i) => ({
        kind: op.kind,
        label: op.label,
        seconds: done.opSeconds![i],
        ...this.costs[i],
      }));
    if (trace) traceRun(trace, done.began, this.lastProfile);
    const results: Record<string, TypedArray> = {};
    for (const [name, place] of this.fetches) results[name] = done.fetches[place];
    return results;
  }

  dispose(): void {
    if (this.disposed.done) return;
    this.disposed.done = true;
    forgotten.unregister(this.disposed);
    wrapped((n) => n.disposeProgram(this.handle));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.dispose();
  }

  private feedList(): string {
    return this.feeds.map((f) => f.name).join(', ');
  }
}

function checkedFeed(name: string, value: NativeValue, array: TypedArray | undefined): TypedArray {
  const type = arrayTypes[value.dtype]!;
  const elements = value.shape.reduce((a, b) => a * b, 1);
  const wanted = `${dtypeNames[value.dtype]}[${value.shape.join(', ')}]`;
  if (array === undefined) throw new HubertkitError('HK_NAME', `The feed '${name}' (${wanted}) is missing.`);
  // By name, not instanceof: arrays may come from another realm (worker, jest).
  const got = Object.prototype.toString.call(array).slice(8, -1);
  if (got !== type.name)
    throw new HubertkitError('HK_DTYPE', `The feed '${name}' is ${wanted}: expected a ${type.name}, got ${got}.`);
  if (array.length !== elements)
    throw new HubertkitError(
      'HK_SHAPE',
      `The feed '${name}' is ${wanted}: expected ${elements} elements, got ${array.length}.`,
    );
  return array;
}
