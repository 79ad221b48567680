import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { curveSpeech, lossCurve } from '../../bench/curve';
import { type Curves, f32Difference, figure, statements } from '../../bench/curves';

const curve = (offset: number) => Array.from({ length: 30 }, (_, i) => 6 - 0.01 * i + offset);
const curves = (bits: Curves['bits'], missing: Curves['missing'] = {}): Curves => ({
  preset: 'small',
  updates: 30,
  minutes: 8,
  bits,
  missing,
});

describe('the curves of CPU and GPU', () => {
  test('in f32 are compared over the first twenty updates', () => {
    const cuda = curve(2e-4);
    cuda[19] += 3e-4;
    cuda[20] += 1;
    const difference = f32Difference(curves({ 'cpu f32': curve(0), 'cuda f32': cuda }))!;
    expect(difference).toMatchObject({ updates: 20, bound: 1e-3 });
    expect(difference.bits).toBeCloseTo(5e-4, 9);
  });

  test('are not compared where one is missing, and the reason is stated', () => {
    const without = curves({ 'cpu f32': curve(0) }, { 'cuda f32': 'HK_NO_DEVICE: no driver' });
    expect(f32Difference(without)).toBeUndefined();
    expect(statements(without)).toContain('Missing: cuda f32: HK_NO_DEVICE: no driver');
  });

  test('are one line each in the figure, those that there are', () => {
    const drawing = figure(curves({ 'cpu f32': curve(0), 'cpu bf16': curve(0.02), 'cuda f32': curve(0.001) }));
    expect(drawing).toMatch(/^<svg .*<title>Training small on the CPU and on a GPU/s);
    for (const name of ['cpu f32', 'cpu bf16', 'cuda f32']) expect(drawing).toContain(`>${name}</text>`);
    expect(drawing).not.toContain('cuda bf16');
  });
});

test('a training is the same curve each time; its speech and labels are made once', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-curve-'));
  try {
    const options = { preset: 'nano', updates: 3, seed: 1, precision: 'f32' } as const;
    const first = await lossCurve(await curveSpeech('nano', 0.5, folder), options);
    const { mtimeMs } = fs.statSync(path.join(folder, 'labels', 'train.labels'));
    const again = await lossCurve(await curveSpeech('nano', 0.5, folder), options);
    expect(again).toEqual(first);
    expect(fs.statSync(path.join(folder, 'labels', 'train.labels')).mtimeMs).toBe(mtimeMs);
    // Of 100 clusters a new head knows nothing.
    for (const bits of first) expect(Math.abs(bits - Math.log2(100))).toBeLessThan(1);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
});
