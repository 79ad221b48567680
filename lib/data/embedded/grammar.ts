/**
 * The sentences of the embedded corpus: a small grammar over some 700 words, made to reach every phone of American English often
 * and in many contexts. A sentence is drawn by expanding `{slots}`; what a slot expands to may have slots of its own.
 */
import { hashText, type Philox } from '../philox';

/** What each slot may become. Lower case; every token is one word of the transcript. */
const slots: Record<string, string[]> = {
  name: words(`anna ben clara david ella frank grace henry isabel jack kate leo martha nathan olive peter rachel
    simon thomas victor walter joyce george charlotte roy julian beth arthur ruth hugh zoe vivian edith oscar`),
  place: words(`the kitchen,the garden,the market,the station,the harbor,the village,the valley,the bridge,the river,
    the mountain,the school,the library,the office,the garage,the forest,the museum,the theater,the church,the castle,
    the farm,the island,the airport,the bakery,the hospital,the factory,the courtyard,the playground,the lighthouse,
    london,boston,chicago,paris,dublin,oxford,asia,europe`),
  object:
    words(`book chair table lamp letter hammer basket bottle camera candle carpet coat cup door drum engine feather
    flag fork glove guitar hat jar jewel jug kettle key knife ladder map mirror mug needle newspaper pencil piano
    picture pillow plate purse ring rope saw scarf shovel spoon stool suitcase sword toy trumpet umbrella vase violin
    watch wheel whistle box coin toolbox treasure shoe towel oven`),
  objects: words(`books chairs lamps letters baskets bottles candles coats cups doors drums feathers flags gloves jars
    keys knives maps mirrors needles pencils pictures plates rings ropes shoes spoons stones toys wheels tickets
    shirts boxes coins jewels windows boards noises pages oysters cushions`),
  food: words(`apple bread butter cheese chicken soup rice honey garlic pepper ginger onion fish cake pudding sausage
    yogurt lemon orange melon mushroom salad pasta milk coffee tea juice chocolate`),
  animal: words(`dog cat horse fox mouse owl goat sheep tiger rabbit pigeon donkey zebra camel eagle goose turtle spider
    whale monkey frog snake pony lion`),
  animals: words(`dogs cats horses foxes mice owls goats sheep tigers rabbits pigeons donkeys zebras camels eagles geese
    turtles spiders whales monkeys frogs snakes ponies lions`),
  person: words(`teacher doctor farmer sailor painter singer driver baker soldier lawyer nurse judge pilot student
    neighbor father mother brother sister cousin uncle aunt boy girl child king queen captain thief engineer author
    manager plumber stranger`),
  people: words(`teachers doctors farmers sailors painters singers drivers soldiers lawyers nurses judges students
    neighbors brothers sisters cousins boys girls children friends guests players workers tourists`),
  adjective: words(`old young tall short heavy light bright dark quiet noisy happy angry lazy busy clever foolish gentle
    strange famous ordinary brave calm cheap costly clumsy curious eager empty enormous fragile fresh funny graceful
    grumpy huge hungry jealous jolly kind little lucky narrow polite proud rough rusty shiny shy silly simple smooth
    soft sour spoiled steep thick thin tiny tired useless usual vague warm weary wild wise worthy yellow green blue red
    purple white black brown gray golden silver wooden broken royal loyal moist pleasant unusual casual`),
  adverb: words(`quickly slowly quietly loudly carefully gladly rarely often always never suddenly nearly usually
    calmly proudly kindly boldly roughly smoothly eagerly gently wisely badly finally probably`),
  anyTime:
    words(`today,this morning,on monday,on thursday,on saturday,in june,in july,in october,in the spring,after lunch,
    before dinner,at midnight,at noon,during the storm,for an hour,all afternoon,once again,every evening`),
  past: ['{anyTime}', '{anyTime}', ...words('yesterday,last night,last winter,two weeks ago,long ago')],
  future: ['{anyTime}', '{anyTime}', ...words('tomorrow,next year,one day,very soon')],
  took: words(`found lost took bought sold made broke fixed carried dropped pushed pulled cleaned painted washed moved
    hid showed borrowed brought caught chose touched measured noticed enjoyed destroyed remembered forgot needed
    wanted collected polished threw wrapped grabbed shook stole drew`),
  take: words(`find lose take buy sell make break fix carry drop push pull clean paint wash move hide show borrow bring
    catch choose touch measure notice enjoy destroy remember forget need want collect polish throw wrap grab shake
    steal draw`),
  taking: words(`finding losing taking buying selling making breaking fixing carrying pushing pulling cleaning painting
    washing moving hiding showing choosing measuring enjoying collecting wrapping`),
  went: words(`walked ran rode drove jumped climbed crawled danced sailed flew hurried wandered marched skated swam
    traveled rushed returned`),
  go: words(`walk run ride drive jump climb crawl dance sail fly hurry wander march skate swim travel rush return`),
  said: words(`said thought hoped believed knew guessed heard argued explained promised imagined shouted whispered
    answered wrote admitted`),
  weather: words(`rain snow wind fog thunder sunshine frost hail mist smoke`),
  weatherDid: words(`came fell stopped faded vanished arrived spread returned`),
  direction: words(`north south west east`),
  part: words(`hand foot arm leg knee nose mouth tooth ear eye shoulder finger thumb back neck voice`),
  unit: words(`two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen
    eighteen nineteen`),
  ten: words(`twenty thirty forty fifty sixty seventy eighty ninety`),
  digit: words(`one two three four five six seven eight nine`),
  number: [
    '{unit}',
    '{unit}',
    '{ten}',
    '{ten} {digit}',
    '{ten} {digit}',
    'a hundred',
    '{digit} hundred',
    '{unit} thousand',
  ],
  on: words(`on under behind beside near above below beneath beyond against around inside`),
  toward: words(`to toward through past across into`),
  aux: words(`could,should,would,might,must,will,can,did,couldn't,shouldn't,wouldn't,won't,can't,didn't`),
  pronoun: words(`i you he she we they`),
  possessive: words(`my your his her our their {name}'s the_{person}'s`).map((w) => w.replace('_', ' ')),
  thing: [
    'the {object}',
    'the {adjective} {object}',
    'a {object}',
    'a {adjective} {object}',
    '{possessive} {object}',
    '{possessive} {adjective} {object}',
    '{number} {objects}',
    'these {objects}',
    'those {adjective} {objects}',
    'the {food}',
    'some {adjective} {food}',
  ],
  someone: [
    '{name}',
    '{name}',
    '{pronoun}',
    'the {person}',
    'the {adjective} {person}',
    'a {person}',
    '{possessive} {person}',
    'the {people}',
    '{number} {people}',
    'a {adjective} {animal}',
    'the {animals}',
  ],
  spot: ['{on} {place}', '{on} the {object}', 'at {place}', 'in {place}', '{on} {possessive} {object}'],
};

