/** Greedy decoding of a set of utterances, and its error rates. */
import { refuseWhenAborted } from '../analysis/interrupt';
import { type Bucket, batchesOf, lengthBuckets, type SpeechSource } from '../analysis/speech';
import type { UtteranceErrors } from '../analysis/statistics';
import type { HubertModel } from '../nn/model';
import { BLANK, type CharacterVocabulary } from './characters';
import type { Example } from './examples';
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
}

export interface Evaluation extends ErrorRates {
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

/** Best path of every utterance, repeats merged and blanks dropped; no language model. */
export async function evaluate(
  model: HubertModel,
  buckets: readonly Bucket<Example>[],
  speech: SpeechSource,
  vocabulary: CharacterVocabulary,
  signal?: AbortSignal,
): Promise<Evaluation> {
  const totals = new ErrorTotals();
  const hypotheses: Hypothesis[] = [];
  let blanks = 0;
  let frames = 0;
  for (const { bucket, members } of batchesOf(buckets)) {
    refuseWhenAborted(signal, 'Decoding');
    const input = await speech.batch(
      members.map((example) => example.utterance),
      bucket,
    );
    const path = await model.logits(bucket).run(input);
    members.forEach((example, row) => {
      const own = path.subarray(row * bucket.frames, row * bucket.frames + input.frameLengths[row]);
      for (const index of own) if (index === BLANK) blanks++;
      frames += own.length;
      hypotheses.push(scored(example, vocabulary.decodePath(own), totals));
    });
  }
  hypotheses.sort((a, b) => (a.id < b.id ? -1 : 1));
  return { ...totals.rates(), blankRate: blanks / frames, hypotheses };
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

const errorsOf = ({ substitutions, insertions, deletions }: ErrorCounts) => substitutions + insertions + deletions;
