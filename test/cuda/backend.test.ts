/** The CUDA back-end from end to end where there is no GPU: its kernels run on the host shim, in memory that is not the program's. */
import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { packageRoot, wrapped } from '../../lib/binding';
import { fitKmeans } from '../../lib/cluster';
import { compileOp } from '../../lib/nn/call';
import { train } from '../nn/training';
import { randomNumbers } from '../reference/loss';
import { type Call, calls } from './calls';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-sim-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

beforeAll(() => {
  const build = path.join(packageRoot, 'build', 'cmake');
  const made = spawnSync('cmake', ['--build', build, '--target', 'cuda_sim_backend'], { encoding: 'utf8' });
  expect(made.status === 0 ? '' : made.stdout + made.stderr).toBe('');
  const addon = path.join(folder, 'hubertkit.node');
  fs.copyFileSync(path.join(build, 'Release', 'hubertkit.node'), addon);
  fs.copyFileSync(path.join(build, 'Release', 'libcuda_sim_backend.so'), path.join(folder, 'libhubertkit_cuda.so'));
  process.env.HUBERTKIT_NATIVE = addon; // before anything asks for it
}, 400_000);

/** Blocks left out: twice none, twice all, then others. */
const patterns = [7, 7, 0, 0, 5, 5, 2, 2, 7].map((open) => [1, 2, 4].map((bit) => (open & bit) !== 0));
const openLayers = (update: number) => patterns[update];
const recordings = () => Number(/(\d+) recordings/.exec(wrapped((n) => n.deviceInfo('cuda')).variant)![1]);

const whatIsComputed = [
  ['all frames', {}],
  ['of the top block the frames to predict', { predictedFrames: 45 }],
] as const;

test.each(whatIsComputed)('updates of a model, %s: the losses and gradients of the CPU', async (_, options) => {
  const [cpu, cuda] = [
    await train(patterns.length, { openLayers, ...options }),
    await train(patterns.length, { openLayers, ...options, device: 'cuda' }),
  ];
  cuda.losses.forEach((loss, i) => {
    expect(loss / cpu.losses[i]).toBeCloseTo(1, 4);
  });
  for (const [name, gradient] of cpu.gradients) {
    const largest = gradient.reduce((most, value) => Math.max(most, Math.abs(value)), 0);
    const apart = cuda.gradients.get(name)!.map((value, i) => Math.abs(value - gradient[i]));
    expect([name, apart.reduce((most, value) => Math.max(most, value), 0) <= 1e-3 * largest + 1e-7]).toEqual([
      name,
      true,
    ]);
  }
});

test('whatever blocks are left out, the step is recorded once with a block and once without', async () => {
  const made = async (updates: number) => {
    const before = recordings();
    await train(updates, { openLayers, device: 'cuda' });
    return recordings() - before;
  };
  const ofTwoPatterns = await made(4);
  expect(ofTwoPatterns).toBeGreaterThan(0);
  expect(await made(patterns.length)).toBe(ofTwoPatterns);
});

test('two updates in bf16: losses within 1 % of f32, the same bits twice', async () => {
  const [exact, first] = [await train(2), await train(2, { device: 'cuda', precision: 'bf16' })];
  first.losses.forEach((loss, i) => {
    expect(Math.abs(loss / exact.losses[i] - 1)).toBeLessThan(0.01);
  });
  const again = await train(2, { device: 'cuda', precision: 'bf16' });
  expect(again.losses).toEqual(first.losses);
  expect(again.gradients).toEqual(first.gradients);
});

describe.each(['lloyd', 'minibatch'] as const)('k-means on the device, %s', (method) => {
  test('finds the centroids that the CPU finds', async () => {
    const [clusters, dim] = [9, 5];
    const rows = Float32Array.from({ length: 700 * dim }, randomNumbers(3));
    const options = { clusters, dim, method, nInit: 2, batchSize: 200, maxIterations: 4, seed: 2 };
    const [cpu, cuda] = [await fitKmeans([rows], options), await fitKmeans([rows], { ...options, device: 'cuda' })];
    cuda.centroids.forEach((value, i) => {
      expect(value).toBeCloseTo(cpu.centroids[i], 5);
    });
    expect(cuda.inertia / cpu.inertia).toBeCloseTo(1, 6);
    expect(cuda.iterations).toBe(cpu.iterations);
  });
});

test('k-means on a device that is not there is refused', async () => {
  const fit = fitKmeans([new Float32Array(4)], { clusters: 1, dim: 1, device: 'gpu' });
  await expect(fit).rejects.toMatchObject({ code: 'HK_NO_DEVICE' });
});

/** Why a call is refused; '' where it is not. */
async function refusal({ kind, inputs, outputs, attributes }: Call, device: string): Promise<string> {
  const gates: Record<string, boolean> = kind === 'select' ? { gate: true } : {};
  try {
    const program = await compileOp(kind, inputs, attributes, outputs, { device, gates });
    program.dispose();
    program.store.dispose();
    return '';
  } catch (error) {
    return (error as Error).message;
  }
}

test.each(calls)('%s: refused is what the CPU refuses, in the same words', async (_, right, changed) => {
  expect([await refusal(right, 'cpu'), await refusal(right, 'cuda')]).toEqual(['', '']);
  const refused = await Promise.all(changed.map((call) => refusal(call, 'cpu')));
  expect(refused.filter(Boolean).length).toBeGreaterThan(changed.length / 2);
  expect(await Promise.all(changed.map((call) => refusal(call, 'cuda')))).toEqual(refused);
});
