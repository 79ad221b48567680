import { CharacterVocabulary } from '../../lib/finetune/characters';
import { Lexicon } from '../../lib/finetune/lexicon';
import { Philox } from '../../lib/data/philox';

const vocabulary = new CharacterVocabulary('AB');
const counts = { A: 5, AB: 2, ABA: 1, BB: 2 };
const transcripts = Object.entries(counts).flatMap(([word, count]) => Array<string>(count).fill(word));
const lexicon = new Lexicon(transcripts, vocabulary);

function randomLogits(seed: number, frames: number): Float32Array {
  const random = new Philox(seed, 0, 0);
  return Float32Array.from({ length: frames * vocabulary.size }, () => 6 * random.uniform() - 3);
}

/** The words that the best of all V^T paths spells, of those that spell nothing but whole words. */
function bestOfAllPaths(logits: Float32Array, wordWeight: number): { words: string; score: number } {
  const { size } = vocabulary;
  const frames = logits.length / size;
  let best = { words: '', score: -Infinity };
  for (let code = 0; code < size ** frames; code++) {
    const path = Array.from({ length: frames }, (_, t) => Math.floor(code / size ** t) % size);
    const symbols = path.filter((symbol, t) => symbol !== 0 && symbol !== path[t - 1]);
    const text = symbols.map((symbol) => vocabulary.symbols[symbol]).join('');
    const words = text.split('|');
    if (words.pop() !== '' || words.some((word) => !(word in counts))) continue;
    const shares = words.map((word) => Math.log(counts[word as keyof typeof counts] / transcripts.length));
    const score =
      path.reduce((sum, symbol, t) => sum + logits[t * size + symbol], 0) +
      wordWeight * shares.reduce((sum, share) => sum + share, 0);
    if (score > best.score) best = { words: words.join(' '), score };
  }
  return best;
}

test.each([0, 0.5, 2])(
  'the words found are those of the best of all paths (weight of the frequencies: %p)',
  (weight) => {
    for (let seed = 1; seed <= 25; seed++) {
      const logits = randomLogits(seed, 6);
      expect(lexicon.decode(logits, weight)).toBe(bestOfAllPaths(logits, weight).words);
    }
  },
);

test('the random scores of that test are not all of one length', () => {
  const found = Array.from(
    { length: 25 },
    (_, i) => bestOfAllPaths(randomLogits(i + 1, 6), 0.5).words.split(' ').length,
  );
  expect(new Set(found).size).toBeGreaterThan(1);
});

test('a misspelt word becomes the nearest one that there is', () => {
  const letters = new CharacterVocabulary();
  const words = new Lexicon(['THE HORSE', 'THE HOUSE', 'A MOUSE'], letters);
  const spelt = [...letters.encode('THE HOUZE').targets].flatMap((symbol) => [symbol, 0]);
  const logits = new Float32Array(spelt.length * letters.size);
  spelt.forEach((symbol, t) => {
    logits[t * letters.size + symbol] = 4;
  });
  expect(words.words).toEqual(['A', 'HORSE', 'HOUSE', 'MOUSE', 'THE']);
  expect(words.decode(logits)).toBe('THE HOUSE');
});

test('nothing but blanks, no frames at all and an empty lexicon give no words', () => {
  const blanks = new Float32Array(10 * vocabulary.size);
  for (let t = 0; t < 10; t++) blanks[t * vocabulary.size] = 5;
  expect(lexicon.decode(blanks)).toBe('');
  expect(lexicon.decode(new Float32Array(0))).toBe('');
  expect(new Lexicon([], vocabulary).decode(randomLogits(1, 5))).toBe('');
});
