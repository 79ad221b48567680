/**
 * Decoding with a lexicon: the best CTC path among those that spell words of a list, each word weighed by how often the list has it
 * (a unigram language model). What lexicon decoding of wav2vec 2.0 and HuBERT does (2006.11477, section 4.4), searched exactly: a
 * token passes through the trie of all words (Viterbi), no beam.
 */
import { BLANK, type CharacterVocabulary } from './characters';

/** Weight of the words' frequencies: of 0, .5, 1, 1.5 and 2 the best on the dev split of the embedded corpus. */
export const lexiconWordWeight = 0.5;

const none = -1;

/** The words of a set of transcripts as a trie of CTC symbols; the last symbol of each word is its `|`. */
export class Lexicon {
  /** In alphabetical order. */
  readonly words: readonly string[];
  /** Of each node of the trie. Node 0 is the start of every word. */
  private readonly symbols: Int32Array;
  private readonly parents: Int32Array;
  /** Nodes that end a word, in the order of `words`, and ln of that word's share of all words. */
  private readonly ends: Int32Array;
  private readonly logShares: Float64Array;

  /** `texts`: normalised transcripts, words separated by a space. */
  constructor(
    texts: Iterable<string>,
    private readonly vocabulary: CharacterVocabulary,
  ) {
    const counts = new Map<string, number>();
    const spells = (word: string) => vocabulary.encode(word).targets.length > 0;
    for (const text of texts) {
      for (const word of text.split(' ')) if (spells(word)) counts.set(word, (counts.get(word) ?? 0) + 1);
    }
    this.words = [...counts.keys()].sort();
    const total = this.words.reduce((sum, word) => sum + counts.get(word)!, 0);
    this.logShares = Float64Array.from(this.words, (word) => Math.log(counts.get(word)! / total));
    const symbols = [BLANK];
    const parents = [none];
    const children = [new Map<number, number>()];
    const child = (node: number, symbol: number): number => {
      const known = children[node].get(symbol);
      if (known !== undefined) return known;
      children[node].set(symbol, symbols.length);
      symbols.push(symbol);
      parents.push(node);
      return children.push(new Map()) - 1;
    };
    this.ends = Int32Array.from(this.words, (word) => vocabulary.encode(word).targets.reduce(child, 0));
    this.symbols = Int32Array.from(symbols);
    this.parents = Int32Array.from(parents);
  }

  /**
   * The words of the best path. `logits` f32 [frames, V] of the CTC head (normalised or not); `wordWeight`: what a word's ln share
   * is multiplied with before it is added to the score of the path (0: all words are alike).
   */
  decode(logits: Float32Array, wordWeight = lexiconWordWeight): string {
    const { symbols, parents } = this;
    const size = this.vocabulary.size;
    const frames = logits.length / size;
    const price = new Float64Array(symbols.length);
    this.ends.forEach((node, word) => {
      price[node] = wordWeight * this.logShares[word];
    });
    let now = new Front(symbols.length);
    let next = new Front(symbols.length);
    now.blank[0] = 0;
    // The history that begins at each frame: the best word that has ended by then, and the history it came after.
    const words = new Int32Array(frames + 1);
    const histories = new Int32Array(frames + 1);
    for (let t = 0; t < frames; t++) {
      const scores = logits.subarray(t * size, (t + 1) * size);
      const ended = this.bestEnd(now);
      words[t] = ended.word;
      histories[t] = ended.history;
      next.blank[0] = now.blank[0] + scores[BLANK];
      for (let n = 1; n < symbols.length; n++) {
        const parent = parents[n];
        let best = now.symbol[n];
        let history = now.symbolHistory[n];
        let entering = now.blank[parent];
        let entered = now.blankHistory[parent];
        if (parent === 0 && ended.score > entering) {
          entering = ended.score;
          entered = t;
        } else if (symbols[parent] !== symbols[n] && now.symbol[parent] > entering) {
          entering = now.symbol[parent];
          entered = now.symbolHistory[parent];
        }
        if (entering + price[n] > best) {
          best = entering + price[n];
          history = entered;
        }
        next.symbol[n] = best + scores[symbols[n]];
        next.symbolHistory[n] = history;
        const wasBlank = now.blank[n] >= now.symbol[n];
        next.blank[n] = (wasBlank ? now.blank[n] : now.symbol[n]) + scores[BLANK];
        next.blankHistory[n] = wasBlank ? now.blankHistory[n] : now.symbolHistory[n];
      }
      [now, next] = [next, now];
    }
    const end = this.bestEnd(now);
    words[frames] = end.word;
    histories[frames] = end.history;
    const spelt: string[] = [];
    for (let at = end.score > now.blank[0] ? frames : none; at !== none; at = histories[at])
      spelt.push(this.words[words[at]]);
    return spelt.reverse().join(' ');
  }

  /** The best state in which a word has just ended. */
  private bestEnd(front: Front): { score: number; word: number; history: number } {
    let score = -Infinity;
    let word = none;
    let history = none;
    for (let w = 0; w < this.ends.length; w++) {
      const node = this.ends[w];
      const wasBlank = front.blank[node] >= front.symbol[node];
      const own = wasBlank ? front.blank[node] : front.symbol[node];
      if (own > score) {
        score = own;
        word = w;
        history = wasBlank ? front.blankHistory[node] : front.symbolHistory[node];
      }
    }
    return { score, word, history };
  }
}

/** At one frame, for each node: the score of being at its symbol or at a blank after it, and the frame its history begins at. */
class Front {
  readonly symbol: Float64Array;
  readonly blank: Float64Array;
  readonly symbolHistory: Int32Array;
  readonly blankHistory: Int32Array;

  constructor(nodes: number) {
    this.symbol = new Float64Array(nodes).fill(-Infinity);
    this.blank = new Float64Array(nodes).fill(-Infinity);
    this.symbolHistory = new Int32Array(nodes).fill(none);
    this.blankHistory = new Int32Array(nodes).fill(none);
  }
}
