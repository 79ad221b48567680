import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { Codebook, LabelSet, type LabelsHeader, readKm, readLabels, writeKm, writeLabels } from '../../lib/cluster/index';

const header: LabelsHeader = { fingerprint: '0123456789abcdef', feature: 'layer', layer: 6, rate: 50, clusters: 100 };
const entries: [string, number[]][] = [
  ['a/one', [0, 99, 5]],
  ['b', []],
  ['ü-3', [7]],
];
let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'labels-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

describe('label files', () => {
  test.each([100, 70000])('with %d clusters, what is written is read', async (clusters) => {
    const file = path.join(folder, 'deep', 'labels.bin');
    await writeLabels(file, { ...header, clusters }, [...entries, ['last', [clusters - 1]]]);
    const set = await readLabels(file);
    expect(set.header).toEqual({ ...header, clusters });
    expect([...set.units].map(([id, units]) => [id, [...units]])).toEqual([...entries, ['last', [clusters - 1]]]);
  });

  test('every truncation and every changed byte of the labels is refused', async () => {
    const file = path.join(folder, 'labels.bin');
    await writeLabels(file, header, entries);
    const bytes = fs.readFileSync(file);
    for (let length = 0; length < bytes.length; length++) {
      fs.writeFileSync(file, bytes.subarray(0, length));
      await expect(readLabels(file)).rejects.toMatchObject({ code: 'HK_FORMAT' });
    }
    for (let at = 0; at < bytes.length; at++) {
      const changed = Buffer.from(bytes);
      changed[at] ^= 0xff;
      fs.writeFileSync(file, changed);
      await expect(readLabels(file)).rejects.toMatchObject({ code: 'HK_FORMAT' });
    }
  });

  test('a failing source leaves the old file as it was', async () => {
    const file = path.join(folder, 'labels.bin');
    await writeLabels(file, header, entries);
    const before = fs.readFileSync(file);
    await expect(writeLabels(file, header, [['x', [100]]])).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    await expect(writeLabels(file, header, [entries[0], entries[0]])).rejects.toMatchObject({ code: 'HK_ARGUMENT' });
    expect(fs.readFileSync(file)).toEqual(before);
    expect(fs.readdirSync(folder)).toEqual(['labels.bin']);
  });

  test('a file that is not there is HK_IO', async () => {
    await expect(readLabels(path.join(folder, 'none'))).rejects.toMatchObject({ code: 'HK_IO' });
  });
});

describe('labels for frames', () => {
  const set = (rate: 50 | 100, count: number) =>
    new LabelSet({ ...header, rate }, new Map([['u', Uint16Array.from({ length: count }, (_, i) => i)]]));

  test('at 100 a second, frame i takes label 2i', () => {
    expect([...set(100, 9).forFrames('u', 5)]).toEqual([0, 2, 4, 6, 8]);
    expect([...set(100, 10).forFrames('u', 5)]).toEqual([0, 2, 4, 6, 8]);
  });

  test('at 50 a second, frame i takes label i; one frame more or less is tolerated', () => {
    expect([...set(50, 4).forFrames('u', 4)]).toEqual([0, 1, 2, 3]);
    expect([...set(50, 5).forFrames('u', 4)]).toEqual([0, 1, 2, 3]);
    expect([...set(50, 3).forFrames('u', 4)]).toEqual([0, 1, 2, -1]);
  });

  test('the first utterance whose counts differ by more is named with both counts', () => {
    const labels = new LabelSet(header, new Map([['good', new Uint16Array(99)], ['bad', new Uint16Array(50)]]), 'labels.bin');
    labels.check([{ id: 'good', samples: 32000 }]);
    const check = () => labels.check([{ id: 'good', samples: 32000 }, { id: 'bad', samples: 32000 }, { id: 'none', samples: 1 }]);
    expect(check).toThrow(/labels\.bin: utterance bad has 99 frames .* but 50 labels/);
    expect(() => labels.check([{ id: 'none', samples: 32000 }])).toThrow(/utterance none has no labels/);
    expect(() => set(50, 198).check([{ id: 'u', samples: 32000 }])).toThrow(/another rate/);
  });

  test('labels of other centroids, layer or rate are refused by name', () => {
    const labels = set(50, 3);
    labels.expect({ fingerprint: header.fingerprint, layer: 6 });
    expect(() => labels.expect({ fingerprint: 'ffff' })).toThrow(/fingerprint is 0123456789abcdef, expected ffff/);
    expect(() => labels.expect({ layer: 9 })).toThrow(/layer is 6, expected 9/);
    expect(() => labels.expect({ rate: 100 })).toThrow(/rate is 50, expected 100/);
    expect(() => labels.expect({ feature: 'mfcc', layer: null })).toThrow(/feature is layer, expected mfcc/);
  });
});

