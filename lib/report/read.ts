/** Reads a run folder into plain data. Whatever is missing (no analysis yet, no fine-tuning) is simply empty. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import type { ErrorKey } from './errors';
import { json, jsonLines, list, text } from './files';

/** One line of metrics.jsonl. Losses in bits per frame; `audioSeconds` counts from the start of the run. */
export interface TrainingPoint {
  kind: 'train' | 'valid';
  iteration: number;
  update: number;
  totalUpdates: number;
  audioSeconds: number;
  /** Audio that teachers were run over for labels. */
  relabelAudioSeconds?: number;
  wallSeconds?: number;
  maskedLossBits?: number;
  unmaskedLossBits?: number;
  maskedAccuracy?: number;
  unmaskedAccuracy?: number;
  unigramBits?: number;
  learningRate?: number;
  gradientNorm?: number;
  audioSecondsPerSecond?: number;
}

/** The measurements of one layer (0 is the input of the transformer) by name: whatever numbers the analysis wrote. */
export interface LayerScores {
  layer: number;
  [measure: string]: number;
}

/** One file of analysis/: every layer of one checkpoint. */
export interface Analysis {
  checkpoint: string;
  iteration: number;
  update: number;
  totalUpdates: number;
  audioSeconds: number;
  layers: LayerScores[];
  /** Of CKA and of PWCCA to layer 0. */
  autoencoderIndex?: number;
  autoencoderIndexCca?: number;
  /** PWCCA to phones that the top layer has lost against the best. */
  dropAtTopCca?: number;
  random?: { layers: LayerScores[] };
  mfcc?: { pnmi?: number };
  /** What independent labels come to, by measure. */
  chance?: { [measure: string]: number | undefined };
  clusters?: number;
  frames?: number;
}

/** One fine-tuning: its result.json and its metrics.jsonl. WER and CER are fractions. */
export interface FineTuning {
  variant: string;
  resetTop: number;
  dropTop: number;
  /** A network that was never pretrained: the control. */
  random: boolean;
  seed: number;
  wer: number;
  cer?: number;
  testWer?: number;
  testCer?: number;
  /** WER of decoding with the words of the training transcripts. */
  lexiconWer?: number;
  testLexiconWer?: number;
  /** What was fine-tuned, e.g. iteration-2/step-010125. */
  checkpoint?: string;
  /** Minutes of transcribed speech. */
  trainMinutes?: number;
  updatesToTau?: number | null;
  auc?: number;
  /** `all`: everything but the head rested at first. */
  freeze?: string;
  /** Budget of transcribed minutes; 0: all there is. */
  labelMinutes?: number;
  points: { update: number; wer: number; cer?: number }[];
}

/** A difference with its 95 % bootstrap interval. */
export interface Difference {
  estimate: number;
  low: number;
  high: number;
}

/** summary-reset.json or summary-drop.json of a sweep: each k against k = 0. */
export interface Sweep {
  mode: 'reset' | 'drop';
  /** k null: the random control. */
  rows: { name: string; k: number | null; difference?: Partial<Record<ErrorKey, Difference>> }[];
}

/** Everything the report shows of one run. */
export interface RunData {
  name: string;
  folder: string;
  /** config.yaml as text and as data. */
  configText: string;
  config: {
    model?: string | { preset?: string };
    corpus?: string | { spec?: string };
    schedule?: { clusters?: number }[];
  };
  system: { parameters?: number; [key: string]: unknown };
  training: TrainingPoint[];
  analyses: Analysis[];
  fineTunings: FineTuning[];
  sweeps: Sweep[];
}

/** Reads `folder`; throws HK_IO when it does not exist and HK_FORMAT when it holds nothing of a run. */
export async function readRun(folder: string): Promise<RunData> {
  const stat = await fs.stat(folder).catch(() => undefined);
  if (!stat?.isDirectory()) {
    throw new HubertkitError(
      'HK_IO',
      `There is no run folder at ${folder}. Give the folder that "hubertkit pretrain" wrote.`,
    );
  }
  const configText = (await text(path.join(folder, 'config.yaml'))) ?? '';
  const training = (await jsonLines(path.join(folder, 'metrics.jsonl'))) as unknown as TrainingPoint[];
  const analyses = await readAnalyses(path.join(folder, 'analysis'));
  const fineTunings = await readFineTunings(path.join(folder, 'finetune'));
  if (!configText && !training.length && !analyses.length && !fineTunings.length) {
    throw new HubertkitError(
      'HK_FORMAT',
      `${folder} is not a run folder: it has no config.yaml, no metrics.jsonl, no analysis/*.json and no finetune/*/result.json.`,
    );
  }
  const { parse } = require('yaml') as typeof import('yaml');
  return {
    name: path.basename(path.resolve(folder)),
    folder: path.resolve(folder),
    configText,
    config: (configText && parse(configText)) || {},
    system: await json(path.join(folder, 'system.json'), {}),
    training,
    analyses,
    fineTunings,
    sweeps: await readSweeps(path.join(folder, 'finetune')),
  };
}

async function readAnalyses(folder: string): Promise<Analysis[]> {
  const read: Analysis[] = [];
  for (const name of (await list(folder)).filter((file) => file.endsWith('.json'))) {
    const value = await json<Partial<Analysis>>(path.join(folder, name), {});
    if (Array.isArray(value.layers) && value.layers.length) read.push(value as Analysis);
  }
  return read.sort((a, b) => a.iteration - b.iteration || a.update - b.update);
}

async function readFineTunings(folder: string): Promise<FineTuning[]> {
  const read: FineTuning[] = [];
  for (const variant of await list(folder)) {
    const result = await json<Partial<FineTuning>>(path.join(folder, variant, 'result.json'), {});
    if (typeof result.wer !== 'number') continue;
    const points = (await jsonLines(path.join(folder, variant, 'metrics.jsonl'))) as unknown as FineTuning['points'];
    read.push({
      ...(result as FineTuning),
      variant,
      resetTop: result.resetTop ?? 0,
      dropTop: result.dropTop ?? 0,
      random: result.random ?? /random/.test(variant),
      seed: result.seed ?? 0,
      points: points.filter((point) => typeof point.wer === 'number'),
    });
  }
  return read;
}

async function readSweeps(folder: string): Promise<Sweep[]> {
  const read = ['reset', 'drop'].map((mode) => json<Partial<Sweep>>(path.join(folder, `summary-${mode}.json`), {}));
  return (await Promise.all(read)).filter((sweep): sweep is Sweep => Array.isArray(sweep.rows));
}
