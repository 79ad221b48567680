import { Codebook, fitKmeans, type KmeansOptions } from '../../lib/cluster/index';
import { wrapped } from '../../lib/binding/index';
import { lloyd, nearest, randomNumbers } from '../reference/loss';

/** `count` rows around `centres` well separated points of dimension `dim`. */
function blobs(count: number, centres: number, dim: number, spread: number, seed = 1): Float32Array {
  const random = randomNumbers(seed);
  const centre = Float32Array.from({ length: centres * dim }, () => random() * 10);
  return Float32Array.from({ length: count * dim }, (_, j) => {
    const row = Math.floor(j / dim);
    return centre[(row % centres) * dim + (j % dim)] + spread * (random() + random());
  });
}

/** The same rows in pieces of `size` rows. */
function* pieces(rows: Float32Array, dim: number, size: number): Generator<Float32Array> {
  for (let i = 0; i < rows.length; i += size * dim) yield rows.subarray(i, i + size * dim);
}

const fitted = (rows: Float32Array, options: KmeansOptions) => fitKmeans(pieces(rows, options.dim, 1000), options);

describe.each(['lloyd', 'minibatch'] as const)('%s', (method) => {
  test('separated blobs are found exactly: inertia of an independent float64 Lloyd from the true means', async () => {
    const dim = 7;
    const rows = blobs(4000, 12, dim, 0.3);
    const result = await fitted(rows, { clusters: 12, dim, method, nInit: 5, batchSize: 500, seed: 3 });
    const truth = lloyd(rows, rows.subarray(0, 12 * dim), dim); // the first 12 rows are one of each blob
    expect(result.inertia / truth.inertia).toBeGreaterThan(1 - 1e-6);
    expect(result.inertia / truth.inertia).toBeLessThan(method === 'lloyd' ? 1 + 1e-6 : 1.01);
    expect(result).toMatchObject({ clusters: 12, dim, rowsSeen: 4000, rowsUsed: 4000 });
  });

  test('unstructured rows: inertia comes near to the best of several float64 runs', async () => {
    const dim = 5;
    const random = randomNumbers(8);
    const rows = Float32Array.from({ length: 3000 * dim }, random);
    const best = Math.min(
      ...[0, 1, 2, 3].map((i) => lloyd(rows, rows.subarray(i * 100, i * 100 + 20 * dim), dim, 60).inertia),
    );
    const result = await fitted(rows, { clusters: 20, dim, method, nInit: 5, batchSize: 600, seed: 1 });
    expect(result.inertia / best).toBeLessThan(method === 'lloyd' ? 1.02 : 1.05);
    const check = nearest(rows, result.centroids, dim).distances.reduce((a, b) => a + b, 0);
    expect(Math.abs(result.inertia / check - 1)).toBeLessThan(1e-5);
  });

  test('the result is the same however the rows are cut, also when they are sampled', async () => {
    const dim = 6;
    const rows = blobs(5000, 9, dim, 2);
    const options = { clusters: 10, dim, method, nInit: 2, batchSize: 300, maxIterations: 5, seed: 5 };
    for (const memoryBytes of [2 ** 30, 150_000]) {
      const whole = await fitKmeans([rows], { ...options, memoryBytes });
      const cut = await fitKmeans(pieces(rows, dim, 77), { ...options, memoryBytes });
      expect(cut).toEqual(whole);
      expect(whole.rowsSeen).toBe(5000);
      expect(whole.rowsUsed === 5000).toBe(memoryBytes === 2 ** 30);
    }
  });

  test.each([1, 35])('%d seedings: the result is the same on one thread and on three', async (nInit) => {
    const dim = 40; // large enough that every loop is shared out
    const rows = blobs(30000, 15, dim, 3);
    const options = { clusters: 25, dim, method, nInit, batchSize: 26000, maxIterations: 10 };
    const threads = wrapped((native) => native.backendInfo().threads);
    try {
      wrapped((native) => native.setThreads(1));
      const one = await fitted(rows, options);
      wrapped((native) => native.setThreads(3));
      expect(await fitted(rows, options)).toEqual(one);
    } finally {
      wrapped((native) => native.setThreads(threads));
    }
  });

  test('another seed gives other centroids', async () => {
    const rows = Float32Array.from({ length: 2000 }, randomNumbers(4));
    const options = { clusters: 8, dim: 2, method, nInit: 1, maxIterations: 2 };
    const fingerprints = [await fitted(rows, { ...options, seed: 1 }), await fitted(rows, { ...options, seed: 2 })].map(
      (f) => f.fingerprint,
    );
    expect(fingerprints[0]).not.toBe(fingerprints[1]);
  });

  test('fewer distinct rows than clusters: finite centroids, inertia 0', async () => {
    const rows = Float32Array.from({ length: 60 }, (_, i) => (i >> 1) % 3);
    const result = await fitted(rows, { clusters: 7, dim: 2, method, nInit: 2 });
    expect(result.centroids.every(Number.isFinite)).toBe(true);
    expect(result.inertia).toBeCloseTo(0, 10);
  });

  test('as many clusters as rows: inertia 0', async () => {
    const rows = blobs(30, 30, 3, 0);
    expect((await fitted(rows, { clusters: 30, dim: 3, method, nInit: 1 })).inertia).toBeCloseTo(0, 8);
  });

  test('an abort stops the fit between two steps', async () => {
    const rows = Float32Array.from({ length: 40000 }, randomNumbers(2));
    const controller = new AbortController();
    const onProgress = ({ phase, iteration }: { phase: string; iteration: number }) => {
      if (phase === method && iteration >= 2) controller.abort();
    };
    const options = {
      clusters: 50,
      dim: 4,
      method,
      nInit: 1,
      tolerance: 0,
      batchSize: 500,
      onProgress,
      signal: controller.signal,
    };
    await expect(fitted(rows, options)).rejects.toMatchObject({ code: 'HK_INTERRUPTED' });
  });

  test('progress goes through reading, seeding and the method to done, and inertia falls', async () => {
    const phases: string[] = [];
    const inertia: number[] = [];
    await fitted(blobs(3000, 20, 8, 2), {
      clusters: 20,
      dim: 8,
      method,
      nInit: 2,
      batchSize: 1000,
      onProgress: (p) => {
        if (phases.at(-1) !== p.phase) phases.push(p.phase);
        if (p.phase === method || p.phase === 'done') inertia.push(p.inertia);
      },
    });
    expect(phases).toEqual(['reading', 'seeding', method, 'done']);
    expect(inertia.at(-1)!).toBeLessThan(inertia[0]);
  });
});

