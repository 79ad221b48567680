/**
 * A language of tones: each letter is a chord of its own, words are letters with pauses between. It can be learnt in seconds,
 * and its phone and word alignments are exact.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { Philox } from '../../lib/data/philox';
import { wav } from '../data/sounds';

const letters = 'ABCDEF';
const rate = 16000;

export interface ToneCorpusOptions {
  train: number;
  valid: number;
  test: number;
}

/** Writes manifest.tsv, alignments.jsonl and the WAV files; returns the folder. */
export function writeToneCorpus(folder: string, sizes: ToneCorpusOptions): string {
  fs.mkdirSync(folder, { recursive: true });
  const manifest = ['path\tspeaker\tduration\ttranscript\tsplit'];
  const alignments: string[] = [];
  let number = 0;
  for (const [split, count] of Object.entries(sizes)) {
    for (let i = 0; i < count; i++) {
      const id = `${split}-${String(i).padStart(3, '0')}`;
      const random = new Philox(7, number++);
      const { samples, transcript, phones, spoken } = sentence(random);
      fs.writeFileSync(path.join(folder, `${id}.wav`), wav(samples));
      manifest.push(`${id}.wav\t${split}-${i % 3}\t${samples.length / rate}\t${transcript}\t${split}`);
      alignments.push(JSON.stringify({ id, phones, words: spoken }));
    }
  }
  fs.writeFileSync(path.join(folder, 'manifest.tsv'), `${manifest.join('\n')}\n`);
  fs.writeFileSync(path.join(folder, 'alignments.jsonl'), `${alignments.join('\n')}\n`);
  return folder;
}

function sentence(random: Philox) {
  const words = Array.from({ length: 2 + random.below(2) }, () =>
    Array.from({ length: 1 + random.below(3) }, () => letters[random.below(letters.length)]).join(''),
  );
  const phones: [string, number, number][] = [];
  const spoken: [string, number, number][] = [];
  const pieces: Float32Array[] = [];
  let at = 0;
  const add = (label: string, seconds: number, tone: (t: number) => number) => {
    const count = Math.round(seconds * rate);
    pieces.push(Float32Array.from({ length: count }, (_, i) => tone(i / rate) + 0.02 * (random.uniform() - 0.5)));
    phones.push([label, at / rate, (at + count) / rate]);
    at += count;
  };
  const pitch = 0.95 + 0.1 * random.uniform();
  add('sil', 0.1, () => 0);
  for (const word of words) {
    const start = at / rate;
    for (const letter of word) {
      const hz = pitch * 250 * 1.5 ** letters.indexOf(letter);
      add(
        letter,
        0.1 + 0.06 * random.uniform(),
        (t) => 0.3 * Math.sin(2 * Math.PI * hz * t) + 0.1 * Math.sin(2 * Math.PI * 2 * hz * t),
      );
      add('gap', 0.04, () => 0);
    }
    spoken.push([word, start, at / rate]);
    add('sil', 0.1, () => 0);
  }
  const samples = new Float32Array(at);
  let start = 0;
  for (const piece of pieces) {
    samples.set(piece, start);
    start += piece.length;
  }
  return { samples, transcript: words.join(' ').toLowerCase(), phones, spoken };
}
