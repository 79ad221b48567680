/** Which utterances fine-tuning learns from, follows its curve on, and is judged on. */
import { partition } from '../data/corpus';
import type { Utterance } from '../data/types';
import { HubertkitError } from '../errors';

export interface Splits<T> {
  train: T[];
  dev: T[];
  test: T[];
}

export interface SplitOptions {
  trainSplits: readonly string[];
  devSplits: readonly string[];
  testSplits: readonly string[];
}

/**
 * What the named splits hold, and the corpus's own partition where none is named: dev is valid* and dev*, or a part of the
 * training utterances held out by a hash of their ids (the same that pretraining validates on); a corpus may have no test. An
 * utterance that is named twice is tested on rather than followed, and followed rather than trained on.
 *
 * @throws HK_CORPUS when a named split does not exist or there is nothing to train or to measure on
 */
export function fineTuningSplits(utterances: readonly Utterance[], o: SplitOptions): Splits<Utterance> {
  const existing = new Set(utterances.map((u) => u.split));
  for (const name of [...o.trainSplits, ...o.devSplits, ...o.testSplits]) {
    if (existing.has(name)) continue;
    throw new HubertkitError('HK_CORPUS', `The corpus has no split "${name}". It has: ${[...existing].join(', ')}.`);
  }
  const parts = partition(utterances);
  const named = (names: readonly string[], otherwise: Utterance[]) =>
    names.length > 0 ? utterances.filter((u) => names.includes(u.split)) : otherwise;
  const test = new Set(named(o.testSplits, parts.test));
  const dev = new Set(named(o.devSplits, parts.valid).filter((u) => !test.has(u)));
  const train = named(o.trainSplits, parts.train).filter((u) => !test.has(u) && !dev.has(u));
  const splits = { train, dev: [...dev], test: [...test] };
  if (splits.train.length === 0 || splits.dev.length === 0) {
    throw new HubertkitError(
      'HK_CORPUS',
      `Fine-tuning needs utterances to train on and others to measure on; the splits give ${splits.train.length} and ${splits.dev.length}. The corpus has: ${[...existing].join(', ')}.`,
    );
  }
  return splits;
}
