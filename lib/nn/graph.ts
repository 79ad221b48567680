/**
 * The symbolic graph: tensors, ops with shape and gradient rules, reverse-mode differentiation by emitting more ops.
 * Nothing is computed here; `compile` hands the op list to the native executor.
 */
import type { InitialiserKind, NativeOp, NativeValue, StoreBuffer, ValueKind } from '../binding/core';
import { HubertkitError } from '../errors';
import { Program } from './program';
import type { ParameterStore } from './store';

export type Dtype = 'f32' | 'bf16' | 'i32' | 'u8';
/** How activations and their gradients are stored between ops; everything else is f32. */
export type Precision = 'f32' | 'bf16';
/** What the backward pass computes again instead of keeping it: nothing, or the inside of every block. */
export type Checkpointing = 'none' | 'layers';
export type Shape = readonly number[];

/** How a parameter (or a slice of it) begins: `normal` (mean a, deviation b), `uniform` in [a, b), `constant` a, `zeros`. */
export interface Initialiser {
  kind: InitialiserKind;
  a?: number;
  b?: number;
}

/** Consecutive rows of a parameter that are saved, loaded, initialised and reset under a name of their own. */
export interface Slice {
  name: string;
  rows: number;
  init: Initialiser;
}

export interface ParameterSpec {
  name: string;
  shape: Shape;
  slices: Slice[];
}

/** A value of the graph. Row-major; `shape` never has a zero. */
export class Tensor {
  constructor(
    readonly graph: Graph,
    readonly id: number,
    readonly shape: Shape,
    readonly dtype: Dtype,
    readonly requiresGradient: boolean,
  ) {}

  get elements(): number {
    return this.shape.reduce((n, d) => n * d, 1);
  }

  toString(): string {
    return `${this.dtype}[${this.shape.join(', ')}]`;
  }
}

/**
 * The gradient rule of an op: given the gradients of its outputs (undefined where nothing flows back), emits ops and returns
 * the gradients of its inputs (undefined: none; parameters are written through `Graph.gradientSlot` instead).
 */
export type GradientRule = (outputGradients: (Tensor | undefined)[]) => (Tensor | undefined)[];

interface OpRecord {
  inputs: (Tensor | null)[];
  outputs: (Tensor | null)[];
  gate: number;
  label: string;
  gradient?: GradientRule;
}

export interface OutputSpec {
  shape: Shape;
  dtype?: Dtype;
  accumulates?: boolean;
}

/** null: an absent input or output. */
export interface EmittedOp {
  kind: string;
  inputs: (NativeValue | null)[];
  outputs: (NativeValue | null)[];
  attributes: Record<string, number>;
}

const dtypeCode = { f32: 0, bf16: 1, i32: 2, u8: 3 } as const;
const differentiable = (dtype: Dtype) => dtype === 'f32' || dtype === 'bf16';

/** The shape and dtype of a tensor, for an output. */
export const like = (x: Tensor): OutputSpec => ({ shape: x.shape, dtype: x.dtype });

/**
 * A program in the making: feeds, parameters and ops are added in order, `backward` adds the ops of the gradient, `output` names results,
 * `compile` makes it runnable. Ops are checked as they are added (HK_SHAPE, HK_DTYPE). A tensor belongs to the graph that made it.
 */
export class Graph {
  readonly parameters = new Map<string, ParameterSpec>();
  readonly gates: string[] = [];
  readonly feedNames: string[] = [];
  private readonly values: NativeValue[] = [];
  private readonly ops: NativeOp[] = [];
  private readonly records: OpRecord[] = [];
  private readonly parameterTensors = new Map<string, Tensor>();
  private readonly parameterNames = new Map<number, string>();
  private readonly slots = new Map<number, Tensor>();
  private readonly outputs = new Map<string, Tensor>();
  /** Of activations: ops take it from their inputs, the first ones from here. */
  readonly precision: Precision;
  private readonly frozen: (name: string) => boolean;
  private readonly labels: string[] = [];
  private gate = -1;
  private streams = 0;
  private recording = true;

