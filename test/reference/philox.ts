/** Philox4x32-10 (Salmon et al., SC'11) as native/include/hubertkit/philox.h defines it, and the dropout mask made of it. */

/** The two words of a 64-bit product; every intermediate is an integer below 2^49, exact in a double. */
function multiply(a: number, b: number): [high: number, low: number] {
  const upper = a * (b >>> 16);
  const sum = a * (b & 0xffff) + (upper % 65536) * 65536;
  return [Math.floor(upper / 65536) + Math.floor(sum / 2 ** 32), sum % 2 ** 32];
}

/** The four 32-bit words of one block. */
export function philox(seed: bigint, draw: bigint, stream: number, block: number): number[] {
  let [c0, c1, c2, c3] = [block >>> 0, stream >>> 0, Number(draw & 0xffffffffn), Number((draw >> 32n) & 0xffffffffn)];
  let [k0, k1] = [Number(seed & 0xffffffffn), Number((seed >> 32n) & 0xffffffffn)];
  for (let round = 0; round < 10; round++) {
    const [high0, low0] = multiply(0xd2511f53, c0);
    const [high1, low1] = multiply(0xcd9e8d57, c2);
    [c0, c1, c2, c3] = [(high1 ^ c1 ^ k0) >>> 0, low1, (high0 ^ c3 ^ k1) >>> 0, low0];
    k0 = (k0 + 0x9e3779b9) >>> 0;
    k1 = (k1 + 0xbb67ae85) >>> 0;
  }
  return [c0, c1, c2, c3];
}

/** Factors of `count` elements: 0 where dropped, 1 / (1 - p) where kept; all 1 when p is 0. */
export function dropoutFactors(count: number, p: number, seed: bigint, draw: bigint, stream: number): Float64Array {
  const factors = new Float64Array(count).fill(1);
  if (p === 0) return factors;
  const threshold = Math.floor(p * 2 ** 32);
  let words: number[] = [];
  for (let e = 0; e < count; e++) {
    if (e % 4 === 0) words = philox(seed, draw, stream, e / 4);
    factors[e] = words[e % 4] >= threshold ? 1 / (1 - p) : 0;
  }
  return factors;
}
