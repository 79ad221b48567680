import { alignmentErrors, ErrorTotals, errorRate } from '../../lib/finetune/wer';

const words = (text: string) => text.split(' ');

/** Edit distance straight from its recursive definition. */
function slowDistance(a: readonly unknown[], b: readonly unknown[]): number {
  if (a.length === 0) return b.length;
  if (b.length === 0) return a.length;
  return Math.min(
    slowDistance(a.slice(1), b.slice(1)) + (a[0] === b[0] ? 0 : 1),
    slowDistance(a.slice(1), b) + 1,
    slowDistance(a, b.slice(1)) + 1,
  );
}

test('a perfect hypothesis has no errors', () => {
  const counts = alignmentErrors(words('the cat sat'), words('the cat sat'));
  expect(counts).toEqual({ substitutions: 0, insertions: 0, deletions: 0, reference: 3 });
});

test('each kind of error is counted as what it is', () => {
  expect(alignmentErrors(words('the cat sat'), words('the hat sat'))).toMatchObject({
    substitutions: 1,
    insertions: 0,
    deletions: 0,
  });
  expect(alignmentErrors(words('the cat sat'), words('the cat sat down'))).toMatchObject({
    substitutions: 0,
    insertions: 1,
    deletions: 0,
  });
  expect(alignmentErrors(words('the cat sat'), words('cat sat'))).toMatchObject({
    substitutions: 0,
    insertions: 0,
    deletions: 1,
  });
  expect(alignmentErrors([...'kitten'], [...'sitting'])).toMatchObject({
    substitutions: 2,
    insertions: 1,
    deletions: 0,
  });
});

test('an empty side is all deletions or all insertions', () => {
  expect(alignmentErrors(words('a b'), [])).toMatchObject({ deletions: 2, insertions: 0, substitutions: 0 });
  expect(alignmentErrors([], words('a b c'))).toMatchObject({
    deletions: 0,
    insertions: 3,
    substitutions: 0,
    reference: 0,
  });
});

test('the total equals the recursive edit distance on all short sequences', () => {
  const sequences: string[][] = [[]];
  for (let i = 0; i < sequences.length && sequences[i].length < 4; i++) {
    for (const symbol of ['a', 'b']) sequences.push([...sequences[i], symbol]);
  }
  for (const a of sequences) {
    for (const b of sequences) {
      const { substitutions, insertions, deletions } = alignmentErrors(a, b);
      expect(substitutions + insertions + deletions).toBe(slowDistance(a, b));
      expect(deletions - insertions).toBe(a.length - b.length);
      expect(Math.min(substitutions, insertions, deletions)).toBeGreaterThanOrEqual(0);
    }
  }
});

test('the WER of a corpus is total errors over total words, not a mean of utterances', () => {
  const totals = new ErrorTotals();
  totals.add('A B C D', 'A B C D');
  totals.add('E', 'F G');
  const { wer, words: counts } = totals.rates();
  expect(wer).toBeCloseTo(2 / 5);
  expect(counts).toEqual({ substitutions: 1, insertions: 1, deletions: 0, reference: 5 });
});

test('the CER counts the spaces between words', () => {
  const totals = new ErrorTotals();
  totals.add('AB CD', 'ABCD');
  expect(totals.rates().cer).toBeCloseTo(1 / 5);
  expect(errorRate(totals.rates().characters)).toBeCloseTo(1 / 5);
});
