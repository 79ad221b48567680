/** Compares every op, value and gradient, with its formula in double precision. */
import type { TypedArray } from '../binding/core';
import { Philox } from '../data/philox';
import { toHubertkitError } from '../binding';
import { availableDevice } from '../binding/device';
import { callOp } from '../nn/call';
import { Graph, type Precision, type Tensor } from '../nn/graph';
import { cast } from '../nn/ops';
import { ParameterStore } from '../nn/store';
import { type Case, cases, random } from './cases';
import * as reference from './reference';

export interface SelftestOptions {
  /** Default 'cpu'. */
  device?: string;
  /** Of activations (default 'f32'); 'bf16' leaves out the ops that have none. */
  precision?: Precision;
  /** Only ops whose name contains this. */
  only?: string;
  onResult?: (result: SelftestResult) => void;
  signal?: AbortSignal;
}

export interface SelftestResult {
  op: string;
  size: string;
  check: 'value' | 'gradient';
  /** value: largest difference relative to the largest entry; gradient: relative norm of the difference. */
  error: number;
  bound: number;
  passed: boolean;
  /** Why it could not be run. */
  message?: string;
}

export interface SelftestSummary {
  passed: number;
  failed: number;
  device: string;
  results: SelftestResult[];
}

/**
 * f32: rounding of sums of some hundred terms. bf16: a number is rounded by at most 2^-9 of itself, and up to four roundings follow
 * one another (a partial sum, the value before GELU, its gradient, the result).
 */
const bounds = { f32: { value: 1e-5, gradient: 1e-4 }, bf16: { value: 2 ** -7, gradient: 2 ** -7 } };
/** Entries of each gradient that are compared with finite differences. */
const COORDINATES = 24;

/** Runs all cases; never throws because of a failing one. @throws HK_NO_DEVICE */
export async function selftest(options: SelftestOptions = {}): Promise<SelftestSummary> {
  const { precision = 'f32', only = '', onResult, signal } = options;
  const { device } = availableDevice(options.device ?? 'cpu');
  const results: SelftestResult[] = [];
  const report = (result: SelftestResult) => {
    results.push(result);
    onResult?.(result);
  };
  for (const one of casesOf(precision).filter(({ op }) => op.includes(only))) {
    signal?.throwIfAborted();
    for (const result of await runCase(one, device, precision)) report(result);
  }
  if (precision === 'f32' && 'adamw'.includes(only)) for (const result of await adamwCase(device)) report(result);
  const failed = results.filter(({ passed }) => !passed).length;
  return { passed: results.length - failed, failed, device, results };
}

/** The cases that there are in a precision. */
export const casesOf = (precision: Precision) => cases.filter((one) => precision === 'f32' || one.activations);

/** The value and, where there is one, the gradient of a case. */
export async function runCase(one: Case, device = 'cpu', precision: Precision = 'f32'): Promise<SelftestResult[]> {
  const head = { op: one.op, size: one.size };
  const bound = bounds[precision];
  try {
    // Numbers that bf16 holds exactly: only what the op itself rounds is compared, not what GELU's slope makes of rounded weights.
    const inputs = mapValues(randomInputs(one), (values) => (precision === 'bf16' ? values.map(roundToBf16) : values));
    const graph = new Graph(one.training ?? false, { precision });
    const parameters = mapValues(one.inputs, (shape, name) => graph.parameter(name, shape, { kind: 'zeros' }));
    const x = mapValues(parameters, (p, name) => (one.activations?.includes(name) ? cast(p, precision) : p));
    const f: Record<string, Tensor> = {};
    for (const [name, { shape, dtype }] of Object.entries(one.feeds ?? {})) f[name] = graph.feed(name, shape, dtype);
    const built = one.build(x, f, graph);
    const y = built.dtype === 'bf16' ? cast(built, 'f32') : built;
    graph.output('y', y);
    const seed = one.seed === null ? undefined : Float32Array.from(one.seed ?? normal(y.elements, 99).map(roundToBf16));
    if (seed) differentiate(graph, parameters, y);
    await using store = new ParameterStore([...graph.parameters.values()], device);
    for (const [name, values] of Object.entries(inputs)) store.write(name, values);
    await using program = await graph.compile(store);
    const feeds: Record<string, TypedArray> = seed ? { 'seed of y': seed } : {};
    for (const [name, feed] of Object.entries(one.feeds ?? {})) feeds[name] = typed(feed.dtype, feed.data);
    const outputs = await program.run(feeds, { seed: random.seed, draw: random.draw });

    const exact = Object.fromEntries(Object.entries(inputs).map(([name, values]) => [name, Float64Array.from(values)]));
    const expected = one.reference(exact, feeds);
    const results = [result(head, 'value', valueError(outputs.y, expected), bound.value)];
    if (seed) {
      const objective = () =>
        Array.from(one.reference(exact, feeds)).reduce((sum, value, i) => sum + value * seed[i], 0);
      const error = gradientError(exact, objective, (name) =>
        add(store.read(name, 'gradients'), outputs[`gradient of ${name}`]),
      );
      results.push(result(head, 'gradient', error, bound.gradient));
    }
    return results;
  } catch (error) {
    const { code, message } = toHubertkitError(error);
    return [
      { ...head, check: 'value', error: Number.NaN, bound: bound.value, passed: false, message: `${code}: ${message}` },
    ];
  }
}

