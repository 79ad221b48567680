import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import {
  type AbxToken,
  abxError,
  abxTriples,
  itemsFromPhones,
  readItems,
  tokensOf,
  warpedDistance,
} from '../../lib/analysis/abx';
import { Philox } from '../../lib/data/philox';
import type { Utterance } from '../../lib/data/types';

const modes = ['within', 'across'] as const;
const phones = ['a', 'e', 'i', 'o'];

/** Tokens of 3 to 6 frames: every phone several times in two contexts by three speakers. */
function manyTokens(): AbxToken[] {
  const random = new Philox(1);
  const tokens: AbxToken[] = [];
  let from = 0;
  for (const speaker of ['s1', 's2', 's3']) {
    for (const previous of ['p', 't']) {
      for (const phone of phones) {
        for (let i = 0; i < 4; i++) {
          const to = from + 3 + random.below(4);
          tokens.push({ phone, previous, next: 'k', speaker, from, to });
          from = to;
        }
      }
    }
  }
  return tokens;
}

/** A row for each frame of the tokens; `of` is the mean of its features, with noise of the given deviation. */
function matrix(tokens: AbxToken[], dimensions: number, noise: number, of: (token: AbxToken, d: number) => number) {
  const random = new Philox(2);
  const rows = tokens[tokens.length - 1].to;
  const data = new Float32Array(rows * dimensions);
  for (const token of tokens) {
    for (let row = token.from; row < token.to; row++) {
      for (let d = 0; d < dimensions; d++) data[row * dimensions + d] = of(token, d) + noise * random.normal();
    }
  }
  return { rows, dimensions, data };
}

test.each(modes)('phones that are apart are never confused (%s speakers)', async (mode) => {
  const tokens = manyTokens();
  const features = matrix(tokens, 8, 0.1, (token, d) => (phones.indexOf(token.phone) === d ? 1 : 0));
  expect(await abxError(features, tokens, abxTriples(tokens, mode))).toBe(0);
});

test.each(modes)('features that say nothing are wrong half of the time (%s speakers)', async (mode) => {
  const tokens = manyTokens();
  const error = await abxError(
    matrix(tokens, 8, 1, () => 0),
    tokens,
    abxTriples(tokens, mode),
  );
  expect(Math.abs(error! - 0.5)).toBeLessThan(0.05);
  const constant = await abxError(
    matrix(tokens, 8, 0, (_, d) => (d === 0 ? 1 : 0)),
    tokens,
    abxTriples(tokens, mode),
  );
  expect(constant).toBe(0.5); // ties count half
});

test('features of the speaker alone are at chance within and across speakers; a speaker-bound phone is lost across', async () => {
  const tokens = manyTokens();
  const place = ({ speaker, phone }: AbxToken) => 4 * Number(speaker[1]) + phones.indexOf(phone);
  const bound = matrix(tokens, 16, 0.01, (token, d) => (place(token) === d ? 1 : 0));
  expect(await abxError(bound, tokens, abxTriples(tokens, 'within'))).toBe(0);
  expect(Math.abs((await abxError(bound, tokens, abxTriples(tokens, 'across')))! - 0.5)).toBeLessThan(0.1);
});

test('triples are what the task says, as many as asked for, and the same for the same seed', () => {
  const tokens = manyTokens();
  for (const mode of modes) {
    const triples = abxTriples(tokens, mode, { maxTriples: 200 });
    expect(triples.length).toBeGreaterThanOrEqual(200);
    expect(triples.length).toBeLessThan(210);
    for (const { a, b, x } of triples) {
      const [A, B, X] = [a, b, x].map((i) => tokens[i]);
      expect(A.phone === X.phone && A.phone !== B.phone).toBe(true);
      expect(new Set([A, B, X].map((t) => `${t.previous} ${t.next}`)).size).toBe(1);
      expect(A.speaker).toBe(B.speaker);
      expect(A.speaker === X.speaker).toBe(mode === 'within');
      expect(a).not.toBe(x);
    }
    const same = abxTriples(tokens, mode, { maxTriples: 200 });
    expect(same).toEqual(triples);
    expect(abxTriples(tokens, mode, { maxTriples: 200, seed: 2 })).not.toEqual(triples);
  }
});

test('phone pairs weigh alike, however many tokens they have', async () => {
  const token = (phone: string, i: number): AbxToken => ({
    phone,
    previous: 'p',
    next: 'k',
    speaker: 's',
    from: i,
    to: i + 1,
  });
  // "a" twice among many "e" and "i"; X = a is always nearer to "e" than to the other "a"
  const tokens = [token('a', 0), token('a', 1), ...[...Array(6).keys()].map((i) => token(i < 3 ? 'e' : 'i', 2 + i))];
  const points = [[1, 0], [-1, 0], ...Array(3).fill([0, 1]), ...Array(3).fill([0, -1])];
  const features = { rows: 8, dimensions: 2, data: Float32Array.from(points.flat()) };
  // pairs: a-e 1, a-i 1, e-a 0, e-i 0, i-a 0, i-e 0
  expect(await abxError(features, tokens, abxTriples(tokens, 'within'))).toBeCloseTo(2 / 6, 12);
});