describe("fairseq's .km", () => {
  test('what is written is read, in the order of the list', async () => {
    const file = path.join(folder, 'train.km');
    await writeLabels(path.join(folder, 'l'), header, entries);
    const set = await readLabels(path.join(folder, 'l'));
    await writeKm(file, set, ['ü-3', 'a/one', 'b']);
    expect(fs.readFileSync(file, 'utf8')).toBe('7\n0 99 5\n\n');
    const back = await readKm(file, ['ü-3', 'a/one', 'b'], header);
    expect([...back.units.get('a/one')!]).toEqual([0, 99, 5]);
    await expect(writeKm(file, set, ['other'])).rejects.toMatchObject({ code: 'HK_MISMATCH' });
  });

  test('wrong line counts and labels are refused with their place', async () => {
    const file = path.join(folder, 'x.km');
    fs.writeFileSync(file, '1 2\n3 100\n');
    await expect(readKm(file, ['a'], header)).rejects.toMatchObject({ code: 'HK_MISMATCH', message: expect.stringMatching(/2 lines for 1/) });
    await expect(readKm(file, ['a', 'b'], header)).rejects.toMatchObject({ message: expect.stringMatching(/line 2 \(b\): "100"/) });
    fs.writeFileSync(file, '1 x\n');
    await expect(readKm(file, ['a'], header)).rejects.toMatchObject({ code: 'HK_FORMAT' });
  });
});

describe('codebook files', () => {
  const make = () => new Codebook({ centroids: Float32Array.from([1, 2, 3, 4, 5, 6]), clusters: 2, dim: 3, seed: 4 }, { feature: 'layer', layer: 0 });

  test('what is saved is loaded', async () => {
    const file = path.join(folder, 'centroids.safetensors');
    const codebook = make();
    await codebook.save(file);
    expect(await Codebook.load(file)).toEqual(codebook);
    const mfcc = new Codebook(codebook, { feature: 'mfcc', layer: null });
    await mfcc.save(file);
    expect(await Codebook.load(file)).toEqual(mfcc);
  });

  test('the fingerprint tells values and shape apart', () => {
    const values = Float32Array.from([1, 2, 3, 4, 5, 6]);
    const a = make();
    expect(a.fingerprint).toMatch(/^[0-9a-f]{16}$/);
    expect(new Codebook({ centroids: values, clusters: 3, dim: 2 }, a).fingerprint).not.toBe(a.fingerprint);
    values[5] = 6.0000005;
    expect(new Codebook({ centroids: values, clusters: 2, dim: 3 }, a).fingerprint).not.toBe(a.fingerprint);
  });

  test('changed centroids are refused', async () => {
    const file = path.join(folder, 'centroids.safetensors');
    await make().save(file);
    const bytes = fs.readFileSync(file);
    bytes[bytes.length - 1] ^= 1;
    fs.writeFileSync(file, bytes);
    await expect(Codebook.load(file)).rejects.toMatchObject({ code: 'HK_MISMATCH' });
  });

  test('a layer codebook without its layer is refused', () => {
    expect(() => new Codebook(make(), { feature: 'layer', layer: null })).toThrow(/needs its layer/);
    expect(() => new Codebook({ centroids: new Float32Array(5), clusters: 2, dim: 3 }, { feature: 'mfcc', layer: null })).toThrow(/needs 6 values/);
  });
});
