import { CharacterVocabulary, framesNeeded, normaliseTranscript } from '../../lib/finetune/characters';

test('mixed case, punctuation and typographic signs become plain upper-case words', () => {
  expect(normaliseTranscript('“Don’t stop,” she said — twice-told!')).toBe("DON'T STOP SHE SAID TWICE TOLD");
  expect(normaliseTranscript('  Café\tNAÏVE  ')).toBe('CAFE NAIVE');
  expect(normaliseTranscript("rock 'n' roll ' ok")).toBe("ROCK 'N' ROLL OK");
  expect(normaliseTranscript('...')).toBe('');
});

test('every word ends with | and the blank is index 0', () => {
  const vocabulary = new CharacterVocabulary();
  const { targets, missing } = vocabulary.encode('AB A');
  expect(vocabulary.symbols[0]).toBe('<blank>');
  expect(Array.from(targets, (i) => vocabulary.symbols[i]).join('')).toBe('AB|A|');
  expect(missing).toEqual([]);
  expect(Array.from(targets)).not.toContain(0);
});

test('characters outside the alphabet are reported, and a word of nothing else leaves no empty word', () => {
  const vocabulary = new CharacterVocabulary();
  const { targets, missing } = vocabulary.encode('A 42 B');
  expect(missing).toEqual(['4', '2']);
  expect(vocabulary.decodeTargets(targets)).toBe('A B');
});

test('decoding merges repeats, keeps letters that a blank separates and drops blanks', () => {
  const vocabulary = new CharacterVocabulary();
  const path = (text: string) => [...text].map((c) => (c === '-' ? 0 : vocabulary.symbols.indexOf(c)));
  expect(vocabulary.decodePath(path('--HHEE-LL-LLO||-|A--'))).toBe('HELLO A');
  expect(vocabulary.decodePath(path('AB'), 1)).toBe('A');
  expect(vocabulary.decodePath(path('----'))).toBe('');
});

test('a path that spells the targets decodes to the transcript', () => {
  const vocabulary = new CharacterVocabulary();
  const text = normaliseTranscript("The balloon's string");
  const path: number[] = [];
  for (const index of vocabulary.encode(text).targets) path.push(index, index, 0);
  expect(vocabulary.decodePath(path)).toBe(text);
});

test('CTC needs one frame more for each pair of equal neighbours', () => {
  expect(framesNeeded([3, 4, 5])).toBe(3);
  expect(framesNeeded([3, 3, 5, 5, 5])).toBe(8);
  expect(framesNeeded([])).toBe(0);
});

test('an alphabet with repeats or a separator is refused', () => {
  expect(() => new CharacterVocabulary('AAB')).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
  expect(() => new CharacterVocabulary('A|B')).toThrow(expect.objectContaining({ code: 'HK_ARGUMENT' }));
});