/** The cheapest mean over all monotonic paths, by trying them all. */
function slowDistance(cost: (i: number, j: number) => number, n: number, m: number): number {
  const best = { total: Number.POSITIVE_INFINITY, cells: 0 };
  const walk = (i: number, j: number, total: number, cells: number): void => {
    const sum = total + cost(i, j);
    if (i === n - 1 && j === m - 1 && sum < best.total) Object.assign(best, { total: sum, cells: cells + 1 });
    for (const [p, q] of [[i + 1, j], [i, j + 1], [i + 1, j + 1]]) if (p < n && q < m) walk(p, q, sum, cells + 1); // biome-ignore format: one line
  };
  walk(0, 0, 0, 0);
  return best.total / best.cells;
}

test('the distance of two tokens is that of the best of all warping paths', () => {
  const random = new Philox(3);
  const d = 4;
  const rows = Float32Array.from({ length: 12 * d }, () => random.normal());
  for (let row = 0; row < 12; row++) {
    const norm = Math.hypot(...rows.subarray(row * d, (row + 1) * d));
    for (let k = 0; k < d; k++) rows[row * d + k] /= norm;
  }
  const angle = (i: number, j: number) =>
    Math.acos(rows.subarray(i * d, i * d + d).reduce((sum, v, k) => sum + v * rows[j * d + k], 0)) / Math.PI;
  for (const [n, m] of [
    [1, 1],
    [1, 5],
    [4, 1],
    [5, 5],
    [4, 7],
  ]) {
    const found = warpedDistance(rows, d, { from: 0, to: n }, { from: 5, to: 5 + m });
    expect(found).toBeCloseTo(
      slowDistance((i, j) => angle(i, 5 + j), n, m),
      6,
    );
  }
});

const utterance: Utterance = {
  id: 'train/s1/u1',
  path: 'u1.wav',
  speaker: 's1',
  split: 'train',
  samples: 16000,
  phones: ['sil', 'a', 'b', 'c', 'd', 'sil'].map((label, i) => ({ label, start: i * 0.1, end: (i + 1) * 0.1 })),
};

test('triphones come from phone alignments, silence left out', () => {
  const items = itemsFromPhones([utterance]);
  expect(items.map(({ previous, phone, next }) => previous + phone + next)).toEqual(['abc', 'bcd']);
  expect(items[0]).toMatchObject({ file: 'train/s1/u1', speaker: 's1', start: 0.1 });
  expect(items[0].end).toBeCloseTo(0.4);
});

test('an .item file is read and joined to utterances; frames are those with their centre inside', async () => {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-abx-'));
  const file = path.join(folder, 'x.item');
  const write = (text: string) => fs.writeFileSync(file, text);
  const head = '#file onset offset #phone prev-phone next-phone speaker\n';
  write(`${head}u1 0.1 0.2 a b c s1\nother 0 1 a b c s2\n`);
  const items = await readItems(file);
  expect(items).toEqual([
    { file: 'u1', start: 0.1, end: 0.2, phone: 'a', previous: 'b', next: 'c', speaker: 's1' },
    { file: 'other', start: 0, end: 1, phone: 'a', previous: 'b', next: 'c', speaker: 's2' },
  ]);
  const set = [
    { utterance: { ...utterance, id: 'before' }, frames: 7, labels: new Int32Array(7) },
    { utterance, frames: 49, labels: new Int32Array(49) },
  ];
  const tokens = tokensOf(items, set, (name) => (name === 'u1' ? utterance : undefined));
  // centres .0125 + .02 i: the first from .1 on is frame 5 (.1125), the last before .2 is frame 9 (.1925)
  expect(tokens).toEqual([{ phone: 'a', previous: 'b', next: 'c', speaker: 's1', from: 12, to: 17 }]);
  write('u1 0.1 0.2 a b c s1\n');
  await expect(readItems(file)).rejects.toMatchObject({ code: 'HK_FORMAT' });
  write(`${head}u1 0.3 0.2 a b c s1\n`);
  await expect(readItems(file)).rejects.toThrow(/line 2/);
  await expect(readItems(path.join(folder, 'absent'))).rejects.toMatchObject({ code: 'HK_IO' });
  fs.rmSync(folder, { recursive: true });
});
