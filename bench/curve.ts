/** Short trainings on MFCC clusters of the embedded corpus: the masked loss of each update. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { SpeechSource } from '../lib/analysis/speech';
import { readLabels } from '../lib/cluster';
import { openCorpus } from '../lib/data/corpus';
import { makeEmbeddedCorpus } from '../lib/data/embedded';
import { frameCount } from '../lib/data/types';
import { clusterCorpus } from '../lib/experiments/cluster-corpus';
import { type PresetName, presets } from '../lib/nn/config';
import type { Precision } from '../lib/nn/graph';
import { HubertModel } from '../lib/nn/model';
import { ahead } from '../lib/train/ahead';
import { cropBuckets, type Labelled, microBatches } from '../lib/train/batches';
import { recipe } from '../lib/train/recipes';
import { linearSchedule } from '../lib/train/schedule';
import { framesOf } from '../lib/train/speech';
import { loadBatch, openLayers } from '../lib/train/updates';

const clusters = 100;

export interface CurveSpeech {
  speech: SpeechSource;
  labelled: Labelled[];
}

/** The training utterances of a corpus in `folder` with their MFCC clusters; both are made there unless they are there. */
export async function curveSpeech(preset: PresetName, minutes: number, folder: string): Promise<CurveSpeech> {
  const [root, labels] = ['corpus', 'labels'].map((name) => path.join(folder, name));
  await makeEmbeddedCorpus({ out: root, minutes, seed: 1 });
  const file = path.join(labels, 'train.labels');
  if (!fs.existsSync(file)) await clusterCorpus({ corpus: `embedded:${root}`, out: labels, clusters });
  const { utterances } = await openCorpus(`embedded:${root}`);
  const units = await readLabels(file);
  const labelled = utterances
    .filter(({ split }) => split === 'train')
    .map((utterance) => ({ utterance, labels: units.forFrames(utterance.id, frameCount(utterance.samples)) }));
  return { speech: new SpeechSource(presets[preset]), labelled };
}

export interface CurveOptions {
  preset: PresetName;
  updates: number;
  /** Of weights, order, crops, masks, dropout and LayerDrop. */
  seed: number;
  precision: Precision;
  /** Default 'cpu'. */
  device?: string;
  /** Told the loss of each update. */
  onUpdate?: (bits: number, update: number) => void;
}

/** Masked loss in bits of each update of a training with the preset's recipe. */
export async function lossCurve({ speech, labelled }: CurveSpeech, o: CurveOptions): Promise<number[]> {
  const { preset, updates, seed, precision, device } = o;
  const { learningRate, warmup, clip, mask, maxSeconds, batchSeconds, loss } = recipe(preset);
  const config = presets[preset];
  await using model = HubertModel.create({ config, clusters, seed, device });
  const order = microBatches(cropBuckets(labelled, framesOf(maxSeconds), framesOf(batchSeconds)), seed);
  const batches = Array.from({ length: updates }, (_, draw) => ({ batch: order.next().value, draw }));
  const rate = linearSchedule({ peak: learningRate, updates, warmup });
  const source = { speech, model: config, config: { mask } };
  const bits: number[] = [];
  for await (const { shape, input, maskedFrames } of ahead(batches, ({ batch, draw }) =>
    loadBatch(source, batch, seed, draw),
  )) {
    const update = bits.length + 1;
    const { batch, samples } = shape;
    const { masked } = await model.pretraining({ batch, samples, precision }).run(input, {
      seed,
      draw: update,
      weights: { masked: loss.maskedWeight / maskedFrames, penalty: loss.penalty },
      openLayers: openLayers(model, seed, update),
      update: { learningRate: rate(update), step: update, clip },
    });
    bits.push(masked.loss / masked.frames / Math.LN2);
    o.onUpdate?.(bits[update - 1], update);
  }
  return bits;
}
