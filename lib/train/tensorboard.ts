/**
 * TensorBoard event files, by hand: TFRecord framing (length, masked CRC-32C, data, masked CRC-32C) around two protobuf messages,
 *   Event   { double wall_time = 1; int64 step = 2; string file_version = 3; Summary summary = 5 }
 *   Summary { repeated Value value = 1 }   Value { string tag = 1; float simple_value = 2 }
 */
import * as fs from 'node:fs';

const crcTable = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let k = 0; k < 8; k++) c = c & 1 ? (c >>> 1) ^ 0x82f63b78 : c >>> 1;
  return c;
});

/** CRC-32C (Castagnoli). crc32c("123456789") = 0xe3069283. */
export function crc32c(data: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of data) crc = crcTable[(crc ^ byte) & 0xff] ^ (crc >>> 8);
  return (crc ^ 0xffffffff) >>> 0;
}

function maskedCrc(data: Uint8Array): number {
  const crc = crc32c(data);
  return (((crc >>> 15) | (crc << 17)) + 0xa282ead8) >>> 0;
}

function record(data: Buffer): Buffer {
  const head = Buffer.alloc(12);
  head.writeBigUInt64LE(BigInt(data.length), 0);
  head.writeUInt32LE(maskedCrc(head.subarray(0, 8)), 8);
  const tail = Buffer.alloc(4);
  tail.writeUInt32LE(maskedCrc(data), 0);
  return Buffer.concat([head, data, tail]);
}

function varint(value: number): Buffer {
  const bytes: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest = Math.floor(rest / 128)) bytes.push((rest % 128) | 0x80);
  bytes.push(rest);
  return Buffer.from(bytes);
}

const wire = { varint: 0, fixed64: 1, bytes: 2, fixed32: 5 };
const tag = (field: number, type: number): Buffer => varint(field * 8 + type);

function lengthDelimited(field: number, data: Buffer): Buffer {
  return Buffer.concat([tag(field, wire.bytes), varint(data.length), data]);
}

function double(field: number, value: number): Buffer {
  const data = Buffer.alloc(8);
  data.writeDoubleLE(value);
  return Buffer.concat([tag(field, wire.fixed64), data]);
}

function float(field: number, value: number): Buffer {
  const data = Buffer.alloc(4);
  data.writeFloatLE(value);
  return Buffer.concat([tag(field, wire.fixed32), data]);
}

/** The record that every event file starts with. */
export function fileVersionRecord(wallTime: number): Buffer {
  return record(Buffer.concat([double(1, wallTime), lengthDelimited(3, Buffer.from('brain.Event:2'))]));
}

/** One record with all scalars of one step. `wallTime` in seconds since 1970. */
export function scalarsRecord(wallTime: number, step: number, scalars: Record<string, number>): Buffer {
  const values = Object.entries(scalars).map(([name, value]) =>
    lengthDelimited(1, Buffer.concat([lengthDelimited(1, Buffer.from(name)), float(2, value)])),
  );
  return record(
    Buffer.concat([double(1, wallTime), tag(2, wire.varint), varint(step), lengthDelimited(5, Buffer.concat(values))]),
  );
}

/** Appends scalars to one event file, which it starts anew. */
export class EventFile {
  #descriptor: number;

  constructor(file: string, wallTime: number) {
    this.#descriptor = fs.openSync(file, 'w');
    fs.writeSync(this.#descriptor, fileVersionRecord(wallTime));
  }

  scalars(wallTime: number, step: number, scalars: Record<string, number>): void {
    fs.writeSync(this.#descriptor, scalarsRecord(wallTime, step, scalars));
  }

  close(): void {
    if (this.#descriptor >= 0) fs.closeSync(this.#descriptor);
    this.#descriptor = -1;
  }
}
