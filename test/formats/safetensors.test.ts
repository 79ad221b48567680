import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { appendJsonLine, readJsonLines, writeAtomically, writeFileAtomic } from '../../lib/formats/atomic';
import {
  expectFloat32,
  readSafetensors,
  readSafetensorsHeader,
  type SafetensorsTensor,
  toFloat32,
  writeSafetensors,
} from '../../lib/formats/safetensors';

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-safetensors-'));
const inFolder = (name: string) => path.join(folder, name);
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** A file with any header text and any number of data bytes. */
function craft(name: string, header: unknown, dataBytes: number, claimed?: bigint): string {
  const json = Buffer.from(typeof header === 'string' ? header : JSON.stringify(header));
  const prefix = Buffer.alloc(8);
  prefix.writeBigUInt64LE(claimed ?? BigInt(json.length));
  fs.writeFileSync(inFolder(name), Buffer.concat([prefix, json, Buffer.alloc(dataBytes)]));
  return inFolder(name);
}

const f32 = (begin: number, end: number, shape = [(end - begin) / 4]) => ({
  dtype: 'F32',
  shape,
  data_offsets: [begin, end],
});

describe('safetensors', () => {
  test('what is written is read back, every dtype, scalars and empty tensors included', async () => {
    const tensors: Record<string, SafetensorsTensor> = {
      bytes: { dtype: 'U8', shape: [3], data: Uint8Array.of(1, 2, 255) },
      floats: { dtype: 'F32', shape: [2, 2], data: Float32Array.of(1, -2.5, 3e-40, Infinity) },
      doubles: { dtype: 'F64', shape: [1], data: Float64Array.of(Math.PI) },
      longs: { dtype: 'I64', shape: [2], data: BigInt64Array.of(-1n, 1n << 60n) },
      ints: { dtype: 'I32', shape: [2], data: Int32Array.of(-7, 7) },
      half: { dtype: 'F16', shape: [1], data: Uint16Array.of(0x3c00) },
      scalar: { dtype: 'F32', shape: [], data: Float32Array.of(4) },
      empty: { dtype: 'F32', shape: [0, 5], data: new Float32Array(0) },
      'näme/with.dots': { dtype: 'BOOL', shape: [1], data: Uint8Array.of(1) },
      __proto: { dtype: 'U8', shape: [1], data: Uint8Array.of(9) },
    };
    await writeSafetensors(inFolder('all.safetensors'), tensors, { layer: '6', note: 'ü' });
    const read = await readSafetensors(inFolder('all.safetensors'));
    expect(read.metadata).toEqual({ layer: '6', note: 'ü' });
    expect(Object.fromEntries(read.tensors)).toEqual(tensors);
    const { entries, dataStart } = await readSafetensorsHeader(inFolder('all.safetensors'));
    expect(dataStart % 8).toBe(0);
    for (const { dtype, begin } of entries.values()) expect(begin % (dtype === 'F32' ? 4 : 1)).toBe(0);
    expect(fs.readdirSync(folder).filter((name) => name.endsWith('.tmp'))).toEqual([]);
  });

  test('files that another implementation wrote are read', async () => {
    const golden = path.join(__dirname, '..', '..', '..', 'test', 'golden', 'weights.safetensors');
    const { tensors } = await readSafetensors(golden);
    expect(tensors.size).toBeGreaterThan(10);
    for (const [, tensor] of tensors) expect(tensor.data.length).toBe(tensor.shape.reduce((a, b) => a * b, 1));
  });

  test('F16, BF16, F64 and integers become float32', () => {
    const half = {
      dtype: 'F16' as const,
      shape: [6],
      data: Uint16Array.of(0x3c00, 0xc000, 0x0001, 0x7c00, 0x7bff, 0x8000),
    };
    expect([...toFloat32(half)]).toEqual([1, -2, 2 ** -24, Infinity, 65504, -0]);
    expect(toFloat32({ dtype: 'F16', shape: [1], data: Uint16Array.of(0x7e00) })[0]).toBeNaN();
    expect([...toFloat32({ dtype: 'BF16', shape: [2], data: Uint16Array.of(0x3f80, 0xc040) })]).toEqual([1, -3]);
    expect([...toFloat32({ dtype: 'F64', shape: [1], data: Float64Array.of(0.5) })]).toEqual([0.5]);
    expect([...toFloat32({ dtype: 'I64', shape: [1], data: BigInt64Array.of(-3n) })]).toEqual([-3]);
  });

  test.each<[string, unknown, number, bigint | undefined, RegExp]>([
    ['a header length beyond the file', '{}', 0, 500n, /claims 500 bytes, but only 2 follow/],
    ['an absurd header length', '{}', 0, 1n << 62n, /the limit is/],
    ['a header that is not JSON', '{oops', 0, undefined, /not JSON/],
    ['a header that is not an object', '[]', 0, undefined, /not a JSON object/],
    ['an unknown dtype', { a: { dtype: 'Q4', shape: [1], data_offsets: [0, 4] } }, 4, undefined, /dtype "Q4"/],
    [
      'a dtype named like a method',
      { a: { dtype: 'toString', shape: [], data_offsets: [0, 4] } },
      4,
      undefined,
      /dtype/,
    ],
    ['a negative size', { a: { dtype: 'F32', shape: [-1], data_offsets: [0, 4] } }, 4, undefined, /shape \[-1\]/],
    ['missing offsets', { a: { dtype: 'F32', shape: [1] } }, 4, undefined, /data_offsets/],
    ['a null entry', { a: null }, 0, undefined, /dtype/],
    [
      'offsets that do not fit the shape',
      { a: f32(0, 8, [3]) },
      8,
      undefined,
      /needs 12 bytes, its data_offsets span 8/,
    ],
    ['a shape whose product overflows', { a: f32(0, 8, [2 ** 40, 2 ** 40]) }, 8, undefined, /data_offsets span 8/],
    ['overlapping tensors', { a: f32(0, 8), b: f32(4, 12) }, 12, undefined, /overlaps/],
    ['a hole between tensors', { a: f32(0, 4), b: f32(8, 12) }, 12, undefined, /belong to no tensor/],
    ['data that was cut off', { a: f32(0, 400) }, 396, undefined, /only 396 bytes of data are there \(truncated\?\)/],
    ['bytes left over', { a: f32(0, 4) }, 6, undefined, /2 bytes after the last tensor/],
    ['metadata that is not text', { __metadata__: { a: 1 } }, 0, undefined, /__metadata__/],
  ])('%s is refused with the file name', async (_, header, dataBytes, claimed, message) => {
    const file = craft('bad.safetensors', header, dataBytes, claimed);
    await expect(readSafetensors(file)).rejects.toMatchObject({
      code: 'HK_FORMAT',
      message: expect.stringMatching(message),
    });
    await expect(readSafetensors(file)).rejects.toThrow(file);
  });

  test('a file shorter than its length field and an absent file are told apart', async () => {
    fs.writeFileSync(inFolder('short'), 'abc');
    await expect(readSafetensors(inFolder('short'))).rejects.toMatchObject({ code: 'HK_FORMAT' });
    await expect(readSafetensors(inFolder('absent'))).rejects.toMatchObject({ code: 'HK_IO' });
    await expect(readSafetensors(folder)).rejects.toMatchObject({ code: 'HK_IO' });
  });

  test('data that does not fit its shape or dtype is not written', async () => {
    const write = (tensor: unknown) => writeSafetensors(inFolder('never'), { a: tensor as SafetensorsTensor });
    await expect(write({ dtype: 'F32', shape: [3], data: new Float32Array(2) })).rejects.toMatchObject({
      code: 'HK_ARGUMENT',
    });
    await expect(write({ dtype: 'F32', shape: [2], data: new Float64Array(2) })).rejects.toMatchObject({
      code: 'HK_ARGUMENT',
    });
    expect(fs.existsSync(inFolder('never'))).toBe(false);
  });

  test('expectFloat32 names the tensor that is missing or has another shape', async () => {
    const some = {
      tensors: new Map([['a', { dtype: 'F32' as const, shape: [2], data: Float32Array.of(1, 2) }]]),
      metadata: {},
    };
    expect([...expectFloat32('x', some, 'a', [2])]).toEqual([1, 2]);
    expect(() => expectFloat32('x', some, 'b')).toThrow(/no tensor "b". It holds: a/);
    expect(() => expectFloat32('x', some, 'a', [1, 2])).toThrow(/shape \[2\], expected \[1,2\]/);
  });
});

describe('atomic files', () => {
  test('a failed write leaves the old file and no temporary one', async () => {
    const file = inFolder('kept/value.txt');
    await writeFileAtomic(file, 'old');
    const failing = writeAtomically(file, async (handle) => {
      await handle.writeFile('half of the n');
      throw new Error('power cut');
    });
    await expect(failing).rejects.toMatchObject({ code: 'HK_IO' });
    expect(fs.readFileSync(file, 'utf8')).toBe('old');
    expect(fs.readdirSync(inFolder('kept'))).toEqual(['value.txt']);
  });

  test('JSON lines are appended, and a line cut by a crash loses only itself', async () => {
    const file = inFolder('metrics.jsonl');
    await appendJsonLine(file, { update: 1 });
    fs.appendFileSync(file, '{"update":2');
    expect(await readJsonLines(file)).toEqual([{ update: 1 }]);
    fs.writeFileSync(file, '{"a":1}\n{"b":\n{"c":3}\n');
    await expect(readJsonLines(file)).rejects.toMatchObject({
      code: 'HK_FORMAT',
      message: expect.stringMatching(/line 2/),
    });
    expect(await readJsonLines(inFolder('none.jsonl'), { optional: true })).toEqual([]);
  });
});
