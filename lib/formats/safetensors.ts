/**
 * safetensors (https://github.com/huggingface/safetensors): 8 bytes header length (little-endian u64), a JSON header
 * `{name: {dtype, shape, data_offsets: [begin, end]}, __metadata__: {key: text}}`, then the bytes of the tensors, packed.
 */
import * as fs from 'node:fs';
import { HubertkitError } from '../errors';
import { ioError, writeAtomically } from './atomic';

/** The array type that holds the elements of each dtype. F16, BF16 and F8 keep their bits: see {@link toFloat32}. */
const arrays = {
  F64: Float64Array,
  F32: Float32Array,
  F16: Uint16Array,
  BF16: Uint16Array,
  F8_E4M3: Uint8Array,
  F8_E5M2: Uint8Array,
  I64: BigInt64Array,
  U64: BigUint64Array,
  I32: Int32Array,
  U32: Uint32Array,
  I16: Int16Array,
  U16: Uint16Array,
  I8: Int8Array,
  U8: Uint8Array,
  BOOL: Uint8Array,
} as const;

export type SafetensorsDtype = keyof typeof arrays;

export type SafetensorsArray =
  | Float64Array
  | Float32Array
  | BigInt64Array
  | BigUint64Array
  | Int32Array
  | Uint32Array
  | Int16Array
  | Uint16Array
  | Int8Array
  | Uint8Array;

export interface SafetensorsTensor {
  dtype: SafetensorsDtype;
  /** Row-major; [] is a scalar. */
  shape: number[];
  data: SafetensorsArray;
}

export interface Safetensors {
  tensors: Map<string, SafetensorsTensor>;
  metadata: Record<string, string>;
}

/** Where a tensor lies in the file. */
export interface SafetensorsEntry {
  dtype: SafetensorsDtype;
  shape: number[];
  /** Bytes from the end of the header. */
  begin: number;
  end: number;
}

export interface SafetensorsHeader {
  entries: Map<string, SafetensorsEntry>;
  metadata: Record<string, string>;
  /** Offset of the first tensor byte in the file. */
  dataStart: number;
  fileBytes: number;
}

const maxHeaderBytes = 100_000_000; // the limit of the reference implementation

/** Reads all tensors of a file. Throws HK_IO (cannot be read) or HK_FORMAT (says what was expected and what was found). */
export async function readSafetensors(file: string): Promise<Safetensors> {
  return withFile(file, async (handle) => {
    const header = await readHeader(file, handle);
    const tensors = new Map<string, SafetensorsTensor>();
    for (const [name, entry] of header.entries) tensors.set(name, await readTensor(file, handle, header, name, entry));
    return { tensors, metadata: header.metadata };
  });
}

/** Reads names, dtypes and shapes without the data. Throws as {@link readSafetensors}. */
export async function readSafetensorsHeader(file: string): Promise<SafetensorsHeader> {
  return withFile(file, (handle) => readHeader(file, handle));
}

/**
 * Writes tensors and text metadata, atomically, tensors in the order of the map (larger elements first, so that all lie
 * aligned). Throws HK_ARGUMENT when data and shape do not fit, HK_IO when the file cannot be written.
 */