test('one seeding puts a centroid into each of many blobs far apart', async () => {
  const [dim, centres] = [48, 60];
  const rows = blobs(3000, centres, dim, 0.01);
  const truth = lloyd(rows, rows.subarray(0, centres * dim), dim, 2).inertia;
  for (let seed = 0; seed < 10; seed++) {
    const options = { clusters: centres, dim, method: 'lloyd' as const, nInit: 1, maxIterations: 1, seed };
    expect((await fitted(rows, options)).inertia / truth).toBeLessThan(1.001);
  }
});

test('the sample under a small budget is uniform: early and late rows are kept alike', async () => {
  // Each row is its own place; one cluster: the centroid is the sample's mean, which tells whether the ends are favoured.
  const n = 20000;
  const rows = Float32Array.from({ length: n }, (_, i) => i / n);
  const result = await fitKmeans([rows], { clusters: 1, dim: 1, method: 'lloyd', nInit: 1, memoryBytes: 100_000 });
  expect(result.rowsUsed).toBeLessThan(n / 4);
  expect(result.rowsUsed).toBeGreaterThan(1000);
  expect(Math.abs(result.centroids[0] - 0.5)).toBeLessThan(4 * Math.sqrt(1 / 12 / result.rowsUsed));
  expect(Math.abs(result.inertia / result.rowsUsed / (1 / 12) - 1)).toBeLessThan(0.1);
});

describe('wrong arguments are refused by name', () => {
  const rows = Float32Array.from({ length: 20 }, (_, i) => i);
  test.each([
    [{ clusters: 11, dim: 2 }, rows, 'HK_ARGUMENT', /11 clusters need at least as many rows, got 10/],
    [{ clusters: 2, dim: 3 }, rows, 'HK_SHAPE', /20 values are not whole rows of 3/],
    [
      { clusters: 2, dim: 2 },
      new Float32Array([1, 2, Number.NaN, 3]),
      'HK_ARGUMENT',
      /row 1 has a value that is not finite/,
    ],
    [{ clusters: 2.5, dim: 2 }, rows, 'HK_ARGUMENT', /clusters: expected a whole number/],
    [{ clusters: 2, dim: 2, seed: -1 }, rows, 'HK_ARGUMENT', /seed/],
    [{ clusters: 5, dim: 2, memoryBytes: 64 }, rows, 'HK_MEMORY', /64 bytes are too few for 5 clusters/],
    [{ clusters: 2, dim: 2 }, new Float64Array(4) as unknown as Float32Array, 'HK_ARGUMENT', /expected a Float32Array/],
  ])('%j', async (options, data, code, message) => {
    await expect(fitKmeans([data], options)).rejects.toMatchObject({ code, message: expect.stringMatching(message) });
  });
  test('no rows at all', async () => {
    await expect(fitKmeans([], { clusters: 1, dim: 1 })).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
  });
});

test('a codebook assigns like the reference, over several parts', async () => {
  const dim = 3;
  const rows = blobs(40000, 6, dim, 1);
  const centroids = blobs(6, 6, dim, 0);
  const { labels, distances } = await new Codebook(
    { centroids, clusters: 6, dim },
    { feature: 'layer', layer: 0 },
  ).assign(rows);
  const expected = nearest(rows, centroids, dim);
  expect(labels.every((label, i) => label === expected.labels[i])).toBe(true);
  expect(distances.every((d, i) => Math.abs(d - expected.distances[i]) < 1e-4)).toBe(true);
});
