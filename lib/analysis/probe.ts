/**
 * Linear probe: softmax regression on frozen features (Oord et al. 2018, 1807.03748, section 3.1; the "linear separability" of
 * a layer) for phones, words or speakers of frames or of mean-pooled segments.
 */
import { Philox } from '../data/philox';
import { HubertkitError } from '../errors';
import { Graph, type Initialiser } from '../nn/graph';
import { crossEntropy, linear } from '../nn/ops';
import type { Program } from '../nn/program';
import { ParameterStore } from '../nn/store';
import { refuseWhenAborted } from './interrupt';

/** Frames with labels. */
export interface LabelledFrames {
  /** f32 [frames, dimensions], row-major. */
  features: Float32Array;
  /** One label in 0..classes-1 for each frame; negative: the frame is left out. */
  labels: Int32Array;
}

export interface ProbeOptions {
  classes: number;
  /** Passes over the training frames. Default 12. */
  epochs?: number;
  /** Peak of Adam's learning rate, decaying linearly to 0. Default 0.01. */
  learningRate?: number;
  /** Of the order of the frames. Default 1. */
  seed?: number;
  signal?: AbortSignal;
}

export interface ProbeResult {
  /** Share of the test frames whose most likely class is the label. */
  accuracy: number;
  trainAccuracy: number;
  /** Share of the test frames that have the most frequent training label: what knowing nothing gives. */
  majorityAccuracy: number;
  testFrames: number;
}

const batchRows = 512;

/**
 * Fits on `train`, measures on `test`. Features are standardised with the mean and deviation of the training frames, weights
 * begin at zero, so the result depends on the data, the options and the order alone.
 *
 * @throws HK_SHAPE when frames and labels do not fit, HK_ARGUMENT when a side has no labelled frame
 */
export async function linearProbe(train: LabelledFrames, test: LabelledFrames, o: ProbeOptions): Promise<ProbeResult> {
  const dimensions = checkedDimensions(train, test, o.classes);
  const { epochs = 12, learningRate = 0.01, seed = 1 } = o;
  const rows = Int32Array.from(labelledRows(train.labels));
  const scaling = standardisation(train.features, rows, dimensions);
  await using regression = await Regression.create(dimensions, o.classes);
  const steps = Math.ceil(rows.length / batchRows);
  const batch = new Batch(dimensions, scaling);
  let correct = 0;
  for (let epoch = 0, step = 1; epoch < epochs; epoch++) {
    refuseWhenAborted(o.signal, 'The probe');
    new Philox(seed, epoch).shuffle(rows);
    correct = 0;
    for (let start = 0; start < rows.length; start += batchRows, step++) {
      const count = batch.fill(train, rows, start);
      const rate = learningRate * (1 - (step - 1) / (steps * epochs));
      correct += await regression.learn(batch, count, rate, step);
    }
  }
  const testRows = Int32Array.from(labelledRows(test.labels));
  let testCorrect = 0;
  for (let start = 0; start < testRows.length; start += batchRows) {
    batch.fill(test, testRows, start);
    testCorrect += await regression.correct(batch);
  }
  return {
    accuracy: testCorrect / testRows.length,
    trainAccuracy: correct / rows.length,
    majorityAccuracy: majority(train.labels, test.labels, o.classes),
    testFrames: testRows.length,
  };
}

function checkedDimensions(train: LabelledFrames, test: LabelledFrames, classes: number): number {
  for (const [name, { labels }] of Object.entries({ train, test })) {
    if (!labels.some((label) => label >= 0)) {
      throw new HubertkitError('HK_ARGUMENT', `The probe has no labelled ${name} frame.`);
    }
    const largest = labels.reduce((a, b) => Math.max(a, b), 0);
    if (largest >= classes) {
      throw new HubertkitError('HK_ARGUMENT', `The probe has ${classes} classes, but a ${name} label is ${largest}.`);
    }
  }
  const dimensions = train.features.length / train.labels.length;
  if (!Number.isInteger(dimensions) || test.features.length !== dimensions * test.labels.length) {
    throw new HubertkitError(
      'HK_SHAPE',
      `The probe needs one row of features for each label: train ${train.features.length} values and ${train.labels.length} labels, test ${test.features.length} and ${test.labels.length}.`,
    );
  }
  return dimensions;
}

function* labelledRows(labels: Int32Array): Generator<number> {
  for (let i = 0; i < labels.length; i++) if (labels[i] >= 0) yield i;
}

