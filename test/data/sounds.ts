/** Sound files made in code: WAV in its codings and with its typical defects, and FLAC with verbatim blocks. */
import { Philox } from '../../lib/data/philox';

/** Something speech-like enough: three gliding tones in noise, with pauses; +-0.6. */
export function sound(samples: number, rate = 16000, seed = 1): Float32Array {
  const random = new Philox(seed);
  return Float32Array.from({ length: samples }, (_, i) => {
    const t = i / rate;
    const pause = Math.sin(2 * Math.PI * 1.7 * t + seed) > -0.8 ? 1 : 0.02;
    const tones =
      Math.sin(2 * Math.PI * (210 + 40 * t) * t) + 0.6 * Math.sin(4100 * t) + 0.3 * Math.sin(11000 * t * (1 + t / 20));
    return pause * (0.25 * tones + 0.02 * (random.uniform() - 0.5));
  });
}

export type Coding = 'u8' | 's16' | 's24' | 's32' | 'f32' | 'f64';

const codings: Record<Coding, { tag: number; bytes: number; put: (b: Buffer, at: number, v: number) => void }> = {
  u8: { tag: 1, bytes: 1, put: (b, at, v) => b.writeUInt8(Math.round(v * 127) + 128, at) },
  s16: { tag: 1, bytes: 2, put: (b, at, v) => b.writeInt16LE(Math.round(v * 32767), at) },
  s24: { tag: 1, bytes: 3, put: (b, at, v) => b.writeIntLE(Math.round(v * 8388607), at, 3) },
  s32: { tag: 1, bytes: 4, put: (b, at, v) => b.writeInt32LE(Math.round(v * 2147483647), at) },
  f32: { tag: 3, bytes: 4, put: (b, at, v) => b.writeFloatLE(v, at) },
  f64: { tag: 3, bytes: 8, put: (b, at, v) => b.writeDoubleLE(v, at) },
};

export interface WavOptions {
  rate?: number;
  channels?: number;
  coding?: Coding;
  /** What the headers say, when it is not the truth. */
  claimedRate?: number;
  claimedChannels?: number;
  claimedDataBytes?: number;
  extensible?: boolean;
  /** Put between the format and the data. */
  before?: Buffer;
  after?: Buffer;
  leaveOut?: 'fmt ' | 'data';
}

export function chunk(id: string, body: Buffer, claimed = body.length): Buffer {
  const head = Buffer.alloc(8);
  head.write(id, 'latin1');
  head.writeUInt32LE(claimed, 4);
  return Buffer.concat([head, body, Buffer.alloc(body.length % 2)]);
}

/** A RIFF WAVE file; `samples` are interleaved frames. */
export function wav(samples: ArrayLike<number>, options: WavOptions = {}): Buffer {
  const { rate = 16000, channels = 1, coding = 's16' } = options;
  const { tag, bytes, put } = codings[coding];
  const data = Buffer.alloc(samples.length * bytes);
  for (let i = 0; i < samples.length; i++) put(data, i * bytes, samples[i]);
  const format = Buffer.alloc(options.extensible ? 40 : 16);
  format.writeUInt16LE(options.extensible ? 0xfffe : tag, 0);
  format.writeUInt16LE(options.claimedChannels ?? channels, 2);
  format.writeUInt32LE(options.claimedRate ?? rate, 4);
  format.writeUInt32LE(rate * channels * bytes, 8);
  format.writeUInt16LE(channels * bytes, 12);
  format.writeUInt16LE(bytes * 8, 14);
  if (options.extensible) {
    format.writeUInt16LE(22, 16);
    format.writeUInt16LE(bytes * 8, 18);
    Buffer.from('000000001000800000aa00389b71', 'hex').copy(format, 26);
    format.writeUInt16LE(tag, 24);
  }
  const chunks = [
    options.leaveOut === 'fmt ' ? Buffer.alloc(0) : chunk('fmt ', format),
    options.before ?? Buffer.alloc(0),
    options.leaveOut === 'data' ? Buffer.alloc(0) : chunk('data', data, options.claimedDataBytes),
    options.after ?? Buffer.alloc(0),
  ];
  const body = Buffer.concat([Buffer.from('WAVE'), ...chunks]);
  return chunk('RIFF', body, options.claimedDataBytes === 0xffffffff ? 0xffffffff : body.length);
}

function crc(bytes: Uint8Array, bits: 8 | 16, polynomial: number): number {
  let value = 0;
  for (const byte of bytes) {
    value ^= byte << (bits - 8);
    for (let i = 0; i < 8; i++) value = value & (1 << (bits - 1)) ? (value << 1) ^ polynomial : value << 1;
    value &= bits === 8 ? 0xff : 0xffff;
  }
  return value;
}

/** A 16-bit mono FLAC file of verbatim blocks of 1024 samples, 16 kHz. `claimedFrames` 0: not known. */
export function flac(samples: ArrayLike<number>, options: { claimedFrames?: number } = {}): Buffer {
  const block = 1024;
  const info = Buffer.alloc(38);
  info.writeUInt32BE(0x80000022, 0); // last metadata block, STREAMINFO, 34 bytes
  info.writeUInt16BE(block, 4);
  info.writeUInt16BE(block, 6);
  info.writeUInt32BE((16000 << 12) | (0 << 9) | (15 << 4), 14); // rate, 1 channel, 16 bits, high bits of the total
  info.writeUInt32BE(options.claimedFrames ?? samples.length, 18);
  const frames: Buffer[] = [];
  for (let start = 0, number = 0; start < samples.length; start += block, number++) {
    const count = Math.min(block, samples.length - start);
    const coded = number < 128 ? [number] : [0xc0 | (number >> 6), 0x80 | (number & 63)];
    const head = [0xff, 0xf8, 0x75, 0x08, ...coded, (count - 1) >> 8, (count - 1) & 255]; // 16-bit block size, 16 kHz
    head.push(crc(Uint8Array.from(head), 8, 0x07));
    const body = Buffer.alloc(1 + 2 * count);
    body[0] = 0x02; // verbatim subframe
    for (let i = 0; i < count; i++) body.writeInt16BE(Math.round(samples[start + i] * 32767), 1 + 2 * i);
    const frame = Buffer.concat([Buffer.from(head), body]);
    const check = Buffer.alloc(2);
    check.writeUInt16BE(crc(frame, 16, 0x8005));
    frames.push(frame, check);
  }
  return Buffer.concat([Buffer.from('fLaC'), info, ...frames]);
}
