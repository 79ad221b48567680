/** Utterances with transcripts become examples for CTC; what cannot be learnt from is set aside and counted, never cropped. */
import { hashText, Philox } from '../data/philox';
import { frameCount, sampleRate, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';
import { type CharacterVocabulary, framesNeeded, normaliseTranscript } from './characters';

export interface Example {
  utterance: Utterance;
  /** The normalised transcript: the reference of WER and CER. */
  text: string;
  /** CTC indices, never the blank. */
  targets: Int32Array;
  frames: number;
}

/** What the checks before training found. */
export interface ExampleReport {
  utterances: number;
  usable: number;
  seconds: number;
  /** Share of the transcripts' letters that the alphabet has. */
  alphabetCoverage: number;
  /** Characters that the alphabet lacks, most frequent first, with their counts. */
  missingCharacters: [string, number][];
  withoutTranscript: number;
  /** Transcripts with nothing left after normalisation. */
  emptyTranscript: number;
  /** Utterances whose targets need more frames than the audio has: CTC has no path for them. */
  targetsLongerThanAudio: number;
  /** Files that could not be decoded; they are left out. */
  unreadable: { path: string; reason: string }[];
  /** Target symbols for each frame of audio: above about 0.5 the transcripts probably belong to other audio. */
  symbolsPerFrame: number;
}

export interface Examples {
  examples: Example[];
  report: ExampleReport;
}

/**
 * Normalises and encodes transcripts, and checks them: alphabet coverage, transcripts that are missing or empty, targets that
 * need more frames than there are. Examples keep the order of the utterances.
 *
 * @throws HK_CORPUS when no utterance is usable or when the alphabet covers less than 90 % of the letters.
 */
export function prepareExamples(
  utterances: readonly Utterance[],
  vocabulary: CharacterVocabulary,
  what: string,
): Examples {
  const examples: Example[] = [];
  const missing = new Map<string, number>();
  const report = {
    utterances: utterances.length,
    withoutTranscript: 0,
    emptyTranscript: 0,
    targetsLongerThanAudio: 0,
  };
  let covered = 0;
  for (const utterance of utterances) {
    if (utterance.transcript === undefined) {
      report.withoutTranscript++;
      continue;
    }
    const encoded = vocabulary.encode(normaliseTranscript(utterance.transcript));
    for (const character of encoded.missing) missing.set(character, (missing.get(character) ?? 0) + 1);
    covered += encoded.targets.filter((index) => index !== 1).length;
    const frames = frameCount(utterance.samples);
    if (encoded.targets.length === 0) report.emptyTranscript++;
    else if (framesNeeded(encoded.targets) > frames) report.targetsLongerThanAudio++;
    else
      examples.push({ utterance, text: vocabulary.decodeTargets(encoded.targets), targets: encoded.targets, frames });
  }
  const missingCharacters = [...missing].sort((a, b) => b[1] - a[1]);
  const lacking = missingCharacters.reduce((total, [, count]) => total + count, 0);
  const alphabetCoverage = covered + lacking > 0 ? covered / (covered + lacking) : 1;
  refuseHopeless(examples, { ...report, alphabetCoverage, missingCharacters }, what);
  const total = (value: (e: Example) => number) => examples.reduce((sum, e) => sum + value(e), 0);
  return {
    examples,
    report: {
      ...report,
      usable: examples.length,
      seconds: total((e) => e.utterance.samples) / sampleRate,
      alphabetCoverage,
      missingCharacters: missingCharacters.slice(0, 20),
      unreadable: [],
      symbolsPerFrame: total((e) => e.targets.length) / total((e) => e.frames),
    },
  };
}

function refuseHopeless(
  examples: readonly Example[],
  found: Pick<
    ExampleReport,
    | 'utterances'
    | 'withoutTranscript'
    | 'emptyTranscript'
    | 'targetsLongerThanAudio'
    | 'alphabetCoverage'
    | 'missingCharacters'
  >,
  what: string,
): void {
  if (found.alphabetCoverage < 0.9) {
    const shown = found.missingCharacters.slice(0, 10).map(([c, n]) => `${c} (${n})`);
    throw new HubertkitError(
      'HK_CORPUS',
      `The alphabet covers ${(100 * found.alphabetCoverage).toFixed(1)} % of the letters in the transcripts of ${what}; at least 90 % are needed. Missing: ${shown.join(', ')}. Give an alphabet that has them ("letters").`,
    );
  }
  if (examples.length === 0) {
    throw new HubertkitError(
      'HK_CORPUS',
      `${what} has no utterance to fine-tune with: of ${found.utterances}, ${found.withoutTranscript} have no transcript, ${found.emptyTranscript} an empty one, ${found.targetsLongerThanAudio} a transcript that is too long for its audio.`,
    );
  }
}

/**
 * A subset of about `minutes` of audio, the same for the same seed: utterances in the order of a hash of their id, so that a
 * smaller budget is a part of a larger one. All examples when the budget is larger than what there is.
 */
export function labelBudget(examples: readonly Example[], minutes: number, seed: number): Example[] {
  const rank = new Map(examples.map((e) => [e, new Philox(seed, 0, hashText(e.utterance.id)).uniform()]));
  const shuffled = [...examples].sort((a, b) => rank.get(a)! - rank.get(b)!);
  const chosen = new Set<Example>();
  let samples = 0;
  for (const example of shuffled) {
    if (chosen.size > 0 && samples + example.utterance.samples > minutes * 60 * sampleRate) break;
    chosen.add(example);
    samples += example.utterance.samples;
  }
  return examples.filter((example) => chosen.has(example));
}
