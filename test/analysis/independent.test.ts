/** The measures against numpy and scipy (test/fixtures/measures/generate.py), which compute them from the rows. */
import * as path from 'node:path';
import { type AbxToken, abxError, abxTriples } from '../../lib/analysis/abx';
import { type CcaSplits, covariances, pwcca, svcca } from '../../lib/analysis/cca';
import { linearCka } from '../../lib/analysis/cka';
import { clusteringMeasures } from '../../lib/analysis/clustering';
import { CrossSums } from '../../lib/analysis/cross-sums';
import { rankMe } from '../../lib/analysis/rank';
import { readJson } from '../../lib/formats/atomic';

interface Fixture {
  phones: number[];
  clusters: number[];
  clustering: Record<string, number>;
  splits: Record<'train' | 'dev' | 'test', { x: number[][]; y: number[][] }>;
  cka: { linear: number; debiased: number };
  epsilons: number[];
  pwcca: { epsilon: number; similarity: number; correlations: number[] };
  svcca: { epsilon: number; similarity: number };
  plainCca: number[];
  rankMe: number;
  abx: { tokens: AbxToken[]; frames: number[][]; within: number; across: number };
}

let fixture: Fixture;
let splits: CcaSplits;
const file = path.resolve(__dirname, '..', '..', '..', 'test', 'fixtures', 'measures', 'measures.json');
const flat = (rows: number[][]) => Float64Array.from(rows.flat());

function sums(a: number[][], b: number[][]): CrossSums {
  const result = new CrossSums(a[0].length, b[0].length);
  result.add(flat(a), flat(b));
  return result;
}

beforeAll(async () => {
  fixture = await readJson<Fixture>(file);
  const of = (part: keyof CcaSplits) => {
    const { x, y } = fixture.splits[part];
    return covariances(sums(x, x), sums(x, y), sums(y, y));
  };
  splits = { train: of('train'), dev: of('dev'), test: of('test') };
});

const near = (found: number, expected: number) => expect(Math.abs(found - expected)).toBeLessThan(1e-6);

test('purities, entropies, mutual information and PNMI', () => {
  const { phones, clusters, clustering } = fixture;
  const sizes = { phones: Math.max(...phones) + 1, clusters: Math.max(...clusters) + 1 };
  const found = clusteringMeasures(phones, clusters, sizes) as unknown as Record<string, number>;
  for (const [name, value] of Object.entries(clustering)) near(found[name], value);
  expect(Object.keys(clustering)).toHaveLength(6);
});

test('linear and debiased CKA', () => {
  const { x, y } = fixture.splits.train;
  near(linearCka(flat(x), flat(y), x.length), fixture.cka.linear);
  near(linearCka(flat(x), flat(y), x.length, { debiased: true }), fixture.cka.debiased);
});

test('PWCCA on held-out rows, with the regularisation that the development rows choose', async () => {
  const found = await pwcca(splits, { epsilons: fixture.epsilons });
  expect(found.epsilon).toBe(fixture.pwcca.epsilon);
  near(found.similarity, fixture.pwcca.similarity);
  fixture.pwcca.correlations.forEach((rho, i) => {
    near(found.correlations[i], rho);
  });
});

test('SVCCA on held-out rows, with the regularisation that the development rows choose', async () => {
  const found = await svcca(splits, { epsilons: fixture.epsilons });
  expect(found.epsilon).toBe(fixture.svcca.epsilon);
  near(found.similarity, fixture.svcca.similarity);
});

test('canonical correlations of the training rows', async () => {
  const { train } = splits;
  const { correlations } = await pwcca({ train, dev: train, test: train }, { epsilons: [0] });
  fixture.plainCca.forEach((rho, i) => {
    near(correlations[i], rho);
  });
});

test('RankMe', async () => {
  const { x } = fixture.splits.train;
  near(await rankMe(sums(x, x)), fixture.rankMe);
});

test.each(['within', 'across'] as const)('ABX %s speakers, over all triples', async (mode) => {
  const { tokens, frames } = fixture.abx;
  const features = { rows: frames.length, dimensions: 3, data: Float32Array.from(frames.flat()) };
  near((await abxError(features, tokens, abxTriples(tokens, mode)))!, fixture.abx[mode]);
});
