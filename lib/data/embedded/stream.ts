/**
 * A stream is what one speaker says in one split. Its sentences, its channels and where it stops depend on nothing outside of it,
 * so that streams can be made in any order by any number of processes and the corpus is the same.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { wrapped } from '../../binding';
import type { NativeSpeech } from '../../binding/speech';
import { Philox } from '../philox';
import { sampleRate } from '../types';
import { drawChannel } from './channel';
import { drawSentenceOf, type Sentence, type Split } from './grammar';
import { type Speaker, speakers } from './speakers';

export interface Stream {
  speaker: Speaker;
  split: Split;
  /** How much to say; the stream stops at the sentence that comes nearest. */
  seconds: number;
}

/** One utterance on disk: times in seconds. */
export interface Recording {
  id: string;
  speaker: string;
  split: Split;
  seconds: number;
  transcript: string;
  phones: [label: string, start: number, end: number][];
  words: [label: string, start: number, end: number][];
}

export interface StreamOptions {
  /** The corpus folder; files go to `<split>/<speaker>/`. */
  folder: string;
  seed: number;
  clean: boolean;
}

const splits: Split[] = ['train', 'valid', 'test'];
/** Room for the utterances of one stream in the numbering of all: more than a year of speech. */
const streamSize = 2 ** 24;

/** Says the stream's sentences, writes the audio files and hands over each recording. */
export async function renderStream(
  stream: Stream,
  options: StreamOptions,
  onRecording: (recording: Recording) => Promise<void>,
): Promise<void> {
  const { speaker, split } = stream;
  const number = 1 + splits.indexOf(split) * speakers.length + speakers.findIndex((s) => s.name === speaker.name);
  const sentences = new Philox(options.seed, number * streamSize);
  fs.mkdirSync(path.join(options.folder, split, speaker.name), { recursive: true });
  for (let index = 1, seconds = 0; index === 1 || seconds + seconds / (index - 1) / 2 < stream.seconds; index++) {
    const sentence = drawSentenceOf(split, sentences);
    const id = `${split}/${speaker.name}/${speaker.name}-${String(index).padStart(4, '0')}`;
    const channel = options.clean ? null : drawChannel(options.seed, number * streamSize + index);
    const file = path.join(options.folder, `${id}.flac`);
    const speech = wrapped((n) => n.renderSpeech({ ...speaker, text: sentence.text }, channel, file));
    const recording = describe(id, stream, sentence, speech);
    seconds += recording.seconds;
    await onRecording(recording);
  }
}

/** The alignment of an utterance with times to 1/100 of a millisecond. */
function describe(id: string, { speaker, split }: Stream, { transcript }: Sentence, speech: NativeSpeech): Recording {
  const round = (seconds: number) => Math.round(seconds * 1e5) / 1e5;
  const phoneStarts = [0, ...speech.phoneEnds];
  return {
    id,
    speaker: speaker.name,
    split,
    seconds: round(speech.samples / sampleRate),
    transcript,
    phones: speech.phones.map((label, i) => [label, round(phoneStarts[i]), round(speech.phoneEnds[i])]),
    words: speech.words.map((label, i) => [
      label.toLowerCase(),
      round(speech.wordStarts[i]),
      round(speech.wordEnds[i]),
    ]),
  };
}
