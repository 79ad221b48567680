/** Runs `work` `times` times after `warmups` and returns the sorted seconds of each. */
export async function timed(work: () => Promise<unknown>, times: number, warmups: number): Promise<number[]> {
  const seconds: number[] = [];
  for (let i = 0; i < warmups + times; i++) {
    const begin = performance.now();
    await work();
    if (i >= warmups) seconds.push((performance.now() - begin) / 1000);
  }
  return seconds.sort((a, b) => a - b);
}

export const median = (sorted: number[]) => sorted[sorted.length >> 1];

export const round = (x: number, digits: number) => Number(x.toFixed(digits));

/** Median, quartiles and number of repeated measurements. */
export interface Spread {
  median: number;
  /** A quarter of the measurements lie below. */
  low: number;
  /** A quarter lie above. */
  high: number;
  n: number;
}

export function spread(values: number[]): Spread {
  const sorted = [...values].sort((a, b) => a - b);
  const at = (share: number) => Number(sorted[Math.round(share * (sorted.length - 1))].toPrecision(5));
  return { median: Number(median(sorted).toPrecision(5)), low: at(0.25), high: at(0.75), n: sorted.length };
}

/** A small generator for benchmark data (mulberry32), uniform in [0, 1). */
export function pseudoRandom(seed: number): () => number {
  let a = seed;
  return () => {
    a = (a + 0x6d2b79f5) | 0;
    let t = Math.imul(a ^ (a >>> 15), 1 | a);
    t = (t + Math.imul(t ^ (t >>> 7), 61 | t)) ^ t;
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
}
