/**
 * The utterances that layers are measured on: k-means and probes are fitted on training speakers and measured on speakers that
 * neither the network nor they have heard. The same for every checkpoint of a run.
 */
import { hashText, Philox } from '../data/philox';
import { frameCount, frameSamples, frameStride, sampleRate, type Segment, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';

export interface EvaluationSet {
  /** Phone symbols, sorted; labels are their places. */
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

/**
 * Phone of each 20 ms frame: the segment that the centre of the frame's receptive field, sample 320 i + 200, lies in
 * (start <= t < end).
 */
export function framePhones(
  segments: readonly Segment[],
  frames: number,
  indexOf: ReadonlyMap<string, number>,
): Int32Array {
  const sorted = [...segments].sort((a, b) => a.start - b.start);
  const labels = new Int32Array(frames).fill(-1);
  let at = 0;
  for (let i = 0; i < frames; i++) {
    const time = (frameStride * i + frameSamples / 2) / sampleRate;
    while (at < sorted.length && sorted[at].end <= time) at++;
    if (at < sorted.length && sorted[at].start <= time) labels[i] = indexOf.get(sorted[at].label) ?? -1;
  }
  return labels;
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
 * Chooses utterances with phone alignments in the order of a hash of their ids until the frames are enough. Test utterances are
 * those of speakers that are not in `train`, where there are any.
 *
 * @throws HK_CORPUS when there are no alignments, or nothing to test on
 */
export function evaluationSet(o: EvaluationSetOptions): EvaluationSet {
  const aligned = (u: Utterance) => (u.phones?.length ?? 0) > 0 && frameCount(u.samples) > 0;
  const train = o.train.filter(aligned);
  const heldOut = o.heldOut.filter(aligned);
  if (train.length === 0 || heldOut.length === 0) {
    throw new HubertkitError(
      'HK_CORPUS',
      `Measuring layers needs phone alignments of training and of held-out utterances; of ${o.train.length} training utterances ${train.length} have one, of ${o.heldOut.length} held-out utterances ${heldOut.length}. Alignments are read from alignments.jsonl beside the manifest, or from TextGrids.`,
    );
  }
  const heard = new Set(o.train.map((u) => u.speaker));
  const unheard = heldOut.filter((u) => !heard.has(u.speaker));
  const phones = [...new Set([...train, ...heldOut].flatMap((u) => u.phones!.map((s) => s.label)))].sort();
  const places = new Map(phones.map((phone, i) => [phone, i]));
  const fit = sample(train, o.maxFitFrames, o.seed, places);
  const test = sample(unheard.length > 0 ? unheard : heldOut, o.maxTestFrames, o.seed, places);
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

function sample(
  utterances: Utterance[],
  maxFrames: number,
  seed: number,
  places: ReadonlyMap<string, number>,
): PhonedUtterance[] {
  const rank = new Map(utterances.map((u) => [u, new Philox(seed, 0, hashText(u.id)).uniform()]));
  const shuffled = [...utterances].sort((a, b) => rank.get(a)! - rank.get(b)!);
  const chosen: PhonedUtterance[] = [];
  let total = 0;
  for (const utterance of shuffled) {
    const frames = frameCount(utterance.samples);
    if (chosen.length > 0 && total + frames > maxFrames) continue;
    chosen.push({ utterance, frames, labels: framePhones(utterance.phones!, frames, places) });
    total += frames;
  }
  return chosen;
}