  /** `training`: dropout is active. `frozen`: parameters that get no gradient. */
  constructor(
    readonly training: boolean,
    options: { frozen?: (name: string) => boolean; precision?: Precision } = {},
  ) {
    this.frozen = options.frozen ?? (() => false);
    this.precision = options.precision ?? 'f32';
  }

  /** An input given at every run. */
  feed(name: string, shape: Shape, dtype: Dtype = 'f32'): Tensor {
    if (this.feedNames.includes(name)) throw new HubertkitError('HK_NAME', `Two feeds are named '${name}'.`);
    this.feedNames.push(name);
    return this.value('feed', shape, dtype, false);
  }

  /** A named parameter; `init` begins the whole of it, `slices` name and begin consecutive rows of it. */
  parameter(name: string, shape: Shape, init: Initialiser | Slice[]): Tensor {
    const known = this.parameterTensors.get(name);
    if (known) return known;
    const slices = Array.isArray(init) ? init : [{ name, rows: shape[0], init }];
    this.parameters.set(name, { name, shape, slices });
    const tensor = this.value('parameter', shape, 'f32', !this.frozen(name), { name });
    this.parameterTensors.set(name, tensor);
    this.parameterNames.set(tensor.id, name);
    return tensor;
  }

  /** The whole of one of the store's buffers, as the optimiser sees it. */
  flat(which: StoreBuffer, size: number): Tensor {
    return this.value(`flat-${which}` as ValueKind, [size], 'f32', false);
  }

  /** Names a tensor as a result of `Program.run`. */
  output(name: string, tensor: Tensor): void {
    this.outputs.set(name, tensor);
  }

  /** Runs `body` with `label` added to the names of its ops: "encoder.layers.3 / attention". */
  scope<T>(label: string, body: () => T): T {
    this.labels.push(label);
    try {
      return body();
    } finally {
      this.labels.pop();
    }
  }

  /** A number for an op that draws random numbers: the same for the same op of every graph of a model. */
  nextStream(): number {
    return this.streams++;
  }

  gateIndex(name: string): number {
    const known = this.gates.indexOf(name);
    if (known >= 0) return known;
    return this.gates.push(name) - 1;
  }

  /** Ops emitted by `body` run only when the gate is open. */
  whenOpen<T>(gate: number, body: () => T): T {
    const outer = this.gate;
    this.gate = gate;
    try {
      return body();
    } finally {
      this.gate = outer;
    }
  }

  /**
   * LayerDrop: `body(x)` when the gate is open, `closed(x)`, x itself by default, when it is closed; closed, neither `body` nor its
   * gradient runs and its parameters get none. `closed` has no parameters and always runs.
   */
  gated(name: string, x: Tensor, body: (x: Tensor) => Tensor, closed = (same: Tensor) => same): Tensor {
    const gate = this.gateIndex(name);
    let upstream: Tensor | undefined;
    const choose = (open: Tensor, other: Tensor, options: { gradient?: GradientRule; requiresGradient?: boolean }) =>
      this.emit('select', [open, other], { gate }, [like(open)], options)[0]!;
    const [bypass, around] = this.apart(x, closed);
    // The gradient of x: through the body when open, through `closed` when closed.
    const inner = this.alias(
      x,
      (dInner) => upstream && dInner && choose(dInner, around(upstream), { requiresGradient: true }),
    );
    const y = this.whenOpen(gate, () => body(inner));
    return choose(y, bypass, {
      gradient: ([dOut]) => {
        upstream = dOut;
        return [dOut, undefined];
      },
    });
  }

  /** `body(x)` outside of the chain of gradients, and its gradient: of its result -> of x. */
  private apart(x: Tensor, body: (x: Tensor) => Tensor): [Tensor, (dy: Tensor) => Tensor] {
    const first = this.records.length;
    const inner = new Tensor(this, x.id, x.shape, x.dtype, x.requiresGradient);
    const y = body(inner);
    const records = this.records.splice(first);
    return [y, (dy) => this.propagate(records, [[y, dy]]).get(inner)!];
  }

