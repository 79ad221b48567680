/**
 * Labels of a set of utterances, in one file that says which centroids made them:
 *
 *     "HKLABEL1"  u32 length  JSON {fingerprint, feature, layer, rate, clusters, width}
 *     for each utterance:  u16 length  id (UTF-8)  u32 count  count units of `width` bytes (2: u16, 4: i32)
 *     JSON {utterances, units, checksum}  u32 length  "HKLABEND"
 *
 * All numbers little-endian; `checksum` = first 16 hexadecimal digits of sha256 over everything before its JSON. A file without
 * its end is truncated and refused.
 */
import * as fs from 'node:fs';
import { HubertkitError } from '../errors';
import { ioError, writeAtomically } from '../formats/atomic';
import { sha256 } from '../formats/sha256';
import type { FeatureKind } from './codebook';

export interface LabelsHeader extends FeatureKind {
  /** Of the centroids: {@link Codebook.fingerprint}. */
  fingerprint: string;
  /** Labels per second: 100 for MFCC, 50 for layers. */
  rate: 50 | 100;
  clusters: number;
}

export type Units = Uint16Array | Int32Array;

const beginMagic = 'HKLABEL1';
const endMagic = 'HKLABEND';

/** Frames of the model for `samples` samples at 16 kHz: floor((samples - 400) / 320) + 1, 0 when too short. */
function modelFrames(samples: number): number {
  return samples < 400 ? 0 : Math.floor((samples - 400) / 320) + 1;
}

/** Labels by utterance id, and what they are labels of. */
export class LabelSet {
  constructor(
    readonly header: LabelsHeader,
    readonly units: Map<string, Units>,
    /** Named in messages. */
    readonly name = 'labels',
  ) {}

  /** Throws HK_MISMATCH when a given property is not that of these labels. */
  expect(wanted: Partial<LabelsHeader>): void {
    for (const key of ['feature', 'layer', 'rate', 'clusters', 'fingerprint'] as const) {
      if (!(key in wanted) || wanted[key] === this.header[key]) continue;
      throw new HubertkitError(
        'HK_MISMATCH',
        `${this.name}: ${key} is ${this.header[key]}, expected ${wanted[key]}. These labels belong to other centroids or features: make them again.`,
      );
    }
  }

  /**
   * Checks that every utterance has labels for its frames, one more or less being tolerated. Throws HK_MISMATCH that names the first
   * bad utterance with both counts.
   */
  check(utterances: Iterable<{ id: string; samples: number }>): void {
    for (const { id, samples } of utterances) this.covered(id, modelFrames(samples));
  }

  /**
   * One label for each of the `frames` model frames (50 a second) of an utterance: label i, or label 2i of labels at 100 a second.
   * When the labels are one short, the last frame gets -1 (no label). Throws HK_MISMATCH.
   */
  forFrames(id: string, frames: number): Int32Array {
    const { units, step, available } = this.covered(id, frames);
    const labels = new Int32Array(frames).fill(-1);
    for (let i = 0; i < Math.min(frames, available); i++) labels[i] = units[i * step];
    return labels;
  }

  private covered(id: string, frames: number): { units: Units; step: number; available: number } {
    const units = this.units.get(id);
    if (!units) {
      const message = `${this.name}: utterance ${id} has no labels (${frames} frames). Make the labels again for this corpus.`;
      throw new HubertkitError('HK_MISMATCH', message);
    }
    const step = this.header.rate / 50;
    const available = Math.ceil(units.length / step);
    if (Math.abs(available - frames) > 1)
      throw new HubertkitError(
        'HK_MISMATCH',
        `${this.name}: utterance ${id} has ${frames} frames (50 a second) but ${units.length} labels (${this.header.rate} a second, for ${available} frames). ` +
          'The labels were made from other audio or at another rate: make them again.',
      );
    return { units, step, available };
  }
}

type Entries = Iterable<[string, ArrayLike<number>]> | AsyncIterable<[string, ArrayLike<number>]>;

/**
 * Writes labels as they come, whole file or none. Throws HK_ARGUMENT (a label outside 0..clusters-1, an id twice or too long) and
 * HK_IO.
 */
