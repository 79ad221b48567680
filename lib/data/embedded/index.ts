export { channelRanges, drawChannel } from './channel';
export { type EmbeddedCorpus, type EmbeddedCorpusOptions, makeEmbeddedCorpus, type SplitSummary } from './corpus';
export { drawSentence, drawSentenceOf, type Sentence, type Split, splitOf, vocabulary } from './grammar';
export { type Speaker, speakers } from './speakers';
