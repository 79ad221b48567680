import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { type Metrics, MetricsLog, readMetrics } from '../../lib/train/metrics';
import { crc32c } from '../../lib/train/tensorboard';

let folder: string;
beforeEach(() => {
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-metrics-'));
});
afterEach(() => fs.rmSync(folder, { recursive: true }));

function line(totalUpdates: number, loss: number, kind: 'train' | 'valid' = 'train'): Metrics {
  return {
    kind,
    iteration: 1,
    update: totalUpdates,
    totalUpdates,
    audioSeconds: totalUpdates * 16,
    relabelAudioSeconds: 0,
    wallSeconds: totalUpdates / 4,
    loss,
    maskedLossBits: loss / Math.LN2,
    unmaskedLossBits: 0,
    maskedAccuracy: 0.1,
    unmaskedAccuracy: 0,
    unigramBits: 5.5,
    featurePenalty: 0.01,
  };
}

/** A bitwise CRC-32C and a protobuf walk that share nothing with the writer. */
function slowCrc32c(data: Uint8Array): number {
  let crc = 0xffffffffn;
  for (const byte of data)
    for (let bit = 0; bit < 8; bit++) {
      const low = (crc ^ BigInt(byte >> bit)) & 1n;
      crc = (crc >> 1n) ^ (low ? 0x82f63b78n : 0n);
    }
  return Number(crc ^ 0xffffffffn);
}

function readRecords(file: string): Buffer[] {
  const bytes = fs.readFileSync(file);
  const masked = (part: Buffer) => {
    const crc = BigInt(slowCrc32c(part));
    return Number((((crc >> 15n) | (crc << 17n)) + 0xa282ead8n) & 0xffffffffn);
  };
  const records: Buffer[] = [];
  for (let at = 0; at < bytes.length; ) {
    const length = Number(bytes.readBigUInt64LE(at));
    expect(bytes.readUInt32LE(at + 8)).toBe(masked(bytes.subarray(at, at + 8)));
    const data = bytes.subarray(at + 12, at + 12 + length);
    expect(bytes.readUInt32LE(at + 12 + length)).toBe(masked(data));
    records.push(data);
    at += 16 + length;
  }
  return records;
}

function fields(data: Buffer): [field: number, value: Buffer | number][] {
  const found: [number, Buffer | number][] = [];
  let at = 0;
  const varint = () => {
    let value = 0n;
    for (let shift = 0n; ; shift += 7n) {
      const byte = data[at++];
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return Number(value);
    }
  };
  while (at < data.length) {
    const tag = varint();
    const [field, type] = [tag >> 3, tag & 7];
    if (type === 0) found.push([field, varint()]);
    else if (type === 1) {
      found.push([field, data.readDoubleLE(at)]);
      at += 8;
    } else if (type === 5) {
      found.push([field, data.readFloatLE(at)]);
      at += 4;
    } else {
      const length = varint();
      found.push([field, data.subarray(at, at + length)]);
      at += length;
    }
  }
  return found;
}

function readEvents(run: string): { step: number; scalars: Record<string, number> }[] {
  const [name, ...others] = fs.readdirSync(path.join(run, 'tb'));
  expect(others).toEqual([]);
  const [first, ...records] = readRecords(path.join(run, 'tb', name));
  expect(String(fields(first).find(([field]) => field === 3)?.[1])).toBe('brain.Event:2');
  return records.map((record) => {
    const event = new Map(fields(record));
    const scalars: Record<string, number> = {};
    for (const [, value] of fields(event.get(5) as Buffer)) {
      const pair = new Map(fields(value as Buffer));
      scalars[String(pair.get(1))] = pair.get(2) as number;
    }
    return { step: event.get(2) as number, scalars };
  });
}

test('CRC-32C has its published check value', () => {
  expect(crc32c(Buffer.from('123456789'))).toBe(0xe3069283);
});

test('TensorBoard events hold the numbers of metrics.jsonl, with valid checksums', () => {
  const log = new MetricsLog(folder, 0, 1_700_000_000);
  log.write(line(100, 4.5));
  log.write(line(300_000, 4.25, 'valid'));
  log.close();
  const events = readEvents(folder);
  expect(events.map((event) => event.step)).toEqual([100, 300_000]);
  expect(events[0].scalars['train/loss']).toBe(4.5);
  expect(events[1].scalars['valid/loss']).toBe(4.25);
  expect(events[0].scalars['train/maskedLossBits']).toBeCloseTo(4.5 / Math.LN2, 5);
  expect(readMetrics(folder)).toEqual([line(100, 4.5), line(300_000, 4.25, 'valid')]);
});

test('a resumed log is cut back to the lines of the checkpoint, half lines too, and its events with it', () => {
  const log = new MetricsLog(folder, 0, 1_700_000_000);
  for (const update of [1, 2, 3]) log.write(line(update, 5 - update));
  log.close();
  fs.appendFileSync(path.join(folder, 'metrics.jsonl'), '{"kind":"tra');
  expect(readMetrics(folder)).toHaveLength(3);
  const resumed = new MetricsLog(folder, 2, 1_700_000_000);
  resumed.write(line(3, 1));
  resumed.close();
  expect(readMetrics(folder)).toEqual([line(1, 4), line(2, 3), line(3, 1)]);
  expect(readEvents(folder).map((event) => event.scalars['train/loss'])).toEqual([4, 3, 1]);
});

test('a log shorter than its checkpoint is refused', () => {
  new MetricsLog(folder, 0, 1_700_000_000).close();
  expect(() => new MetricsLog(folder, 5, 1_700_000_000)).toThrow(
    expect.objectContaining({ code: 'HK_FORMAT', message: expect.stringContaining('after line 5') }),
  );
});