export async function writeSafetensors(
  file: string,
  tensors: Map<string, SafetensorsTensor> | Record<string, SafetensorsTensor>,
  metadata: Record<string, string> = {},
): Promise<void> {
  const list = [...(tensors instanceof Map ? tensors : Object.entries(tensors))];
  for (const [name, tensor] of list) checkTensor(file, name, tensor);
  list.sort((a, b) => b[1].data.BYTES_PER_ELEMENT - a[1].data.BYTES_PER_ELEMENT); // stable
  const head: Record<string, unknown> = Object.create(null);
  if (Object.keys(metadata).length > 0) head.__metadata__ = metadata;
  let offset = 0;
  for (const [name, { dtype, shape, data }] of list) {
    head[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  const json = Buffer.from(JSON.stringify(head));
  const header = Buffer.alloc(8 + Math.ceil(json.length / 8) * 8, ' ');
  header.writeBigUInt64LE(BigInt(header.length - 8));
  json.copy(header, 8);
  await writeAtomically(file, async (handle) => {
    await handle.appendFile(header);
    for (const [, { data }] of list) {
      if (data.byteLength > 0) await handle.appendFile(Buffer.from(data.buffer, data.byteOffset, data.byteLength));
    }
  });
}

/** A float32 tensor of the given shape for {@link writeSafetensors}. */
export function float32Tensor(shape: number[], data: Float32Array): SafetensorsTensor {
  return { dtype: 'F32', shape, data };
}

/** The elements as float32: F32 as it is, F16, BF16 and F64 converted, integers rounded to float32. F8 throws HK_FORMAT. */
export function toFloat32(tensor: SafetensorsTensor): Float32Array {
  const { dtype, data } = tensor;
  if (dtype === 'F32') return data as Float32Array;
  if (dtype === 'F16') return Float32Array.from(data as Uint16Array, halfToFloat);
  if (dtype === 'BF16') return bfloat16ToFloat32(data as Uint16Array);
  if (dtype === 'I64' || dtype === 'U64') return Float32Array.from(data as BigInt64Array, Number);
  if (dtype === 'F8_E4M3' || dtype === 'F8_E5M2') {
    throw new HubertkitError(
      'HK_FORMAT',
      `Tensors of dtype ${dtype} cannot be read as float32: expected F32, F16, BF16 or F64.`,
    );
  }
  return Float32Array.from(data as Float64Array);
}

/** A named tensor as float32 with its shape checked. Throws HK_FORMAT naming the file, the tensor and both shapes. */
export function expectFloat32(file: string, { tensors }: Safetensors, name: string, shape?: number[]): Float32Array {
  const tensor = tensors.get(name);
  if (!tensor) {
    const names = [...tensors.keys()];
    const shown = names.slice(0, 8).join(', ') + (names.length > 8 ? `, ... (${names.length} in all)` : '');
    throw new HubertkitError('HK_FORMAT', `${file}: no tensor "${name}". It holds: ${shown || 'nothing'}.`);
  }
  if (shape && (shape.length !== tensor.shape.length || shape.some((size, i) => size !== tensor.shape[i]))) {
    throw new HubertkitError(
      'HK_FORMAT',
      `${file}: tensor "${name}" has shape [${tensor.shape}], expected [${shape}].`,
    );
  }
  return toFloat32(tensor);
}

function halfToFloat(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 31) return fraction ? Number.NaN : sign * Number.POSITIVE_INFINITY;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

function bfloat16ToFloat32(bits: Uint16Array): Float32Array {
  const words = new Uint32Array(bits.length);
  for (let i = 0; i < bits.length; i++) words[i] = bits[i] << 16;
  return new Float32Array(words.buffer);
}

async function withFile<T>(file: string, use: (handle: fs.promises.FileHandle) => Promise<T>): Promise<T> {
  let handle: fs.promises.FileHandle;
  try {
    handle = await fs.promises.open(file, 'r');
  } catch (cause) {
    throw ioError('read', file, cause);
  }
  try {
    return await use(handle);
  } catch (cause) {
    throw ioError('read', file, cause);
  } finally {
    await handle.close();
  }
}

function bad(file: string, what: string): never {
  throw new HubertkitError('HK_FORMAT', `${file} is not a valid safetensors file: ${what}.`);
}

/** Reads exactly the bytes of `target` at `position`; false when the file ends first. */
async function readFully(handle: fs.promises.FileHandle, target: Uint8Array, position: number): Promise<boolean> {
  let done = 0;
  while (done < target.length) {
    const length = Math.min(target.length - done, 1 << 30);
    const { bytesRead } = await handle.read(target, done, length, position + done);
    if (bytesRead === 0) return false;
    done += bytesRead;
  }
  return true;
}

async function readHeader(file: string, handle: fs.promises.FileHandle): Promise<SafetensorsHeader> {
  const fileBytes = (await handle.stat()).size;
  if (fileBytes < 8) bad(file, `it has ${fileBytes} bytes, expected at least 8 (the header length)`);
  const prefix = Buffer.alloc(8);
  await readFully(handle, prefix, 0);
  const length = prefix.readBigUInt64LE();
  if (length > maxHeaderBytes) bad(file, `its header claims ${length} bytes, the limit is ${maxHeaderBytes}`);
  const dataStart = 8 + Number(length);
  if (dataStart > fileBytes)
    bad(file, `its header claims ${length} bytes, but only ${fileBytes - 8} follow (truncated?)`);
  const bytes = Buffer.alloc(Number(length));
  if (!(await readFully(handle, bytes, 8))) bad(file, 'the file ended inside the header');
  const json = parseHeader(file, bytes);
  const { __metadata__: metadata, ...named } = json;
  const entries = new Map<string, SafetensorsEntry>();
  for (const [name, value] of Object.entries(named)) entries.set(name, parseEntry(file, name, value));
  checkLayout(file, entries, fileBytes - dataStart);
  return { entries, metadata: parseMetadata(file, metadata), dataStart, fileBytes };
}

function parseHeader(file: string, bytes: Buffer): Record<string, unknown> {
  let json: unknown;
  try {
    json = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch (cause) {
    bad(file, `its header is not JSON (${(cause as Error).message})`);
  }
  if (typeof json !== 'object' || json === null || Array.isArray(json)) bad(file, 'its header is not a JSON object');
  return json as Record<string, unknown>;
}

function parseMetadata(file: string, value: unknown): Record<string, string> {
  if (value === undefined || value === null) return {};
  const texts = typeof value === 'object' && Object.values(value).every((v) => typeof v === 'string');
  if (!texts) bad(file, '__metadata__ is not an object of texts');
  return value as Record<string, string>;
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

function parseEntry(file: string, name: string, value: unknown): SafetensorsEntry {
  const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
  if (typeof dtype !== 'string' || !Object.hasOwn(arrays, dtype)) {
    bad(file, `tensor "${name}" has dtype ${JSON.stringify(dtype)}, expected one of ${Object.keys(arrays).join(', ')}`);
  }
  if (!Array.isArray(shape) || !shape.every(isSize)) {
    bad(file, `tensor "${name}" has shape ${JSON.stringify(shape)}, expected an array of sizes`);
  }
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isSize) || offsets[0] > offsets[1]) {
    bad(file, `tensor "${name}" has data_offsets ${JSON.stringify(offsets)}, expected [begin, end] with begin <= end`);
  }
  const [begin, end] = offsets as [number, number];
  const known = dtype as SafetensorsDtype;
  const expected = shape.reduce((product, size) => product * size, arrays[known].BYTES_PER_ELEMENT);
  if (end - begin !== expected) {
    bad(file, `tensor "${name}" (${dtype} [${shape}]) needs ${expected} bytes, its data_offsets span ${end - begin}`);
  }
  return { dtype: known, shape, begin, end };
}

/** The tensors must tile the data exactly: no overlap, no hole, nothing missing, nothing left over. */
function checkLayout(file: string, entries: Map<string, SafetensorsEntry>, dataBytes: number): void {
  let position = 0;
  const ordered = [...entries].sort((a, b) => a[1].begin - b[1].begin || a[1].end - b[1].end);
  for (const [name, { begin, end }] of ordered) {
    if (begin < position)
      bad(file, `tensor "${name}" starts at byte ${begin} and overlaps the one before, which ends at ${position}`);
    if (begin > position) bad(file, `bytes ${position} to ${begin} before tensor "${name}" belong to no tensor`);
    if (end > dataBytes)
      bad(file, `tensor "${name}" ends at byte ${end}, but only ${dataBytes} bytes of data are there (truncated?)`);
    position = end;
  }
  if (position !== dataBytes) bad(file, `${dataBytes - position} bytes after the last tensor belong to none`);
}

async function readTensor(
  file: string,
  handle: fs.promises.FileHandle,
  header: SafetensorsHeader,
  name: string,
  entry: SafetensorsEntry,
): Promise<SafetensorsTensor> {
  const buffer = new ArrayBuffer(entry.end - entry.begin);
  if (!(await readFully(handle, new Uint8Array(buffer), header.dataStart + entry.begin))) {
    bad(file, `the file ended inside tensor "${name}"`);
  }
  return { dtype: entry.dtype, shape: entry.shape, data: new arrays[entry.dtype](buffer) };
}

function checkTensor(file: string, name: string, { dtype, shape, data }: SafetensorsTensor): void {
  const refuse = (what: string): never => {
    throw new HubertkitError('HK_ARGUMENT', `Cannot write tensor "${name}" to ${file}: ${what}.`);
  };
  if (name === '__metadata__') refuse('the name is reserved');
  if (!Object.hasOwn(arrays, dtype)) refuse(`unknown dtype ${dtype}`);
  if (!shape.every(isSize)) refuse(`shape [${shape}] is not an array of sizes`);
  // By name: an array may come from another realm (the native addon's, a worker's).
  if (Object.prototype.toString.call(data) !== `[object ${arrays[dtype].name}]`)
    refuse(`dtype ${dtype} needs a ${arrays[dtype].name}, got ${data?.constructor?.name}`);
  const count = shape.reduce((product, size) => product * size, 1);
  if (data.length !== count) refuse(`shape [${shape}] needs ${count} elements, got ${data.length}`);
}
