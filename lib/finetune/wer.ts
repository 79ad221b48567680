/** Word and character error rates by edit distance (Levenshtein 1966; the counts of NIST sclite with equal costs). */

export interface ErrorCounts {
  substitutions: number;
  insertions: number;
  deletions: number;
  /** Symbols of the reference. */
  reference: number;
}

/**
 * The cheapest alignment of a hypothesis with its reference: substitutions, insertions and deletions all cost 1. Among
 * alignments of equal cost the one with most substitutions is taken (a substitution rather than a deletion plus an
 * insertion elsewhere), so the three counts are deterministic. O(R H) time, O(H) memory.
 */
export function alignmentErrors<T>(reference: readonly T[], hypothesis: readonly T[]): ErrorCounts {
  const columns = hypothesis.length + 1;
  const cost = new Int32Array(columns);
  const substitutions = new Int32Array(columns);
  const insertions = new Int32Array(columns);
  for (let j = 0; j < columns; j++) {
    cost[j] = j;
    insertions[j] = j;
  }
  for (let i = 1; i <= reference.length; i++) {
    let diagonalCost = cost[0];
    let diagonalSubstitutions = substitutions[0];
    let diagonalInsertions = insertions[0];
    cost[0] = i;
    for (let j = 1; j < columns; j++) {
      const upCost = cost[j];
      const upSubstitutions = substitutions[j];
      const upInsertions = insertions[j];
      const miss = reference[i - 1] === hypothesis[j - 1] ? 0 : 1;
      let best = diagonalCost + miss;
      let s = diagonalSubstitutions + miss;
      let n = diagonalInsertions;
      if (upCost + 1 < best) {
        best = upCost + 1;
        s = upSubstitutions;
        n = upInsertions;
      }
      if (cost[j - 1] + 1 < best) {
        best = cost[j - 1] + 1;
        s = substitutions[j - 1];
        n = insertions[j - 1] + 1;
      }
      diagonalCost = upCost;
      diagonalSubstitutions = upSubstitutions;
      diagonalInsertions = upInsertions;
      cost[j] = best;
      substitutions[j] = s;
      insertions[j] = n;
    }
  }
  const last = columns - 1;
  return {
    substitutions: substitutions[last],
    insertions: insertions[last],
    deletions: cost[last] - substitutions[last] - insertions[last],
    reference: reference.length,
  };
}

/** Errors divided by reference symbols; above 1 when there are many insertions. NaN when nothing was counted. */
export function errorRate(counts: ErrorCounts): number {
  return (counts.substitutions + counts.insertions + counts.deletions) / counts.reference;
}

export interface ErrorRates {
  wer: number;
  cer: number;
  words: ErrorCounts;
  characters: ErrorCounts;
}

/** Sums errors over utterances: WER and CER of a corpus are total errors over total reference symbols. */
export class ErrorTotals {
  readonly words: ErrorCounts = { substitutions: 0, insertions: 0, deletions: 0, reference: 0 };
  readonly characters: ErrorCounts = { substitutions: 0, insertions: 0, deletions: 0, reference: 0 };

  /**
   * Adds one utterance and returns its own counts. Words are separated by white space; characters include one space between
   * words.
   */
  add(reference: string, hypothesis: string): { words: ErrorCounts; characters: ErrorCounts } {
    const [spoken, heard] = [wordsOf(reference), wordsOf(hypothesis)];
    const words = alignmentErrors(spoken, heard);
    const characters = alignmentErrors([...spoken.join(' ')], [...heard.join(' ')]);
    accumulate(this.words, words);
    accumulate(this.characters, characters);
    return { words, characters };
  }

  rates(): ErrorRates {
    return {
      wer: errorRate(this.words),
      cer: errorRate(this.characters),
      words: { ...this.words },
      characters: { ...this.characters },
    };
  }
}

function wordsOf(text: string): string[] {
  return text.split(/\s+/).filter((word) => word.length > 0);
}

function accumulate(total: ErrorCounts, counts: ErrorCounts): void {
  total.substitutions += counts.substitutions;
  total.insertions += counts.insertions;
  total.deletions += counts.deletions;
  total.reference += counts.reference;
}
