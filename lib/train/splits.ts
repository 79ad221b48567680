/** Which utterances a run trains on and which it validates on. */
import { partition } from '../data/corpus';
import { hashText, Philox } from '../data/philox';
import { sampleRate, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';
import type { PretrainConfig } from './config';

type SplitConfig = Pick<PretrainConfig, 'trainSplits' | 'validSplits' | 'validMaxSeconds' | 'minSeconds' | 'seed'>;

/**
 * Utterances of at least minSeconds, by use: the splits that the configuration names, or the corpus's own partition.
 * @throws HK_CORPUS naming the splits that there are, when one that was asked for is missing or nothing is left to train on
 */
export function splitUtterances(
  all: readonly Utterance[],
  config: SplitConfig,
): { train: Utterance[]; valid: Utterance[] } {
  const { trainSplits, validSplits, minSeconds } = config;
  const names = [...new Set(all.map(({ split }) => split))].sort();
  for (const name of [...trainSplits, ...validSplits])
    if (!names.includes(name))
      throw new HubertkitError(
        'HK_CORPUS',
        `The corpus has no split "${name}". It has: ${names.join(', ') || 'none'}.`,
      );
  const long = all.filter(({ samples }) => samples >= minSeconds * sampleRate);
  const parts = partition(long);
  const named = (splits: string[]) => long.filter(({ split }) => splits.includes(split));
  const train = trainSplits.length > 0 ? named(trainSplits) : parts.train;
  const training = new Set(train);
  const valid = (validSplits.length > 0 ? named(validSplits) : parts.valid).filter(
    (utterance) => !training.has(utterance),
  );
  if (train.length === 0)
    throw new HubertkitError(
      'HK_CORPUS',
      `Nothing to train on: of ${all.length} utterances, ${long.length} last at least minSeconds (${minSeconds} s), none of them in a training split. Splits: ${names.join(', ') || 'none'}.`,
    );
  return { train, valid: atMost(valid, config.validMaxSeconds, config.seed) };
}

/** A random choice of at most so much audio, in the order of the corpus; which ones does not depend on the others. */
function atMost(utterances: Utterance[], seconds: number, seed: number): Utterance[] {
  const rank = new Map(utterances.map((u) => [u, new Philox(seed, 0, hashText(u.id)).uniform()]));
  const chosen = new Set<Utterance>();
  let left = seconds * sampleRate;
  for (const utterance of [...utterances].sort((a, b) => rank.get(a)! - rank.get(b)!)) {
    if (utterance.samples > left) continue;
    chosen.add(utterance);
    left -= utterance.samples;
  }
  return utterances.filter((utterance) => chosen.has(utterance));
}
