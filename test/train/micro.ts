/** A corpus of generated sounds and a model that trains on it in seconds. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { PretrainOptions } from '../../lib/train/config';

/** 16-bit mono WAV at 16 kHz. */
export function writeWav(file: string, samples: Float32Array): void {
  const header = Buffer.alloc(44);
  const bytes = samples.length * 2;
  header.write('RIFF', 0);
  header.writeUInt32LE(36 + bytes, 4);
  header.write('WAVEfmt ', 8);
  header.writeUInt32LE(16, 16);
  header.writeUInt16LE(1, 20);
  header.writeUInt16LE(1, 22);
  header.writeUInt32LE(16000, 24);
  header.writeUInt32LE(32000, 28);
  header.writeUInt16LE(2, 32);
  header.writeUInt16LE(16, 34);
  header.write('data', 36);
  header.writeUInt32LE(bytes, 40);
  const data = Int16Array.from(samples, (x) => round(32767 * x));
  fs.mkdirSync(path.dirname(file), { recursive: true });
  fs.writeFileSync(file, Buffer.concat([header, Buffer.from(data.buffer)]));
}

const { floor, PI, round, sin } = Math; // looked up once: globals are slow inside jest

/** `seconds` of notes: every 100 to 300 ms another pitch of eight, with two overtones and a little noise. */
export function notes(seconds: number, seed: number): Float32Array {
  const samples = new Float32Array(round(seconds * 16000));
  let state = seed * 7919;
  const random = () => {
    state = (state * 16807 + 11) % 2147483647;
    return state / 2147483647;
  };
  let hz = 200;
  for (let i = 0, until = 0; i < samples.length; i++) {
    if (i >= until) {
      hz = 150 * 1.3 ** floor(8 * random());
      until = i + 1600 + floor(3200 * random());
    }
    const phase = (2 * PI * hz * i) / 16000;
    samples[i] = 0.2 * (sin(phase) + 0.5 * sin(2 * phase) + 0.3 * sin(3 * phase)) + 0.02 * (random() - 0.5);
  }
  return samples;
}

/** `count` utterances of 1.5 to 3.5 s in folders train/ and valid/. */
export function notesCorpus(folder: string, count: number): void {
  for (let i = 0; i < count; i++) {
    const split = i % 5 === 4 ? 'valid' : 'train';
    writeWav(path.join(folder, split, `notes-${String(i).padStart(2, '0')}.wav`), notes(1.5 + (i % 9) / 4, i + 1));
  }
}

/** Two iterations of a few updates each; dropout and LayerDrop are on. */
export function microConfig(corpus: string, out: string): PretrainOptions {
  const overrides = {
    convDim: 16,
    hiddenSize: 32,
    intermediateSize: 64,
    heads: 2,
    layers: 2,
    projectionSize: 16,
    posConvKernel: 16,
    posConvGroups: 4,
  };
  return {
    corpus: `folder:${corpus}`,
    model: { preset: 'nano', overrides },
    out,
    threads: 1,
    minSeconds: 1,
    maxSeconds: 3,
    batchSeconds: 4,
    updateSeconds: 8,
    dropouts: { hidden: 0.1, attention: 0.1 },
    layerDrop: 0.2,
    checkpoints: { every: 5, keep: 3 },
    logEvery: 2,
    validateEvery: 6,
    kmeans: { initialisations: 2, maxIterations: 10 },
    schedule: [
      { teacher: 'mfcc', clusters: 12, updates: 14 },
      { teacher: { layer: 1 }, clusters: 10, updates: 8, init: 'continue-reset-head' },
    ],
  };
}
