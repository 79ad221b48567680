/**
 * What this machine can do at most, measured by ops: a large matrix product, one read of more memory than any cache holds and, on a GPU,
 * one copy of it. With them the floor of an op is the longer of computing its FLOP and moving its bytes (Williams et al. 2009, "Roofline").
 */
import { wrapped } from '../binding';
import { Graph, type Precision } from '../nn/graph';
import { cast, linear, meanSquare, scale } from '../nn/ops';
import type { OpProfile } from '../nn/program';
import { ParameterStore } from '../nn/store';
import { pseudoRandom, round } from './median';

export interface Roofline {
  f32_gflops: number;
  /** Absent where the processor does not multiply bf16, and on a GPU where only f32 is asked for. */
  bf16_gflops?: number;
  read_gbytes_per_s: number;
  /** On a GPU: bytes read and bytes written. */
  copy_gbytes_per_s?: number;
}

/** Rows, terms and columns of the product, and floats that are read: more than caches hold, and enough for every multiprocessor. */
const sizes = {
  cpu: { product: [2048, 1024, 2048], floats: 32 * 2 ** 20 },
  cuda: { product: [8192, 8192, 8192], floats: 2 ** 27 },
};

/** The fastest of several runs of each probe, on as many threads as are set; on a GPU only those of `needed`. */
export async function measureRoofline(device = 'cpu', needed: Precision = 'f32'): Promise<Roofline> {
  const size = sizes[device === 'cpu' ? 'cpu' : 'cuda'];
  const [rows, terms, columns] = size.product;
  const product = async (precision: Precision) => {
    const { flops, seconds } = await fastest('linear', device, [rows, terms], (g, x) => {
      const weight = g.parameter('weight', [columns, terms], { kind: 'normal', a: 0, b: 0.02 });
      return linear(cast(x, precision), weight, null);
    });
    return round(flops / seconds / 1e9, 1);
  };
  const rate = ({ bytes, seconds }: OpProfile) => round(bytes / seconds / 1e9, 1);
  const read = await fastest('mean_square', device, [size.floats], (_, x) => meanSquare(x));
  const copy = device !== 'cpu' && (await fastest('scale', device, [size.floats], (_, x) => meanSquare(scale(x, 2))));
  const bf16 = device === 'cpu' ? wrapped((n) => n.backendInfo()).bf16 : needed === 'bf16';
  return {
    f32_gflops: await product('f32'),
    ...(bf16 && { bf16_gflops: await product('bf16') }),
    read_gbytes_per_s: rate(read),
    ...(copy && { copy_gbytes_per_s: rate(copy) }),
  };
}

/** GFLOP/s of a large product. */
export const productRate = (roofline: Roofline, precision: Precision): number =>
  (precision === 'bf16' && roofline.bf16_gflops) || roofline.f32_gflops;

/** The op `kind` of a small graph on a random x, at its fastest. */
async function fastest(
  kind: string,
  device: string,
  shape: number[],
  build: (g: Graph, x: ReturnType<Graph['feed']>) => ReturnType<Graph['feed']>,
): Promise<OpProfile> {
  const g = new Graph(false);
  g.parameter('one', [1], { kind: 'zeros' }); // a store has at least one
  const y = build(g, g.feed('x', shape));
  g.output('y', y.dtype === 'bf16' ? cast(y, 'f32') : y);
  const store = new ParameterStore([...g.parameters.values()], device);
  store.initialiseAll(1);
  await using program = await g.compile(store);
  const random = pseudoRandom(1);
  const x = new Float32Array(shape.reduce((a, b) => a * b, 1));
  for (let i = 0; i < x.length; i++) x[i] = random() - 0.5;
  const runs: OpProfile[] = [];
  for (let i = 0; i < 8; i++) {
    await program.run({ x }, { profile: true });
    runs.push(program.lastProfile.find((op) => op.kind === kind)!);
  }
  store.dispose();
  return runs.reduce((a, b) => (a.seconds <= b.seconds ? a : b));
}

/** Seconds below which an op cannot run. Data that are still in a cache may move faster than that. */
export function floorSeconds(
  op: { flops: number; bytes: number },
  roofline: Roofline,
  precision: Precision = 'f32',
): number {
  const gbytes = Math.max(roofline.read_gbytes_per_s, roofline.copy_gbytes_per_s ?? 0);
  return Math.max(op.flops / productRate(roofline, precision), op.bytes / gbytes) / 1e9;
}
