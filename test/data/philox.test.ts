import { hashText, Philox, philoxBlock, halves } from '../../lib/data/philox';

/** [seed, draw, stream, block, four words], printed by native/include/hubertkit/philox.h. */
const native: [bigint, bigint, number, number, number, number, number, number][] = [
  [0n, 0n, 0, 0, 1713891541, 3781805453, 3159862348, 2600524760],
  [0n, 0n, 3735928559, 4294967295, 2919477889, 809135828, 145451446, 1507045629],
  [0n, 7n, 3735928559, 1, 2385324162, 1009561230, 700910599, 2054136941],
  [0n, 18364758544493064720n, 3735928559, 0, 40210614, 2890200391, 3375520983, 2427377626],
  [1n, 0n, 0, 4294967295, 7932735, 3150819411, 4152887495, 1778383437],
  [1n, 7n, 0, 1, 2177672980, 2797115121, 3891289897, 79048500],
  [1n, 18364758544493064720n, 0, 0, 2978429557, 1270401347, 1952397000, 91794661],
  [1n, 18364758544493064720n, 3735928559, 4294967295, 832873896, 3744152716, 2045356523, 3040358444],
  [18446744073709551615n, 0n, 3735928559, 1, 3040855451, 3685292030, 4067017106, 1345202409],
  [18446744073709551615n, 7n, 3735928559, 0, 3435111223, 884450993, 698900709, 3758966487],
  [18446744073709551615n, 18364758544493064720n, 0, 4294967295, 3577894526, 1709916785, 1437966390, 2807515206],
  [81985529216486895n, 0n, 0, 1, 2915701862, 1379798405, 1698698277, 2996427327],
  [81985529216486895n, 7n, 0, 0, 884095607, 2395225382, 4257190661, 2797612274],
  [81985529216486895n, 7n, 3735928559, 4294967295, 338007201, 1764158662, 866730426, 2418118476],
  [81985529216486895n, 18364758544493064720n, 3735928559, 1, 2771765501, 4057829447, 2540550033, 1666495040],
];

describe('Philox', () => {
  test('gives the words of the native core', () => {
    const out = new Uint32Array(4);
    for (const [seed, draw, stream, block, ...words] of native) {
      philoxBlock(...halves(seed), ...halves(draw), stream, block, out);
      expect([...out]).toEqual(words);
    }
  });

  test('gives the published words for a zero and an all-ones counter and key', () => {
    const out = new Uint32Array(4);
    philoxBlock(0, 0, 0, 0, 0, 0, out);
    expect([...out]).toEqual([0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
    philoxBlock(0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff, out);
    expect([...out]).toEqual([0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
  });

  test('numbers and bigints are the same seeds', () => {
    for (const value of [0, 1, 2 ** 32, 2 ** 53 - 1]) expect(halves(value)).toEqual(halves(BigInt(value)));
    expect(new Philox(5, 6n, 7).word()).toBe(new Philox(5n, 6, 7).word());
  });

  test('uniform numbers lie inside (0, 1), whole ones inside their range, normal ones have variance 1', () => {
    const random = new Philox(1);
    const counts = new Array(7).fill(0);
    let sum = 0;
    let squares = 0;
    for (let i = 0; i < 20000; i++) {
      const u = random.uniform();
      if (!(u > 0 && u < 1)) throw new Error(String(u));
      counts[random.below(7)]++;
      const x = random.normal();
      sum += x;
      squares += x * x;
    }
    for (const count of counts) expect(Math.abs(count - 20000 / 7)).toBeLessThan(300);
    expect(Math.abs(sum / 20000)).toBeLessThan(0.03);
    expect(Math.abs(squares / 20000 - 1)).toBeLessThan(0.05);
  });

  test('a shuffle keeps all items and depends on the seed alone', () => {
    const shuffled = (seed: number) => new Philox(seed).shuffle(Array.from({ length: 50 }, (_, i) => i));
    expect(shuffled(3)).toEqual(shuffled(3));
    expect(shuffled(3)).not.toEqual(shuffled(4));
    expect(shuffled(3).sort((a, b) => a - b)).toEqual(Array.from({ length: 50 }, (_, i) => i));
  });

  test('ids that differ in one letter hash differently', () => {
    expect(new Set(['', 'a', 'b', 'ab', 'ba', 'ā', 'a/b'].map(hashText)).size).toBe(7);
  });
});
