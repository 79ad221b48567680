/**
 * The utterances that layers are measured on: k-means and probes are fitted on training speakers and measured on speakers that
 * neither the network nor they have heard. The same for every checkpoint of a run.
 */
import { labelVocabulary, phoneOfFrames, type Vocabulary } from '../data/alignments';
import { hashText, Philox } from '../data/philox';
import { frameCount, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';

export interface EvaluationSet {
  /** Phone symbols, sorted; labels are their places. None when training or held-out utterances have no phone alignments. */
  phones: string[];
  fit: PhonedUtterance[];
  test: PhonedUtterance[];
  fitFrames: number;
  testFrames: number;
  fitSpeakers: number;
  testSpeakers: number;
  /** False when the corpus has too few speakers: then the test utterances are unheard but their speakers are not. */
  unseenSpeakers: boolean;
}

/** An utterance with a phone for each frame of the model. */
export interface PhonedUtterance {
  utterance: Utterance;
  frames: number;
  /** i32 [frames]: place in `phones`; -1 where the alignment has none. */
  labels: Int32Array;
}

export interface EvaluationSetOptions {
  /** Utterances the network was trained on. */
  train: readonly Utterance[];
  /** Utterances it has not seen, test before validation. */
  heldOut: readonly Utterance[];
  maxFitFrames: number;
  maxTestFrames: number;
  seed: number;
}

/**
 * Chooses utterances in the order of a hash of their ids until the frames are enough: those with phone alignments, or any where
 * training or held-out utterances have none. Test utterances are those of speakers that are not in `train`, where there are any.
 *
 * @throws HK_CORPUS nothing to fit or to test on
 */
export function evaluationSet(o: EvaluationSetOptions): EvaluationSet {
  const aligned = (u: Utterance) => (u.phones?.length ?? 0) > 0 && frameCount(u.samples) > 0;
  const phoned = o.train.some(aligned) && o.heldOut.some(aligned);
  const usable = phoned ? aligned : (u: Utterance) => frameCount(u.samples) > 0;
  const train = o.train.filter(usable);
  const heldOut = o.heldOut.filter(usable);
  if (train.length === 0 || heldOut.length === 0) {
    throw new HubertkitError(
      'HK_CORPUS',
      `Measuring layers needs training and held-out utterances of at least 400 samples; there are ${train.length} and ${heldOut.length}.`,
    );
  }
  const heard = new Set(o.train.map((u) => u.speaker));
  const unheard = heldOut.filter((u) => !heard.has(u.speaker));
  const phones = phoned ? labelVocabulary([...train, ...heldOut], 'phones') : [];
  const fit = sampleUtterances(train, o.maxFitFrames, o.seed, phones);
  const test = sampleUtterances(unheard.length > 0 ? unheard : heldOut, o.maxTestFrames, o.seed, phones);
  const frames = (list: PhonedUtterance[]) => list.reduce((sum, { frames }) => sum + frames, 0);
  const speakers = (list: PhonedUtterance[]) => new Set(list.map(({ utterance }) => utterance.speaker)).size;
  return {
    phones,
    fit,
    test,
    fitFrames: frames(fit),
    testFrames: frames(test),
    fitSpeakers: speakers(fit),
    testSpeakers: speakers(test),
    unseenSpeakers: unheard.length > 0,
  };
}

/** Utterances in the order of a hash of their ids, as many as `maxFrames` hold (at least one), with their phones. */
export function sampleUtterances(
  utterances: readonly Utterance[],
  maxFrames: number,
  seed: number,
  phones: Vocabulary,
): PhonedUtterance[] {
  const rank = new Map(utterances.map((u) => [u, new Philox(seed, 0, hashText(u.id)).uniform()]));
  const shuffled = [...utterances].sort((a, b) => rank.get(a)! - rank.get(b)!);
  const chosen: PhonedUtterance[] = [];
  let total = 0;
  for (const utterance of shuffled) {
    const frames = frameCount(utterance.samples);
    if (chosen.length > 0 && total + frames > maxFrames) continue;
    chosen.push({ utterance, frames, labels: phoneOfFrames(utterance, frames, phones) });
    total += frames;
  }
  return chosen;
}
