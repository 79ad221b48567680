/**
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC'11), bit for bit as
 * native/include/hubertkit/philox.h: key = seed (64 bit), counter = { element / 4, stream, draw (64 bit) }; element e uses
 * word e % 4. No state: the same (seed, draw, stream, element) gives the same number at any time and in any order.
 */

const { floor, imul } = Math; // looked up once: globals are slow where code runs in a context of its own (jest)

/** A 64-bit key: whole numbers up to 2^53 and bigints (modulo 2^64) are taken. */
export type Seed = number | bigint;

/** The halves of a 64-bit number. */
export function halves(value: Seed): [low: number, high: number] {
  if (typeof value === 'bigint') return [Number(value & 0xffffffffn), Number((value >> 32n) & 0xffffffffn)];
  return [value >>> 0, floor(value / 0x1_0000_0000) >>> 0];
}

/** High 32 bits of a 32 x 32 bit product, from 16-bit halves. */
function multiplyHigh(a: number, b: number): number {
  const a0 = a & 0xffff;
  const a1 = a >>> 16;
  const b0 = b & 0xffff;
  const b1 = b >>> 16;
  const low = ((imul(a1, b0) >>> 0) + (imul(a0, b0) >>> 16)) >>> 0; // below 2^32
  const middle = ((imul(a0, b1) >>> 0) + (low & 0xffff)) >>> 0; // below 2^32
  return (imul(a1, b1) + (low >>> 16) + (middle >>> 16)) >>> 0;
}

/** The four words of one block, written to `out`. */
export function philoxBlock(
  seedLow: number,
  seedHigh: number,
  drawLow: number,
  drawHigh: number,
  stream: number,
  block: number,
  out: Uint32Array,
): void {
  let c0 = block >>> 0;
  let c1 = stream >>> 0;
  let c2 = drawLow;
  let c3 = drawHigh;
  let k0 = seedLow;
  let k1 = seedHigh;
  for (let round = 0; round < 10; round++) {
    const n0 = multiplyHigh(0xcd9e8d57, c2) ^ c1 ^ k0;
    const n2 = multiplyHigh(0xd2511f53, c0) ^ c3 ^ k1;
    c1 = imul(0xcd9e8d57, c2) >>> 0;
    c3 = imul(0xd2511f53, c0) >>> 0;
    c0 = n0 >>> 0;
    c2 = n2 >>> 0;
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** A sequence of random numbers of one (seed, draw, stream), from element 0 on. */
export class Philox {
  private readonly seed: [number, number];
  private readonly draw: [number, number];
  private readonly stream: number;
  private readonly words = new Uint32Array(4);
  private element = 0;

  constructor(seed: Seed, draw: Seed = 0, stream = 0) {
    this.seed = halves(seed);
    this.draw = halves(draw);
    this.stream = stream >>> 0;
  }

  /** The next 32-bit word. */
  word(): number {
    const position = this.element % 4;
    if (position === 0) {
      const { seed, draw } = this;
      philoxBlock(seed[0], seed[1], draw[0], draw[1], this.stream, this.element / 4, this.words);
    }
    this.element++;
    return this.words[position];
  }

  /** Uniform in (0, 1), 24 bits, never 0 and never 1: equals philox_uniform of the native core. */
  uniform(): number {
    return ((this.word() >>> 8) + 0.5) / 0x1000000;
  }

  /** A whole number in [0, count), count up to 2^32, by multiplication (bias below count / 2^32). */
  below(count: number): number {
    return floor((this.word() / 0x1_0000_0000) * count);
  }

  /** Standard normal numbers by Box-Muller, two words each. */
  normal(): number {
    const radius = Math.sqrt(-2 * Math.log(this.uniform()));
    return radius * Math.cos(2 * Math.PI * this.uniform());
  }

  /** Shuffles in place (Fisher-Yates, from the end). */
  shuffle<T extends { length: number; [index: number]: unknown }>(items: T): T {
    for (let i = items.length - 1; i > 0; i--) {
      const j = this.below(i + 1);
      const swap = items[i];
      items[i] = items[j];
      items[j] = swap;
    }
    return items;
  }
}

/** FNV-1a of a text's UTF-16 units: a stable 32-bit number for an id, used as a stream. */
export function hashText(text: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) {
    hash = imul(hash ^ (text.charCodeAt(i) & 0xff), 0x01000193);
    hash = imul(hash ^ (text.charCodeAt(i) >>> 8), 0x01000193);
  }
  return hash >>> 0;
}