export async function writeLabels(file: string, header: LabelsHeader, entries: Entries): Promise<void> {
  const { fingerprint, feature, layer, rate, clusters } = header;
  const width = clusters <= 65536 ? 2 : 4;
  const hash = sha256();
  const seen = new Set<string>();
  let units = 0;
  await writeAtomically(file, async (handle) => {
    const json = Buffer.from(JSON.stringify({ fingerprint, feature, layer, rate, clusters, width }));
    const begin = Buffer.concat([Buffer.from(beginMagic), u32(json.length), json]);
    hash.update(begin);
    await handle.writeFile(begin);
    for await (const [id, labels] of entries) {
      if (seen.has(id)) throw new HubertkitError('HK_ARGUMENT', `${file}: utterance ${id} is given twice.`);
      seen.add(id);
      const record = encode(file, id, labels, clusters, width);
      hash.update(record);
      units += labels.length;
      await handle.writeFile(record);
    }
    const end = Buffer.from(
      JSON.stringify({ utterances: seen.size, units, checksum: hash.digest('hex').slice(0, 16) }),
    );
    await handle.writeFile(Buffer.concat([end, u32(end.length), Buffer.from(endMagic)]));
  });
}

function u32(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

function encode(file: string, id: string, labels: ArrayLike<number>, clusters: number, width: 2 | 4): Buffer {
  const name = Buffer.from(id);
  if (name.length === 0 || name.length > 65535)
    throw new HubertkitError('HK_ARGUMENT', `${file}: an utterance id has 1 to 65535 bytes, got ${name.length}.`);
  const record = Buffer.alloc(2 + name.length + 4 + labels.length * width);
  record.writeUInt16LE(name.length, 0);
  name.copy(record, 2);
  record.writeUInt32LE(labels.length, 2 + name.length);
  let at = 6 + name.length;
  for (let i = 0; i < labels.length; i++, at += width) {
    const label = labels[i];
    if (!Number.isInteger(label) || label < 0 || label >= clusters)
      throw new HubertkitError(
        'HK_ARGUMENT',
        `${file}: label ${label} of utterance ${id} is not in 0..${clusters - 1}.`,
      );
    if (width === 2) record.writeUInt16LE(label, at);
    else record.writeInt32LE(label, at);
  }
  return record;
}

/** Reads what {@link writeLabels} wrote. Throws HK_IO, and HK_FORMAT for a file that is truncated, damaged or of another kind. */
export async function readLabels(file: string): Promise<LabelSet> {
  const bytes = await fs.promises.readFile(file).catch((cause) => {
    throw ioError('read', file, cause);
  });
  const { header, width, body, bodyEnd, end } = frame(file, bytes);
  const checksum = sha256().update(bytes.subarray(0, bodyEnd)).digest('hex').slice(0, 16);
  if (checksum !== end.checksum)
    throw new HubertkitError(
      'HK_FORMAT',
      `${file}: the checksum is ${checksum}, the file says ${end.checksum}. The file is damaged: make it again.`,
    );
  const units = new Map<string, Units>();
  let at = 0;
  while (at < body.length) {
    const idEnd = at + 2 + (at + 2 <= body.length ? body.readUInt16LE(at) : 0);
    const begin = idEnd + 4;
    const stop = begin <= body.length ? begin + body.readUInt32LE(idEnd) * width : Number.POSITIVE_INFINITY;
    if (stop > body.length)
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}: the labels of utterance ${units.size + 1} do not fit into the file.`,
      );
    units.set(body.toString('utf8', at + 2, idEnd), decode(file, body.subarray(begin, stop), width, header.clusters));
    at = stop;
  }
  const count = [...units.values()].reduce((sum, u) => sum + u.length, 0);
  if (units.size !== end.utterances || count !== end.units)
    throw new HubertkitError(
      'HK_FORMAT',
      `${file}: ${units.size} utterances with ${count} labels found, ${end.utterances} with ${end.units} expected.`,
    );
  return new LabelSet(header, units, file);
}

function decode(file: string, bytes: Buffer, width: 2 | 4, clusters: number): Units {
  const units = new (width === 2 ? Uint16Array : Int32Array)(bytes.length / width);
  new Uint8Array(units.buffer).set(bytes);
  for (const unit of units)
    if (unit < 0 || unit >= clusters)
      throw new HubertkitError('HK_FORMAT', `${file}: label ${unit} is not in 0..${clusters - 1}.`);
  return units;
}

interface End {
  utterances: number;
  units: number;
  checksum: string;
}

/** The parts of a label file, each checked as far as its own shape goes. */
function frame(
  file: string,
  bytes: Buffer,
): { header: LabelsHeader; width: 2 | 4; body: Buffer; bodyEnd: number; end: End } {
  if (bytes.toString('latin1', 0, 8) !== beginMagic)
    throw new HubertkitError('HK_FORMAT', `${file} is not a label file: it does not begin with ${beginMagic}.`);
  if (bytes.length < 24 || bytes.toString('latin1', bytes.length - 8) !== endMagic)
    throw new HubertkitError(
      'HK_FORMAT',
      `${file} is truncated: its ${bytes.length} bytes do not end with ${endMagic}. Make the labels again.`,
    );
  const bodyBegin = 12 + bytes.readUInt32LE(8);
  const bodyEnd = bytes.length - 12 - bytes.readUInt32LE(bytes.length - 12);
  if (bodyEnd < bodyBegin)
    throw new HubertkitError('HK_FORMAT', `${file}: header and end overlap. The file is damaged: make it again.`);
  const header = parse<LabelsHeader & { width: 2 | 4 }>(file, bytes.toString('utf8', 12, bodyBegin));
  const end = parse<End>(file, bytes.toString('utf8', bodyEnd, bytes.length - 12));
  const { width, ...rest } = header;
  const { clusters, rate, feature } = rest;
  if (
    (width !== 2 && width !== 4) ||
    !(clusters >= 1) ||
    (rate !== 50 && rate !== 100) ||
    (feature !== 'mfcc' && feature !== 'layer')
  )
    throw new HubertkitError('HK_FORMAT', `${file}: the header does not make sense: ${JSON.stringify(header)}.`);
  return { header: rest, width, body: bytes.subarray(bodyBegin, bodyEnd), bodyEnd, end };
}

function parse<T>(file: string, text: string): T {
  try {
    const value = JSON.parse(text);
    if (value && typeof value === 'object') return value as T;
  } catch {
    // said below
  }
  throw new HubertkitError(
    'HK_FORMAT',
    `${file}: header or end is not a JSON object. The file is damaged: make it again.`,
  );
}

/** Writes the labels of `ids`, in that order, as fairseq's `.km`: one line of numbers for each utterance. Throws HK_MISMATCH, HK_IO. */
export async function writeKm(file: string, labels: LabelSet, ids: Iterable<string>): Promise<void> {
  await writeAtomically(file, async (handle) => {
    for (const id of ids) {
      const units = labels.units.get(id);
      if (!units)
        throw new HubertkitError('HK_MISMATCH', `${labels.name}: utterance ${id} has no labels to write to ${file}.`);
      await handle.writeFile(`${units.join(' ')}\n`);
    }
  });
}

/**
 * Reads fairseq's `.km`, whose line i belongs to `ids[i]` (the order of its .tsv). The file does not say what its labels are: `header`
 * does. Throws HK_IO, HK_FORMAT (a label that is no number or not below `clusters`, with its line), HK_MISMATCH (line count).
 */
export async function readKm(file: string, ids: readonly string[], header: LabelsHeader): Promise<LabelSet> {
  const text = await fs.promises.readFile(file, 'utf8').catch((cause) => {
    throw ioError('read', file, cause);
  });
  const lines = text.split('\n');
  if (lines.at(-1) === '') lines.pop();
  if (lines.length !== ids.length)
    throw new HubertkitError(
      'HK_MISMATCH',
      `${file} has ${lines.length} lines for ${ids.length} utterances. It belongs to another list of utterances.`,
    );
  const units = new Map<string, Units>();
  lines.forEach((line, i) => {
    const words = line.trim().split(/\s+/).filter(Boolean);
    const bad = words.find((word) => !/^\d+$/.test(word) || Number(word) >= header.clusters);
    if (bad !== undefined)
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}, line ${i + 1} (${ids[i]}): "${bad}" is not a label in 0..${header.clusters - 1}.`,
      );
    units.set(ids[i], Int32Array.from(words, Number));
  });
  return new LabelSet({ ...header }, units, file);
}
