/**
 * Transcripts as CTC targets: letters, an apostrophe and `|` after every word, as fairseq's `.ltr` files write them
 * (examples/wav2vec, "H E L L O | W O R L D |"). Index 0 is the CTC blank.
 */
import { HubertkitError } from '../errors';

export const BLANK = 0;
const WORD_END = '|';

/**
 * A transcript as it is written becomes what is learnt: accents stripped (NFKD), upper case, typographic apostrophes made
 * plain, dashes, slashes and underscores made spaces, apostrophes that touch no letter dropped, all other punctuation dropped,
 * white space collapsed. Digits and letters of other scripts stay; {@link CharacterVocabulary.encode} reports them.
 */
export function normaliseTranscript(text: string): string {
  return text
    .normalize('NFKD')
    .replace(/\p{M}/gu, '')
    .replace(/[\u2018\u2019\u02BC\u00B4`]/g, "'")
    .toUpperCase()
    .replace(/[\p{Pd}/_]/gu, ' ')
    .replace(/[^\p{L}\p{N}'\s]/gu, '')
    .replace(/(?<!\p{L})'(?!\p{L})/gu, '')
    .replace(/\s+/g, ' ')
    .trim();
}

/** Characters and their CTC indices: 0 blank, 1 `|`, then the letters in the order given. */
export class CharacterVocabulary {
  /** Symbol of each index; `<blank>` at 0. */
  readonly symbols: readonly string[];
  private readonly indices = new Map<string, number>();

  constructor(letters = "'ABCDEFGHIJKLMNOPQRSTUVWXYZ") {
    const list = [...letters];
    if (list.length === 0 || new Set(list).size !== list.length || /[\s|]/.test(letters)) {
      throw new HubertkitError(
        'HK_ARGUMENT',
        `The alphabet must be distinct characters without spaces and without "|"; got ${JSON.stringify(letters)}.`,
      );
    }
    this.symbols = ['<blank>', WORD_END, ...list];
    for (let i = 1; i < this.symbols.length; i++) this.indices.set(this.symbols[i], i);
  }

  get size(): number {
    return this.symbols.length;
  }

  /** Targets of a normalised transcript (a `|` after every word) and the characters that the alphabet lacks. */
  encode(text: string): { targets: Int32Array; missing: string[] } {
    const targets: number[] = [];
    const missing: string[] = [];
    for (const word of text.split(' ')) {
      let written = 0;
      for (const character of word) {
        const index = this.indices.get(character);
        if (index === undefined) missing.push(character);
        else {
          targets.push(index);
          written++;
        }
      }
      if (written > 0) targets.push(1);
    }
    return { targets: Int32Array.from(targets), missing };
  }

  /** Greedy CTC decoding of a best path: repeats merged, blanks dropped, `|` made a space. */
  decodePath(path: ArrayLike<number>, frames = path.length): string {
    let text = '';
    let previous = BLANK;
    for (let t = 0; t < frames; t++) {
      const index = path[t];
      if (index !== previous && index !== BLANK) text += index === 1 ? ' ' : (this.symbols[index] ?? '');
      previous = index;
    }
    return text.replace(/ +/g, ' ').trim();
  }

  /** The text of a target sequence. */
  decodeTargets(targets: ArrayLike<number>): string {
    return Array.from(targets, (index) => (index === 1 ? ' ' : (this.symbols[index] ?? '')))
      .join('')
      .trim();
  }
}

/** Frames that CTC needs for a target sequence: one each, and a blank between equal neighbours (Graves 2006, section 3). */
export function framesNeeded(targets: ArrayLike<number>): number {
  let needed = targets.length;
  for (let i = 1; i < targets.length; i++) if (targets[i] === targets[i - 1]) needed++;
  return needed;
}