/** Adds the gradient of <seed, y>; weights get theirs in the store, other inputs as outputs. */
function differentiate(graph: Graph, x: Record<string, Tensor>, y: Tensor): void {
  const names = Object.keys(x);
  const gradients = graph.backward(
    [[y, graph.feed('seed of y', y.shape)]],
    names.map((name) => x[name]),
  );
  gradients.forEach((gradient, i) => {
    if (gradient) graph.output(`gradient of ${names[i]}`, gradient);
  });
}

/** One AdamW step with clipping; called alone, it is no function of a graph. */
async function adamwCase(device: string): Promise<SelftestResult[]> {
  const head = { op: 'adamw', size: '48' };
  const n = 48;
  const [values, gradients, m] = [1, 2, 3].map((stream) => normal(n, stream));
  const v = normal(n, 4).map(Math.abs);
  const hyper = { learningRate: 0.01, beta1: 0.9, beta2: 0.98, eps: 1e-6, weightDecay: 0.01, clip: 1, step: 3 };
  const expected = reference.adamw(values, gradients, m, v, hyper);
  const array = (data: TypedArray) => ({ shape: [data.length], data });
  const inputs = [values, gradients, m, v].map(array);
  const settings = [Int32Array.of(n), Uint8Array.of(1), Float32Array.from(Object.values(hyper))].map(array);
  try {
    const got = await callOp('adamw', [...inputs, ...settings], {}, [{ shape: [2] }], {
      device,
      mutated: [0, 1, 2, 3],
    });
    const errors = [
      valueError(got[0].data, [expected.norm, 0]),
      valueError(got[1].data, expected.values),
      Math.max(...Array.from(got[2].data, Math.abs)), // the gradients are zeroed
      valueError(got[3].data, expected.m),
      valueError(got[4].data, expected.v),
    ];
    return [result(head, 'value', Math.max(...errors), bounds.f32.value)];
  } catch (error) {
    const { code, message } = toHubertkitError(error);
    return [
      {
        ...head,
        check: 'value',
        error: Number.NaN,
        bound: bounds.f32.value,
        passed: false,
        message: `${code}: ${message}`,
      },
    ];
  }
}

function result(
  head: { op: string; size: string },
  check: SelftestResult['check'],
  error: number,
  bound: number,
): SelftestResult {
  return { ...head, check, error, bound, passed: error <= bound };
}

function randomInputs(one: Case): Record<string, Float32Array> {
  return Object.fromEntries(
    Object.entries(one.inputs).map(([name, shape], stream) => [
      name,
      normal(
        shape.reduce((a, b) => a * b, 1),
        stream,
      ),
    ]),
  );
}

function mapValues<A, B>(record: Record<string, A>, f: (value: A, key: string) => B): Record<string, B> {
  return Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value, key)]));
}

/** The nearest number with 8 significant bits (a tie: the even one), as bf16 keeps it. */
function roundToBf16(x: number): number {
  const unit = 2 ** (Math.floor(Math.log2(Math.abs(x) || 1)) - 7);
  const [low, rest] = [Math.floor(x / unit), x / unit - Math.floor(x / unit)];
  return unit * (rest > 0.5 || (rest === 0.5 && low % 2 !== 0) ? low + 1 : low);
}

function normal(length: number, stream: number): Float32Array {
  const numbers = new Philox(17, 0, stream);
  return Float32Array.from({ length }, () => numbers.normal());
}

function typed(dtype: string, data: number[]): TypedArray {
  return dtype === 'i32' ? Int32Array.from(data) : dtype === 'u8' ? Uint8Array.from(data) : Float32Array.from(data);
}

function valueError(got: ArrayLike<number>, expected: ArrayLike<number>): number {
  if (got.length !== expected.length) return Number.POSITIVE_INFINITY;
  const largest = Math.max(...Array.from(expected, Math.abs), 1e-30);
  return Math.max(...Array.from(expected, (value, i) => Math.abs(got[i] - value))) / largest;
}

/** Worst relative norm over the inputs, each compared at COORDINATES evenly spaced entries with central differences. */
function gradientError(
  x: Record<string, Float64Array>,
  objective: () => number,
  gradient: (name: string) => ArrayLike<number>,
): number {
  let worst = 0;
  for (const [name, values] of Object.entries(x)) {
    const got = gradient(name);
    const step = Math.max(1, Math.floor(values.length / COORDINATES));
    let [difference, norm] = [0, 0];
    for (let i = 0; i < values.length; i += step) {
      const derivative = centralDifference(values, i, objective);
      difference += (got[i] - derivative) ** 2;
      norm += derivative ** 2;
    }
    const error = norm > 0 ? Math.sqrt(difference / norm) : Math.sqrt(difference);
    worst = error > worst || Number.isNaN(error) ? error : worst;
  }
  return worst;
}

/** Fourth order: what is left is far below single precision. */
function centralDifference(values: Float64Array, i: number, objective: () => number): number {
  const centre = values[i];
  const h = 1e-3;
  const at = (offset: number) => {
    values[i] = centre + offset * h;
    return objective();
  };
  const slope = (8 * (at(1) - at(-1)) - (at(2) - at(-2))) / (12 * h);
  values[i] = centre;
  return slope;
}

function add(a: Float32Array, b: TypedArray | undefined): Float32Array {
  return b ? a.map((value, i) => value + b[i]) : a;
}
