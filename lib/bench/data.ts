/**
 * Times what stands before a training step, on a few minutes of the embedded corpus: decoding FLAC, decoding and resampling it, and the
 * loader beside the fastest model there is.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { SpeechSource } from '../analysis/speech';
import { wrapped, wrappedAsync } from '../binding';
import { decodeAudio } from '../data/audio';
import { openCorpus } from '../data/corpus';
import { makeEmbeddedCorpus } from '../data/embedded';
import { frameCount, sampleRate, type Utterance } from '../data/types';
import { hubertConfig } from '../nn/config';
import { HubertModel } from '../nn/model';
import type { MaskedInput } from '../nn/steps';
import { ahead } from '../train/ahead';
import { cropBuckets, labelBatch, type MicroBatch, microBatches } from '../train/batches';
import { pretrainingMasks } from '../train/masks';
import { type Shape, speechBatch } from '../train/speech';
import { median, round } from './median';

export interface DataBenchResult {
  /** Of speech that is decoded. */
  audio_s: number;
  /** FLAC at 16 kHz -> samples, one file at a time: median seconds of the whole, and how many times as fast as it plays. */
  decode_s: number;
  decode_x_real_time: number;
  /** FLAC at 44.1 kHz -> 16 kHz. */
  resample_s: number;
  resample_x_real_time: number;
  /** Batches alone, every utterance decoded anew. */
  loader_audio_s_per_s: number;
  /** Steps of `nano` alone (8 x 4 s), and fed by that loader. */
  step_audio_s_per_s: number;
  fed_audio_s_per_s: number;
  /** Share of the time in which a fed step computes and does not wait for its batch. */
  step_utilisation: number;
}

export async function benchData(options: { minutes?: number; threads?: number } = {}): Promise<DataBenchResult> {
  const { minutes = 4, threads = os.availableParallelism() } = options;
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-data-'));
  try {
    await wrappedAsync((n) => n.setThreads(threads));
    await makeEmbeddedCorpus({ out: path.join(folder, 'corpus'), minutes, seed: 1 });
    const { utterances } = await openCorpus(`embedded:${path.join(folder, 'corpus')}`);
    const seconds = utterances.reduce((sum, u) => sum + u.samples / sampleRate, 0);
    const decode = await decodingSeconds(utterances.map((u) => u.path));
    const faster = await written(utterances, folder);
    const resample = await decodingSeconds(faster.files);
    return {
      audio_s: round(seconds, 1),
      decode_s: round(decode, 5),
      decode_x_real_time: Math.round(seconds / decode),
      resample_s: round(resample, 5),
      resample_x_real_time: Math.round(faster.seconds / resample),
      ...(await loading(utterances)),
    };
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}

/** Median seconds of decoding all files one after the other. */
async function decodingSeconds(files: string[]): Promise<number> {
  const rounds: number[] = [];
  for (let round = 0; round < 5; round++) {
    const begin = performance.now();
    for (const file of files) await decodeAudio(file);
    rounds.push((performance.now() - begin) / 1000);
  }
  return median(rounds.sort((a, b) => a - b));
}

/** The same samples in files that say 44.1 kHz, and how long those play. */
async function written(utterances: Utterance[], folder: string): Promise<{ files: string[]; seconds: number }> {
  const hz = 44100;
  const files: string[] = [];
  for (const [i, { path: source }] of utterances.entries()) {
    const file = path.join(folder, `${i}.flac`);
    const { samples } = await decodeAudio(source);
    wrapped((n) => n.writeFlac(file, samples, hz));
    files.push(file);
  }
  return { files, seconds: utterances.reduce((sum, u) => sum + u.samples / hz, 0) };
}

const loaded = { rows: 8, seconds: 4, batches: 40 };

interface Batch extends Shape {
  input: MaskedInput;
}

/** The batches of pretraining with everything decoded anew, each read while the one before is used. */
function loader(utterances: Utterance[]): AsyncGenerator<Batch> {
  const frames = 50 * loaded.seconds;
  const labelled = utterances.map((u) => ({ utterance: u, labels: new Int32Array(frameCount(u.samples)) }));
  const long = labelled.filter(({ labels }) => labels.length >= frames);
  const order = microBatches(cropBuckets(long, frames, loaded.rows * frames), 1);
  const source = new SpeechSource(hubertConfig('nano'), 0);
  const load = async (batch: MicroBatch) => {
    const speech = await speechBatch(source, 'waveform', batch.crops, batch.shape);
    const mask = pretrainingMasks(batch.shape.batch, frames, { probability: 0.8, length: 10 }, 1, 0);
    return { ...batch.shape, input: { ...speech, labels: labelBatch(batch), mask } };
  };
  const first = Array.from({ length: loaded.batches }, () => order.next().value);
  return ahead(first, load);
}

/** The loader alone, steps alone, and both together. */
async function loading(utterances: Utterance[]) {
  await using model = HubertModel.create({ config: hubertConfig('nano'), clusters: 100, seed: 1 });
  let updates = 0;
  const train = ({ batch, samples, input }: Batch) => {
    const update = { learningRate: 1e-4, step: ++updates, clip: 10 };
    return model
      .pretraining({ batch, samples })
      .run(input, { seed: 1, draw: updates, weights: { masked: 1e-3 }, update });
  };
  const batches: Batch[] = [];
  const passed = stopwatch();
  for await (const batch of loader(utterances)) batches.push(batch);
  const alone = passed();
  await train(batches[0]); // compiles
  passed();
  for (const batch of batches) await train(batch);
  const steps = passed();
  let [waiting, computing] = [0, 0];
  for await (const batch of loader(utterances)) {
    waiting += passed();
    await train(batch);
    computing += passed();
  }
  const rate = (seconds: number) => round((loaded.batches * loaded.rows * loaded.seconds) / seconds, 1);
  return {
    loader_audio_s_per_s: rate(alone),
    step_audio_s_per_s: rate(steps),
    fed_audio_s_per_s: rate(waiting + computing),
    step_utilisation: round(computing / (waiting + computing), 3),
  };
}

/** Seconds since the last call. */
function stopwatch(): () => number {
  let begin = performance.now();
  return () => {
    const now = performance.now();
    const seconds = (now - begin) / 1000;
    begin = now;
    return seconds;
  };
}
