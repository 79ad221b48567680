import { type Measurement, markdown, regressions, type Report } from '../../bench/measurement';
import { interleaved } from '../../bench/peers/compare';
import { spread } from '../../lib/bench/median';
import { floorSeconds } from '../../lib/bench/roofline';
import { furthestTable, profileByKind } from '../../lib/bench/profile';

const measured = (name: string, median: number, width = 0.01): Measurement => ({
  suite: 'step',
  name,
  seconds: { median, low: median * (1 - width / 2), high: median * (1 + width / 2), n: 7 },
});

test('a spread is the median and the quartiles, whatever the order of the measurements', () => {
  expect(spread([5, 1, 4, 2, 3])).toEqual({ median: 3, low: 2, high: 4, n: 5 });
});

describe('the comparison with an earlier run', () => {
  test('names what is slower by more than the noise of both runs', () => {
    const before = [measured('slow', 1), measured('same', 1), measured('fast', 1), measured('removed', 1)];
    const after = [measured('slow', 1.1), measured('same', 1.02), measured('fast', 0.5), measured('new', 9)];
    expect(regressions(before, after)).toEqual([
      expect.objectContaining({ name: 'step: slow', before: 1, after: 1.1 }),
    ]);
  });

  test('a difference within wide quartiles is noise', () => {
    expect(regressions([measured('a', 1, 0.08)], [measured('a', 1.1, 0.08)])).toEqual([]);
    expect(regressions([measured('a', 1, 0.08)], [measured('a', 1.2, 0.08)])).toHaveLength(1);
  });
});

test('the floor is the longer of computing and moving, by the rate of the precision', () => {
  const roofline = { f32_gflops: 100, bf16_gflops: 200, read_gbytes_per_s: 10 };
  expect(floorSeconds({ flops: 1e9, bytes: 1e7 }, roofline)).toBeCloseTo(0.01, 12);
  expect(floorSeconds({ flops: 1e9, bytes: 1e7 }, roofline, 'bf16')).toBeCloseTo(0.005, 12);
  expect(floorSeconds({ flops: 1e6, bytes: 1e9 }, roofline)).toBeCloseTo(0.1, 12);
});

test('where a copy was measured too, the faster of read and copy is what memory can do', () => {
  const roofline = { f32_gflops: 100, read_gbytes_per_s: 10, copy_gbytes_per_s: 20 };
  expect(floorSeconds({ flops: 1e6, bytes: 1e9 }, roofline)).toBeCloseTo(0.05, 12);
  expect(floorSeconds({ flops: 1e6, bytes: 1e9 }, { ...roofline, copy_gbytes_per_s: 5 })).toBeCloseTo(0.1, 12);
});

test('a profile by kind adds up its ops, slowest kind first', () => {
  const op = (kind: string, seconds: number) => ({
    kind,
    label: kind,
    seconds,
    flops: 1e9,
    bytes: 1e6,
    floor_s: 0.001,
  });
  const [first, second] = profileByKind([op('gelu', 0.01), op('linear', 0.02), op('linear', 0.03)]);
  expect(first).toMatchObject({ kind: 'linear', count: 2, gflop: 2 });
  expect(first.ms).toBeCloseTo(50, 9);
  expect(first.gflops).toBeCloseTo(40, 9);
  expect(first.floor_ms).toBeCloseTo(2, 9);
  expect(second.kind).toBe('gelu');
  expect(furthestTable([op('gelu', 0.01), op('linear', 0.03)])[1]).toEqual(['linear (linear)', '30.00', '1.00', '3 %']);
});

describe('beside the peers', () => {
  test('the sides take turns, and the ratio is to the fastest peer', async () => {
    const order: string[] = [];
    const side = (name: string, seconds: number) => ({
      name,
      turn: async () => {
        order.push(name);
        return [seconds, seconds];
      },
    });
    const result = await interleaved('work', side('a', 2), [side('b', 6), side('c', 3)], 2);
    expect(order.join('')).toBe('abcabc');
    expect(result.peers.map((peer) => peer.name)).toEqual(['c', 'b']);
    expect(result.ratio).toBe(1.5);
    expect(result.ours.n).toBe(4);
  });
});

test('the Markdown has a table for each suite, with the share of the roofline', () => {
  const report: Report = {
    command: 'npm run bench',
    date: '2026-01-02T03:04:05Z',
    machine: { cpu: 'x' },
    roofline: { f32_gflops: 100, read_gbytes_per_s: 10 },
    measurements: [{ ...measured('base', 2), floor_s: 1, rates: { gflops: 50 } }],
    profiles: [],
    notes: ['no torch'],
  };
  const text = markdown(report);
  expect(text).toContain('| base | 2000 (1990 to 2010) | 50 | 1000 | 50 % |');
  expect(text).toContain('| f32_gflops | 100 |');
  expect(text).toContain('- no torch');
});