/** Statements end with a full stop, questions with a question mark (it changes the melody); a comma is a pause. */
const templates = [
  '{someone} {took} {thing}.',
  '{someone} {took} {thing} {spot}.',
  '{someone} {adverb} {took} {thing} {past}.',
  '{past}, {someone} {took} {thing}.',
  '{someone} {went} {toward} {place} with {thing}.',
  '{someone} {adverb} {went} {toward} {place}.',
  '{someone} {went} {toward} {place}, but {name} stayed {spot}.',
  '{someone} {aux} {take} {thing} {future}.',
  '{pronoun} {aux} {go} {toward} {place} {future}.',
  'the {adjective} {animal} and the {animal} {went} {toward} {place}.',
  '{number} {animals} {went} {toward} {place} {past}.',
  '{someone} {said} that {someone} {took} {thing}.',
  '{name} {said} the {person} {aux} {take} {thing}.',
  'there were {number} {objects} and {number} {objects} {spot}.',
  'there was a {adjective} {object} {spot}.',
  'where did {someone} {take} {thing}?',
  'why {aux} {name} {take} {thing} {future}?',
  'who {took} {possessive} {adjective} {object}?',
  'how many {objects} did {name} {take} {past}?',
  'which {object} is {adjective} enough for {name}?',
  "isn't {possessive} {object} too {adjective} for the {person}?",
  '{adverb} {take} {thing}, {name}.',
  'please {take} {thing} and {take} {thing}.',
  "don't {take} {possessive} {object} {future}.",
  '{taking} {thing} is a {adjective} job.',
  '{someone} {took} {thing} without {taking} {thing}.',
  'after the {weather}, {someone} {went} {toward} {place}.',
  'the {weather} {weatherDid} {past}, and {someone} {took} {thing}.',
  '{weather} and {weather} {weatherDid} {adverb} {on} {place}.',
  '{name} and {name} live {direction} of {place}.',
  '{possessive} {part} is {adjective}, so {pronoun} {aux} {go} {adverb}.',
  'the {person} with the {adjective} {part} {took} {thing}.',
  "it's a {adjective} {object}, and it was {adverb} {adjective}.",
  "{name}'s {person} paid {number} dollars for {thing}.",
  'every {person} {aux} {take} {number} {objects}.',
  'the {food} and the {food} were {adjective} and {adjective}.',
  "we'll {take} the {food} with {adjective} {food} {future}.",
  "they've had {number} {objects} {spot}.",
  'both {people} {said} it was {adjective}.',
  '{pronoun} {took} {thing} because the {object} was {adjective}.',
  'if {someone} {went} {toward} {place}, {pronoun} {aux} {take} {thing}.',
  '{someone} {aux} {adverb} {take} a {adjective} {animal}.',
];

