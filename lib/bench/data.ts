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
import { ahead } from '../train/ahead';
import { cropBuckets, microBatches } from '../train/batches';
import { type LoadedBatch, loadBatch } from '../train/updates';
import { median, round, timed } from './median';

export interface DataBenchResult {
  /** Of speech that is decoded. */
  audio_s: number;
  /** FLAC at 16 kHz -> samples, eight files at once: median seconds of the whole, and how many times as fast as it plays. */
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

/** Speech to be decoded and loaded, to be timed piece by piece. */
export interface DataWork extends AsyncDisposable {
  audioSeconds: number;
  /** Decodes all files, eight at once as the loader does. */
  decode(): Promise<void>;
  /** The same for files of 44.1 kHz, and how long those play. */
  resample(): Promise<void>;
  resampledAudioSeconds: number;
  /** Seconds of each of 40 batches (8 x 4 s): the loader alone, steps alone, steps fed by the loader; of the last the share computing. */
  loading(): Promise<{ alone: number[]; steps: number[]; fed: number[]; utilisation: number }>;
}

export interface DataBenchOptions {
  /** Of speech, default 4. */
  minutes?: number;
  /** Default: all cores. */
  threads?: number;
}

export async function dataWork(options: DataBenchOptions): Promise<DataWork> {
  const { minutes = 4, threads = os.availableParallelism() } = options;
  await wrappedAsync((n) => n.setThreads(threads));
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-data-'));
  await makeEmbeddedCorpus({ out: path.join(folder, 'corpus'), minutes, seed: 1 });
  const { utterances } = await openCorpus(`embedded:${path.join(folder, 'corpus')}`);
  const faster = await written(utterances, folder);
  return {
    audioSeconds: utterances.reduce((sum, u) => sum + u.samples / sampleRate, 0),
    decode: () => decodeAll(utterances.map((u) => u.path)),
    resample: () => decodeAll(faster.files),
    resampledAudioSeconds: faster.seconds,
    loading: () => loading(utterances),
    [Symbol.asyncDispose]: async () => fs.rmSync(folder, { recursive: true }),
  };
}

export async function benchData(options: DataBenchOptions = {}): Promise<DataBenchResult> {
  await using work = await dataWork(options);
  const times = async (piece: () => Promise<void>) => median(await timed(piece, 5, 0));
  const decode = await times(work.decode);
  const resample = await times(work.resample);
  const { alone, steps, fed, utilisation } = await work.loading();
  return {
    audio_s: round(work.audioSeconds, 1),
    decode_s: round(decode, 5),
    decode_x_real_time: Math.round(work.audioSeconds / decode),
    resample_s: round(resample, 5),
    resample_x_real_time: Math.round(work.resampledAudioSeconds / resample),
    loader_audio_s_per_s: batchRate(alone),
    step_audio_s_per_s: batchRate(steps),
    fed_audio_s_per_s: batchRate(fed),
    step_utilisation: round(utilisation, 3),
  };
}

/** As the loader reads them: the files of a batch at once. */
async function decodeAll(files: string[]): Promise<void> {
  for (let i = 0; i < files.length; i += loaded.rows)
    await Promise.all(files.slice(i, i + loaded.rows).map((file) => decodeAudio(file)));
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

/** The batches of pretraining with everything decoded anew, each read while the one before is used. */
function loader(utterances: Utterance[]): AsyncGenerator<LoadedBatch> {
  const frames = 50 * loaded.seconds;
  const labelled = utterances.map((u) => ({ utterance: u, labels: new Int32Array(frameCount(u.samples)) }));
  const long = labelled.filter(({ labels }) => labels.length >= frames);
  const order = microBatches(cropBuckets(long, frames, loaded.rows * frames), 1);
  const model = hubertConfig('nano');
  const source = { model, speech: new SpeechSource(model, 0), config: { mask: { probability: 0.8, length: 10 } } };
  const first = Array.from({ length: loaded.batches }, () => order.next().value);
  return ahead(first, (batch) => loadBatch(source, batch, 1, 0));
}

async function loading(utterances: Utterance[]) {
  await using model = HubertModel.create({ config: hubertConfig('nano'), clusters: 100, seed: 1 });
  let updates = 0;
  const train = ({ shape, input }: LoadedBatch) => {
    const update = { learningRate: 1e-4, step: ++updates, clip: 10 };
    const options = { seed: 1, draw: updates, weights: { masked: 1e-3 }, update };
    return model.pretraining({ batch: shape.batch, samples: shape.samples }).run(input, options);
  };
  const batches: LoadedBatch[] = [];
  const seconds = { alone: [] as number[], steps: [] as number[], fed: [] as number[] };
  const passed = stopwatch();
  for await (const batch of loader(utterances)) {
    batches.push(batch);
    seconds.alone.push(passed());
  }
  await train(batches[0]); // compiles
  passed();
  for (const batch of batches) {
    await train(batch);
    seconds.steps.push(passed());
  }
  let computing = 0;
  for await (const batch of loader(utterances)) {
    const waiting = passed();
    await train(batch);
    const step = passed();
    computing += step;
    seconds.fed.push(waiting + step);
  }
  return { ...seconds, utilisation: computing / sum(seconds.fed) };
}

const sum = (values: number[]) => values.reduce((a, b) => a + b, 0);

/** Audio seconds per second. */
export const batchRate = (seconds: number[]) =>
  round((loaded.rows * loaded.seconds * seconds.length) / sum(seconds), 1);

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
