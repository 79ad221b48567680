/** One sentence about a comparison, derived from its intervals: the sign is told whatever it is, and so is that nothing shows. */
import { type Difference, holm } from './statistics';

/** A condition and how it differs from the baseline. */
export interface Compared {
  name: string;
  difference: Difference;
}

export interface VerdictOptions {
  /** What is measured: `PNMI of the best layer`. */
  outcome: string;
  better: 'higher' | 'lower';
  baseline: string;
  /** At least one. More than one is a sweep: the best is picked and corrected for it. */
  others: readonly Compared[];
  /** Show numbers as percentages. Default false. */
  percent?: boolean;
}

export interface Verdict {
  sentence: string;
  outcome: string;
  baseline: string;
  /** The best condition of all, the baseline among them. */
  best: string;
  /** Is the difference that the sentence is about one that the seeds show (p below 1 - level, corrected with Holm)? */
  shown: boolean;
  /** Each condition minus the baseline, p corrected with Holm over all of them. */
  differences: (Difference & { name: string; correctedP: number })[];
}

/** The verdict of a comparison with a baseline, or of a sweep. */
export function verdict(o: VerdictOptions): Verdict {
  const corrected = holm(o.others.map(({ difference }) => difference.p));
  const differences = o.others.map(({ name, difference }, i) => ({ name, ...difference, correctedP: corrected[i] }));
  const gain = ({ estimate }: Difference) => (o.better === 'higher' ? estimate : -estimate);
  const top = differences.reduce((a, b) => (gain(b) > gain(a) ? b : a));
  const best = gain(top) > 0 ? top.name : o.baseline;
  const shown = top.correctedP < 1 - top.level;
  const { outcome, baseline } = o;
  return { sentence: sentence(o, top, best, shown), outcome, baseline, best, shown, differences };
}

function sentence(o: VerdictOptions, top: Verdict['differences'][number], best: string, shown: boolean): string {
  const { outcome, better, baseline, others } = o;
  const number = (value: number) => (o.percent ? (100 * value).toFixed(1) : value.toFixed(3));
  const unit = o.percent ? ' points' : '';
  const sweep = others.length > 1;
  const seeds = `${top.seeds} ${top.seeds === 1 ? 'seed' : 'seeds'}`;
  const interval = Number.isNaN(top.low)
    ? `${seeds}: no interval`
    : `${100 * top.level} % ${number(top.low)} to ${number(top.high)}${unit}, ${seeds}`;
  const correction =
    sweep && !Number.isNaN(top.p)
      ? `; p = ${top.correctedP.toFixed(3)} after Holm over ${others.length} comparisons`
      : '';
  const pick = !sweep
    ? ''
    : best === baseline
      ? `${baseline} is the best of ${others.length + 1}, next comes ${top.name}. `
      : `${top.name} is the best of ${others.length + 1}. `;
  const side = top.estimate > 0 ? 'above' : top.estimate < 0 ? 'below' : 'level with';
  const by = top.estimate === 0 ? '' : ` by ${number(Math.abs(top.estimate))}${unit}`;
  const fact = `${top.name} is ${side} ${baseline}${by} (${interval}${correction})`;
  return `${outcome} (${better} is better): ${pick}${shown ? fact : `No difference shown at this scale: ${fact}`}.`;
}