function words(list: string): string[] {
  return list
    .split(list.includes(',') ? ',' : /\s+/)
    .map((word) => word.trim().replace(/\s+/g, ' '))
    .filter((word) => word !== '');
}

function expand(text: string, random: Philox): string {
  return text.replace(/\{(\w+)\}/g, (_, slot: string) => {
    const choices = slots[slot];
    return expand(choices[random.below(choices.length)], random);
  });
}

/** All words that a sentence can have, in alphabetical order; possessives are not counted. */
export function vocabulary(): string[] {
  const all = [...Object.values(slots).flat(), ...templates, 'an'].join(' ').replace(/\{\w+\}('s)?/g, ' ');
  const found = all.match(/[a-z]+(?:'[a-z]+)?/g) ?? [];
  return [...new Set(found)].sort();
}

/** A sentence as the synthesiser reads it, and as a transcript: upper-case words with single spaces between. */
export interface Sentence {
  text: string;
  transcript: string;
}

const shortest = 4;
const longest = 14;

/** The next sentence of 4 to 14 words. */
export function drawSentence(random: Philox): Sentence {
  for (;;) {
    const text = expand(templates[random.below(templates.length)], random).replace(/\ba (?=[aeio]|u(?!s[eu]))/g, 'an ');
    const transcript = text.replace(/[.,?]/g, '').toUpperCase();
    const length = transcript.split(' ').length;
    if (length >= shortest && length <= longest) return { text, transcript };
  }
}

export type Split = 'train' | 'valid' | 'test';

/**
 * The split that a sentence belongs to, by a hash of its words: 80, 8 and 12 % of all sentences. So no sentence is ever in two
 * splits, whatever the seed and the size of the corpus.
 */
export function splitOf(sentence: Sentence): Split {
  const share = hashText(sentence.transcript) % 100;
  return share < 80 ? 'train' : share < 88 ? 'valid' : 'test';
}

/** The next sentence of a split. */
export function drawSentenceOf(split: Split, random: Philox): Sentence {
  for (;;) {
    const sentence = drawSentence(random);
    if (splitOf(sentence) === split) return sentence;
  }
}
