/** Decoding of a set of utterances, greedily and with a lexicon, and its error rates. */
import { refuseWhenAborted } from '../analysis/interrupt';
import { type Bucket, batchesOf, lengthBuckets, type SpeechSource } from '../analysis/speech';
import type { UtteranceErrors } from '../analysis/statistics';
import type { HubertModel } from '../nn/model';
import { BLANK, type CharacterVocabulary } from './characters';
import type { Example } from './examples';
import type { Lexicon } from './lexicon';
import { type ErrorCounts, type ErrorRates, ErrorTotals } from './wer';

/** One line of dev.jsonl and test.jsonl. */
export interface Hypothesis extends UtteranceErrors {
  id: string;
  text: string;
  hypothesis: string;
  /** Word errors and words of the reference; `characterErrors` and `characters` alike. */
  errors: number;
  reference: number;
  characterErrors: number;
  characters: number;
  /** What decoding with a lexicon gives, and its word errors; absent when there was none. */
  lexiconHypothesis?: string;
  lexiconErrors?: number;
}

/** Errors and reference symbols of an utterance for each rate; with `lexiconWer` the hypotheses must hold a lexicon's. */
export const utteranceErrors: Record<'wer' | 'cer' | 'lexiconWer', (h: Hypothesis) => UtteranceErrors> = {
  wer: ({ errors, reference }) => ({ errors, reference }),
  cer: ({ characterErrors, characters }) => ({ errors: characterErrors, reference: characters }),
  lexiconWer: ({ lexiconErrors, reference }) => ({ errors: lexiconErrors!, reference }),
};

export interface Evaluation extends ErrorRates {
  /** WER of decoding with the lexicon. */
  lexiconWer?: number;
  /** Share of the frames whose best output is the blank: 1 when nothing is ever written. */
  blankRate: number;
  /** Ordered by utterance id. */
  hypotheses: Hypothesis[];
}

/** Padded audio of an evaluation batch, in seconds. */
const batchSeconds = 60;

/** Buckets for evaluation: larger batches than training has, as nothing is kept for gradients. */
export function evaluationBuckets(examples: readonly Example[]): Bucket<Example>[] {
  return lengthBuckets(examples, batchSeconds);
}

/**
 * Best path of every utterance, repeats merged and blanks dropped, no language model; with a `lexicon` also the best words of it
 * (see {@link Lexicon.decode}), which costs some milliseconds an utterance.
 */
export async function evaluate(
  model: HubertModel,
  buckets: readonly Bucket<Example>[],
  { speech, vocabulary, lexicon }: { speech: SpeechSource; vocabulary: CharacterVocabulary; lexicon?: Lexicon },
  signal?: AbortSignal,
): Promise<Evaluation> {
  const totals = new ErrorTotals();
  const lexiconTotals = new ErrorTotals();
  const hypotheses: Hypothesis[] = [];
  let blanks = 0;
  let frames = 0;
  for (const { bucket, members } of batchesOf(buckets)) {
    refuseWhenAborted(signal, 'Decoding');
    const input = await speech.batch(
      members.map((example) => example.utterance),
      bucket,
    );
    const { path, logits } = await model.logits(bucket).run(input);
    members.forEach((example, row) => {
      const from = row * bucket.frames;
      const to = from + input.frameLengths[row];
      const own = path.subarray(from, to);
      for (const index of own) if (index === BLANK) blanks++;
      frames += own.length;
      const greedy = scored(example, vocabulary.decodePath(own), totals);
      const scores = logits.subarray(from * vocabulary.size, to * vocabulary.size);
      hypotheses.push({ ...greedy, ...(lexicon && scoredWords(example, lexicon.decode(scores), lexiconTotals)) });
    });
  }
  hypotheses.sort((a, b) => (a.id < b.id ? -1 : 1));
  const lexiconWer = lexicon && { lexiconWer: lexiconTotals.rates().wer };
  return { ...totals.rates(), ...lexiconWer, blankRate: blanks / frames, hypotheses };
}

function scored({ utterance, text }: Example, hypothesis: string, totals: ErrorTotals): Hypothesis {
  const { words, characters } = totals.add(text, hypothesis);
  return {
    id: utterance.id,
    text,
    hypothesis,
    errors: errorsOf(words),
    reference: words.reference,
    characterErrors: errorsOf(characters),
    characters: characters.reference,
  };
}

function scoredWords({ text }: Example, lexiconHypothesis: string, totals: ErrorTotals): Partial<Hypothesis> {
  return { lexiconHypothesis, lexiconErrors: errorsOf(totals.add(text, lexiconHypothesis).words) };
}

const errorsOf = ({ substitutions, insertions, deletions }: ErrorCounts) => substitutions + insertions + deletions;
