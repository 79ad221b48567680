import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { readLabels } from '../../lib/cluster';
import { makeEmbeddedCorpus } from '../../lib/data/embedded';
import { clusterCorpus } from '../../lib/experiments/cluster-corpus';
import { HubertModel, hubertConfig } from '../../lib';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hk-cluster-'));
const corpus = `embedded:${path.join(folder, 'corpus')}`;

beforeAll(() => makeEmbeddedCorpus({ out: path.join(folder, 'corpus'), minutes: 1, threads: 1 }));
afterAll(() => fs.rmSync(folder, { recursive: true }));

test('MFCC clusters say more of phones than independent labels would, on unseen speakers too', async () => {
  const { splits } = await clusterCorpus({ corpus, out: path.join(folder, 'mfcc'), clusters: 20 });
  for (const { measures } of Object.values(splits)) expect(measures!.pnmi).toBeGreaterThan(1.3 * measures!.chancePnmi);
});

test('the same seed gives the same centroids; label files carry their fingerprint', async () => {
  const first = await clusterCorpus({ corpus, out: path.join(folder, 'a'), clusters: 10, seed: 3 });
  const second = await clusterCorpus({ corpus, out: path.join(folder, 'b'), clusters: 10, seed: 3 });
  expect(second.fingerprint).toBe(first.fingerprint);
  const labels = await readLabels(path.join(folder, 'a', 'test.labels'));
  expect(labels.header).toMatchObject({ fingerprint: first.fingerprint, feature: 'mfcc', rate: 100 });
});

test('a layer of a model is clustered at 50 labels a second; a layer it does not have is refused', async () => {
  const model = path.join(folder, 'model');
  await using made = HubertModel.create({ config: hubertConfig('nano'), clusters: 4, seed: 1 });
  await made.save(model);
  const out = path.join(folder, 'layer');
  await clusterCorpus({ corpus, out, clusters: 8, teacher: { model, layer: 1 }, share: 0.5 });
  expect((await readLabels(path.join(out, 'train.labels'))).header).toMatchObject({
    feature: 'layer',
    layer: 1,
    rate: 50,
  });
  const missing = clusterCorpus({ corpus, out, clusters: 8, teacher: { model, layer: 9 } });
  await expect(missing).rejects.toMatchObject({ code: 'HK_NAME' });
});