  /**
   * Activation checkpointing (Chen et al., 1604.06174): `body(x)`, of which only x is kept for the gradient. The backward pass runs
   * `body` again, with the same random numbers, so that losses and gradients are the same bits.
   */
  recomputed(x: Tensor, body: (x: Tensor) => Tensor): Tensor {
    const stream = this.streams;
    this.recording = false;
    const y = body(x);
    this.recording = true;
    const again = ([dy]: (Tensor | undefined)[]) => {
      const streams = this.streams;
      this.streams = stream;
      const [, gradient] = this.apart(x, body);
      this.streams = streams;
      return [gradient(dy!)];
    };
    this.record([x], [y], 'recomputed', again);
    return y;
  }

  /** The same value under another identity, with its own gradient rule. */
  alias(x: Tensor, gradient: (dy: Tensor | undefined) => Tensor | undefined): Tensor {
    const y = new Tensor(this, x.id, x.shape, x.dtype, x.requiresGradient);
    this.record([x], [y], 'alias', ([dy]) => [gradient(dy)]);
    return y;
  }

  /** Adds an op. `outputs`: null where an optional output is absent. */
  emit(
    kind: string,
    inputs: (Tensor | null)[],
    attributes: Record<string, number>,
    outputs: (OutputSpec | Tensor | null)[],
    options: { gradient?: GradientRule; requiresGradient?: boolean; label?: string } = {},
  ): (Tensor | null)[] {
    for (const x of inputs)
      if (x && x.graph !== this) throw new HubertkitError('HK_ARGUMENT', `${kind}: an input belongs to another graph.`);
    const needs = options.requiresGradient ?? inputs.some((x) => x?.requiresGradient);
    const made = outputs.map((o) =>
      o === null || o instanceof Tensor
        ? o
        : this.value('temporary', o.shape, o.dtype ?? 'f32', needs && differentiable(o.dtype ?? 'f32'), {
            accumulates: o.accumulates,
          }),
    );
    const label = [...this.labels, options.label ?? kind].join(' / ');
    this.ops.push({
      kind,
      label,
      inputs: inputs.map((x) => x?.id ?? -1),
      outputs: made.map((x) => x?.id ?? -1),
      attributes,
      gate: this.gate,
    });
    if (needs && options.gradient) this.record(inputs, made, label, options.gradient);
    return made;
  }

  /**
   * Where the gradient of a weight-like input is added to: the store's gradient for a parameter, else one accumulating
   * temporary; null when it needs none.
   */
  gradientSlot(x: Tensor | null): Tensor | null {
    if (!x?.requiresGradient) return null;
    const known = this.slots.get(x.id);
    if (known) return known;
    const name = this.parameterNames.get(x.id);
    const slot = name
      ? this.value('gradient', x.shape, 'f32', false, { name })
      : this.value('temporary', x.shape, 'f32', false, { accumulates: true });
    this.slots.set(x.id, slot);
    return slot;
  }

  /**
   * Emits the gradient of sum_i <seed_i, tensor_i>: parameter gradients are ADDED to the store's gradients. `seeds` are usually
   * feeds, so that the weight of each loss is chosen at run time. Returns the gradients of the tensors in `wanted`.
   */
  backward(seeds: [Tensor, Tensor][], wanted: Tensor[] = []): (Tensor | undefined)[] {
    const gradients = this.propagate(this.records.slice(), seeds);
    return wanted.map((x) => gradients.get(x));
  }

