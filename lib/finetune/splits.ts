/** Which utterances fine-tuning learns from, follows its curve on, and is judged on. */
import { hashText, Philox } from '../data/philox';
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

/** Share of the training utterances that is held out when a corpus has no split for it. */
const heldOutShare = 0.1;

/**
 * Splits by name: dev is what `devSplits` names, or valid* and dev*; test what `testSplits` names, or test*; train what
 * `trainSplits` names, or the rest. A corpus without a dev split has a tenth of its training utterances held out, the same
 * ones each time (by a hash of the id). A corpus without a test split has none.
 *
 * @throws HK_CORPUS when a named split does not exist or there is nothing to train or to measure on
 */
export function fineTuningSplits(utterances: readonly Utterance[], o: SplitOptions): Splits<Utterance> {
  const existing = new Set(utterances.map((u) => u.split));
  for (const name of [...o.trainSplits, ...o.devSplits, ...o.testSplits]) {
    if (existing.has(name)) continue;
    throw new HubertkitError('HK_CORPUS', `The corpus has no split "${name}". It has: ${[...existing].join(', ')}.`);
  }
  const chosen = (names: readonly string[], pattern: RegExp) => (u: Utterance) =>
    names.length > 0 ? names.includes(u.split) : pattern.test(u.split) && !o.trainSplits.includes(u.split);
  const isTest = chosen(o.testSplits, /^test/);
  const isDev = chosen(o.devSplits, /^(valid|dev)/);
  const test = utterances.filter(isTest);
  const dev = utterances.filter((u) => isDev(u) && !isTest(u));
  const rest = utterances.filter((u) => !isTest(u) && !isDev(u));
  const train = o.trainSplits.length > 0 ? rest.filter((u) => o.trainSplits.includes(u.split)) : rest;
  const splits = dev.length > 0 ? { train, dev, test } : { ...heldOut(train), test };
  if (splits.train.length === 0 || splits.dev.length === 0) {
    throw new HubertkitError(
      'HK_CORPUS',
      `Fine-tuning needs utterances to train on and others to measure on; the splits give ${splits.train.length} and ${splits.dev.length}. The corpus has: ${[...existing].join(', ')}.`,
    );
  }
  return splits;
}

function heldOut(train: readonly Utterance[]): { train: Utterance[]; dev: Utterance[] } {
  const isDev = (u: Utterance) => new Philox(0, 0, hashText(u.id)).uniform() < heldOutShare;
  return { train: train.filter((u) => !isDev(u)), dev: train.filter(isDev) };
}
