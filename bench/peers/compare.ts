/** The same work here and in the peers, in turn (A B C A B C ...), on the same threads. */
import { setTimeout as pause } from 'node:timers/promises';
import { spread, type Spread } from '../../lib/bench/median';

export interface Comparison {
  work: string;
  /** Seconds here. */
  ours: Spread;
  /** Seconds of each peer, the fastest first. */
  peers: { name: string; seconds: Spread }[];
  /** How many times as fast as the fastest peer: of the medians. */
  ratio: number;
}

/** One side: `turn` does the work once or several times and returns the seconds of each. */
export interface Side {
  name: string;
  turn: () => Promise<number[]>;
}

/** Milliseconds after which threads that wait for more work no longer spin. */
const rest = 300;

/** `rounds` turns of every side, in alternation; none begins while the threads of the one before still spin. */
export async function interleaved(work: string, ours: Side, peers: Side[], rounds: number): Promise<Comparison> {
  const sides = [ours, ...peers].map((side) => ({ ...side, seconds: [] as number[] }));
  for (let round = 0; round < rounds; round++)
    for (const side of sides) {
      await pause(rest);
      side.seconds.push(...(await side.turn()));
    }
  const [own, ...others] = sides.map(({ name, seconds }) => ({ name, seconds: spread(seconds) }));
  others.sort((a, b) => a.seconds.median - b.seconds.median);
  const ratio = Number((others[0].seconds.median / own.seconds.median).toFixed(3));
  return { work, ours: own.seconds, peers: others, ratio };
}

/** The seconds of each of `count` runs of `work`. */
export async function repeated(count: number, work: () => Promise<unknown>): Promise<number[]> {
  const seconds: number[] = [];
  for (let i = 0; i < count; i++) {
    const begin = performance.now();
    await work();
    seconds.push((performance.now() - begin) / 1000);
  }
  return seconds;
}
