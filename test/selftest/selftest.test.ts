import { spawnSync } from 'node:child_process';
import * as path from 'node:path';
import { native, packageRoot } from '../../lib/binding';
import { casesOf, runCase, selftest } from '../../lib/selftest';
import { cases } from '../../lib/selftest/cases';
import { ctc, erf, maskedCrossEntropy } from '../../lib/selftest/reference';

const precisions = native().backendInfo().bf16 ? (['f32', 'bf16'] as const) : (['f32'] as const);

test.each(precisions.flatMap((p) => casesOf(p).map((one) => [one.op, one.size, p, one] as const)))(
  '%s (%s, %s) agrees with its formula',
  async (_op, _size, precision, one) => {
    for (const result of await runCase(one, 'cpu', precision)) expect(result).toMatchObject({ passed: true });
  },
);

test('one AdamW step agrees with its formula', async () => {
  expect(await selftest({ only: 'adamw' })).toMatchObject({ passed: 1, failed: 0 });
});

test('a wrong formula is noticed, in value and gradient', async () => {
  const gelu = cases.find(({ op }) => op === 'gelu')!;
  const wrong = {
    ...gelu,
    reference: (x: Record<string, ArrayLike<number>>) => Array.from(x.x, (v) => v / (1 + Math.exp(-1.702 * v))),
  };
  expect((await runCase(wrong)).map(({ passed }) => passed)).toEqual([false, false]);
});

test('an op that cannot run is a failed case with the reason, not an exception', async () => {
  const impossible = { ...cases[0], inputs: { a: [2, 3], b: [3, 2] } };
  expect(await runCase(impossible)).toEqual([
    expect.objectContaining({ passed: false, message: expect.stringContaining('HK_SHAPE') }),
  ]);
});

describe('the formulas themselves', () => {
  test('erf at tabulated points (Abramowitz and Stegun, table 7.1)', () => {
    expect(erf(0.5)).toBeCloseTo(0.5204998778, 10);
    expect(erf(1)).toBeCloseTo(0.8427007929, 10);
    expect(erf(-3)).toBeCloseTo(-0.9999779095, 10);
  });

  test('CTC of two frames, one target: -ln of the three paths', () => {
    // Two classes, uniform: paths 11, 01, 10 of four, each of probability 1/4.
    const loss = ctc([0, 0, 0, 0], { t: 2, v: 2, frames: [2], targets: [1], targetLengths: [1] });
    expect(loss[0]).toBeCloseTo(-Math.log(0.75), 12);
  });

  test('masked cross entropy of equal embeddings is ln K', () => {
    const s = { labels: [1], mask: [1], lengths: [1], t: 1, temperature: 0.1 };
    const sums = maskedCrossEntropy([0.3, -0.2], [1, 0, 0, 1], [0, 0], [1, 1, 1, 1, 1, 1], s);
    expect(sums[0]).toBeCloseTo(Math.log(3), 12);
  });
});

// In bf16 AVX-512 alone is another code than the one of this process only where there is more.
const held = native().backendInfo().variant === 'avx512_bf16' ? [['avx512', 'bf16'] as const] : [];

test.each([['portable', 'f32'] as const, ['avx2', 'f32'] as const, ...held])(
  'the %s code passes the same cases in %s',
  (isa, precision) => {
    const lib = JSON.stringify(path.join(packageRoot, 'dist', 'lib'));
    const code = `
      const { native } = require(${lib} + '/binding');
      require(${lib} + '/selftest').selftest({ precision: '${precision}' }).then(({ passed, failed }) =>
        console.log(JSON.stringify({ variant: native().backendInfo().variant, passed, failed })));`;
    const env = { ...process.env, HUBERTKIT_ISA: isa };
    const { stdout } = spawnSync(process.execPath, ['-e', code], { env, encoding: 'utf8' });
    const { variant, passed, failed } = JSON.parse(stdout);
    expect({ variant, failed }).toEqual({ variant: isa, failed: 0 });
    expect(passed).toBeGreaterThan(casesOf(precision).length);
  },
);