interface Standardisation {
  mean: Float32Array;
  scale: Float32Array;
}

function standardisation(features: Float32Array, rows: Int32Array, dimensions: number): Standardisation {
  const sums = new Float64Array(dimensions);
  const squares = new Float64Array(dimensions);
  for (const row of rows) for (let d = 0; d < dimensions; d++) sums[d] += features[row * dimensions + d];
  const mean = sums.map((sum) => sum / rows.length);
  for (const row of rows) {
    for (let d = 0; d < dimensions; d++) squares[d] += (features[row * dimensions + d] - mean[d]) ** 2;
  }
  return {
    mean: Float32Array.from(mean),
    scale: Float32Array.from(squares, (square) => 1 / Math.sqrt(square / rows.length + 1e-10)),
  };
}

/** The feeds of one step: standardised rows, the rest of the batch unlabelled. */
class Batch {
  readonly features: Float32Array;
  readonly labels = new Int32Array(batchRows);

  constructor(
    private readonly dimensions: number,
    private readonly scaling: Standardisation,
  ) {
    this.features = new Float32Array(batchRows * dimensions);
  }

  /** Returns the number of rows that are there. */
  fill(frames: LabelledFrames, rows: Int32Array, start: number): number {
    const { dimensions, scaling, features, labels } = this;
    const count = Math.min(batchRows, rows.length - start);
    labels.fill(-1, count);
    for (let i = 0; i < count; i++) {
      const from = rows[start + i] * dimensions;
      labels[i] = frames.labels[rows[start + i]];
      for (let d = 0; d < dimensions; d++) {
        features[i * dimensions + d] = (frames.features[from + d] - scaling.mean[d]) * scaling.scale[d];
      }
    }
    return count;
  }
}

/** Softmax regression as two programs on one store. */
class Regression {
  private constructor(
    private readonly store: ParameterStore,
    private readonly learning: Program,
    private readonly testing: Program,
  ) {}

  static async create(dimensions: number, classes: number): Promise<Regression> {
    const zeros: Initialiser = { kind: 'zeros' };
    const build = (graph: Graph) => {
      const features = graph.feed('features', [batchRows, dimensions]);
      const labels = graph.feed('labels', [batchRows], 'i32');
      const weight = graph.parameter('weight', [classes, dimensions], zeros);
      const bias = graph.parameter('bias', [classes], zeros);
      const sums = crossEntropy(linear(features, weight, bias), labels);
      graph.output('sums', sums);
      return sums;
    };
    const testing = new Graph(false);
    build(testing);
    const learning = new Graph(true);
    const sums = build(learning);
    const store = new ParameterStore([...learning.parameters.values()]);
    learning.backward([[sums, learning.feed('weights', [3])]]);
    const flats = (['values', 'gradients', 'm', 'v'] as const).map((which) => learning.flat(which, store.size));
    const segments = store.segmentEnds.length;
    const inputs = [
      ...flats,
      learning.feed('segmentEnds', [segments], 'i32'),
      learning.feed('trainable', [segments], 'u8'),
      learning.feed('hyper', [7]),
    ];
    learning.emit('adamw', inputs, {}, [{ shape: [2] }]);
    store.initialiseAll(0);
    return new Regression(store, await learning.compile(store), await testing.compile(store));
  }

  /** One step of Adam on the mean loss; returns how many rows were right before it. */
  async learn({ features, labels }: Batch, count: number, learningRate: number, step: number): Promise<number> {
    const { sums } = await this.learning.run({
      features,
      labels,
      weights: Float32Array.of(1 / count, 0, 0),
      segmentEnds: this.store.segmentEnds,
      trainable: new Uint8Array(this.store.segmentEnds.length).fill(1),
      hyper: Float32Array.of(learningRate, 0.9, 0.999, 1e-8, 0, 0, step),
    });
    return sums[2];
  }

  async correct({ features, labels }: Batch): Promise<number> {
    const { sums } = await this.testing.run({ features, labels });
    return sums[2];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.learning.dispose();
    this.testing.dispose();
    this.store.dispose();
  }
}

function majority(train: Int32Array, test: Int32Array, classes: number): number {
  const counts = new Float64Array(classes);
  for (const label of train) if (label >= 0) counts[label]++;
  const best = counts.indexOf(counts.reduce((a, b) => Math.max(a, b), 0));
  let hits = 0;
  let total = 0;
  for (const label of test) {
    if (label < 0) continue;
    total++;
    if (label === best) hits++;
  }
  return hits / total;
}