  /** Emits the gradient rules of `records`, last first; returns the gradients of all tensors that have one. */
  private propagate(records: OpRecord[], seeds: [Tensor, Tensor][]): Map<Tensor, Tensor> {
    const gradients = new Map<Tensor, Tensor>();
    const add = (x: Tensor, g: Tensor) => {
      if (String(g) !== String(x)) throw new HubertkitError('HK_SHAPE', `The gradient of ${x} cannot be ${g}.`);
      const known = gradients.get(x);
      gradients.set(x, known ? this.emit('add', [known, g], {}, [like(x)])[0]! : g);
    };
    for (const [tensor, seed] of seeds) add(tensor, seed);
    for (const record of records.reverse()) {
      if (!record.gradient) continue;
      const above = record.outputs.map((y) => (y ? gradients.get(y) : undefined));
      const slots = record.outputs.map((y) => (y ? this.slots.get(y.id) : undefined));
      const flowing = above.map((g, i) => g ?? slots[i]);
      if (!flowing.some((g) => g)) continue;
      this.whenOpen(record.gate, () =>
        this.scope(record.label, () => {
          const below = record.gradient!(flowing);
          record.inputs.forEach((x, i) => {
            if (x?.requiresGradient && below[i]) add(x, below[i]!);
          });
        }),
      );
    }
    return gradients;
  }

  /** The ops emitted so far, with what is known of their inputs and outputs. */
  opList(): EmittedOp[] {
    const known = (id: number) => this.values[id] ?? null;
    return this.ops.map(({ kind, inputs, outputs, attributes }) => ({
      kind,
      inputs: inputs.map(known),
      outputs: outputs.map(known),
      attributes,
    }));
  }

  /** Validates and plans natively, on the compute thread. The store must hold every parameter of the graph. */
  async compile(store: ParameterStore): Promise<Program> {
    const fetches = [...this.outputs];
    const values = this.values.map((v) => ({ ...v }));
    for (const [, tensor] of fetches) values[tensor.id].fetch = true;
    // The native side returns fetches in the order of their ids.
    const order = [...new Set(fetches.map(([, t]) => t.id))].sort((a, b) => a - b);
    const places = new Map(fetches.map(([name, t]) => [name, order.indexOf(t.id)]));
    const feeds = this.feedNames.map((name, i) => ({ name, value: values.filter((v) => v.kind === 'feed')[i] }));
    return Program.compile(store, values, this.ops, feeds, places, this.gates);
  }

  private value(
    kind: ValueKind,
    shape: Shape,
    dtype: Dtype,
    requiresGradient: boolean,
    extra: Partial<NativeValue> = {},
  ): Tensor {
    if (!Array.isArray(shape) || shape.some((d) => !Number.isSafeInteger(d) || d < 1))
      throw new HubertkitError('HK_SHAPE', `Dimensions must be whole numbers of at least 1, got [${String(shape)}].`);
    if (!(dtype in dtypeCode))
      throw new HubertkitError('HK_DTYPE', `dtype must be f32, bf16, i32 or u8, got '${String(dtype)}'.`);
    this.values.push({ kind, dtype: dtypeCode[dtype], shape: [...shape], ...extra });
    return new Tensor(this, this.values.length - 1, shape, dtype, requiresGradient);
  }

  private record(inputs: (Tensor | null)[], outputs: (Tensor | null)[], label: string, gradient: GradientRule): void {
    if (!this.recording) return;
    this.records.push({ inputs, outputs, gate: this.gate, label, gradient });
  }
}

/** A prefix of parameter names: `scope.at('attention').at('qkv_proj')`. */
export class Scope {
  constructor(
    readonly graph: Graph,
    readonly prefix = '',
  ) {}

  at(name: string): Scope {
    return new Scope(this.graph, this.prefix ? `${this.prefix}.${name}` : name);
  }

  parameter(name: string, shape: Shape, init: Initialiser): Tensor {
    return this.graph.parameter(this.at(name).prefix, shape, init);
  }

  /** One tensor whose consecutive rows are the parameters `names[i].suffix`. */
  stacked(name: string, shape: Shape, parts: { name: string; rows: number }[], init: Initialiser): Tensor {
    const slices = parts.map((p) => ({ name: this.at(p.name).prefix, rows: p.rows, init }));
    return this.graph.parameter(this.at(name).prefix, shape, slices);
  }
}
