/** The comparisons of `npm run bench -- --peers`: the same work here and in a peer, in turn (A B A B ...), on the same threads. */
import { spread, type Spread } from '../../lib/bench/median';

export interface Comparison {
  work: string;
  /** Name and version. */
  peer: string;
  /** Seconds. */
  ours: Spread;
  theirs: Spread;
  /** How many times as fast as the peer: of the medians. */
  ratio: number;
}

/** Seconds of each repetition of one turn. */
type Turn = () => Promise<number[]>;

/** `rounds` turns of each side in alternation. */
export async function interleaved(work: string, peer: string, ours: Turn, theirs: Turn, rounds: number) {
  const seconds = { ours: [] as number[], theirs: [] as number[] };
  for (let round = 0; round < rounds; round++) {
    seconds.ours.push(...(await ours()));
    seconds.theirs.push(...(await theirs()));
  }
  return comparison(work, peer, seconds.ours, seconds.theirs);
}

export function comparison(work: string, peer: string, ours: number[], theirs: number[]): Comparison {
  const sides = { ours: spread(ours), theirs: spread(theirs) };
  return { work, peer, ...sides, ratio: Number((sides.theirs.median / sides.ours.median).toFixed(3)) };
}
