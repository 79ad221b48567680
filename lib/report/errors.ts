/** The error rates of fine-tuning. */
import type { FineTuning } from './read';
import { type Estimate, estimate, groupVariants } from './statistics';

/** Names in result.json. */
export type ErrorKey = 'testWer' | 'testLexiconWer' | 'testCer' | 'wer' | 'lexiconWer' | 'cer';

export interface ErrorRate {
  key: ErrorKey;
  name: string;
}

export const RATES: ErrorRate[] = [
  { key: 'testWer', name: 'WER on test' },
  { key: 'testLexiconWer', name: 'WER (lexicon) on test' },
  { key: 'testCer', name: 'CER on test' },
  { key: 'wer', name: 'WER on dev' },
  { key: 'lexiconWer', name: 'WER (lexicon) on dev' },
  { key: 'cer', name: 'CER on dev' },
];
/** A WER above this in every variant tells them apart badly: hardly a word is right. */
const SATURATED = 0.95;

/** The rates that were measured, the most telling first: on test before dev, WER before CER unless every WER is saturated. */
export function errorRates(runs: FineTuning[]): ErrorRate[] {
  const measured = RATES.filter(({ key }) => runs.some((run) => typeof run[key] === 'number'));
  if (!isSaturated(runs)) return measured;
  const letters = measured.filter(({ key }) => /cer$/i.test(key));
  return [...letters, ...measured.filter((rate) => !letters.includes(rate))];
}

/** Is the greedy WER of every variant so high that CER tells more? */
export function isSaturated(runs: FineTuning[]): boolean {
  const key = runs.some((run) => typeof run.testWer === 'number') ? 'testWer' : 'wer';
  return groupVariants(runs).every((group) => (errorEstimate(group.runs, key)?.mean ?? 1) > SATURATED);
}

/** Mean and interval over the fine-tunings that have this rate. */
export function errorEstimate(runs: FineTuning[], key: ErrorKey): Estimate | undefined {
  const values = runs.map((run) => run[key]).filter((value): value is number => typeof value === 'number');
  return values.length ? estimate(values) : undefined;
}
