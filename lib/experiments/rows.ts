/**
 * The tidy results of a cell: a row for each checkpoint, layer and measure, and one for each fine-tuning. Rows depend on the seed
 * alone; the columns that tell time (`wallSeconds`, `finetuneWallSeconds`) are the only ones in which two runs of an experiment differ.
 */
import * as path from 'node:path';
import type { CheckpointAnalysis } from '../analysis';
import type { FinetuneResult } from '../finetune';
import { cerCurve, updatesToReach, werCurve } from '../finetune/curve';
import type { FinetunePoint } from '../finetune/finetune';
import { readJsonLines } from '../formats/atomic';
import { type Metrics, openRun, type Run } from '../train';
import type { CellFineTuning } from './experiment';
import type { PlannedCell } from './plan';
import { hashOf } from './pool';

/** What every row tells: which model it is about and what that has cost. */
export interface Place {
  experiment: string;
  cell: string;
  parameters: Record<string, number | string | boolean>;
  seed: number;
  /** 1-based; `update` of it, `totalUpdates` of all. */
  iteration: number;
  update: number;
  totalUpdates: number;
  /** Audio that was trained on so far, and that teachers were run over for labels. */
  audioSeconds: number;
  relabelAudioSeconds: number;
}

/** What every row ends with. */
interface Origin {
  /** Of the pretraining's configuration, of a fine-tuning with its options. */
  configHash: string;
  /** Of hubertkit, and the revision of its repository where it has one. */
  version: string;
  /** Pretraining up to here, relabelling included, iterations taken over from another cell too. */
  wallSeconds: number;
}

/** A measure of a layer, or of a whole checkpoint (no layer). */
export interface MeasureRow extends Place, Origin {
  kind: 'layer' | 'checkpoint';
  layer?: number;
  measure: string;
  value: number;
}

/** A fine-tuning. Rates are fractions. */
export interface FinetuneRow extends Place, Origin, CellFineTuning {
  kind: 'finetune';
  wer: number;
  cer: number;
  /** Decoded with the words of the training transcripts. */
  lexiconWer: number;
  testWer?: number;
  testCer?: number;
  testLexiconWer?: number;
  /** Mean of the WER (over updates, over log(1 + update)) and CER curves. */
  auc: number;
  aucLog: number;
  aucCer: number;
  /** Until the curve is where the one of k = 0 (same seed, model and labels) ends; null: never. Absent where there is none. */
  updatesToBaselineWer?: number | null;
  updatesToBaselineCer?: number | null;
  bestUpdate: number;
  /** Linear CKA of each layer 0..L before and after. */
  ckaToStart: number[];
  trainMinutes: number;
  finetuneUpdates: number;
  finetuneAudioSeconds: number;
  finetuneWallSeconds: number;
  /** Under the experiment's folder: curves, transcripts, model. */
  folder: string;
}

export type ResultRow = MeasureRow | FinetuneRow;

/** A finished fine-tuning of a cell. */
export interface FinishedTuning {
  tuning: CellFineTuning;
  folder: string;
  result: FinetuneResult;
}

/** All rows of a cell: checkpoints in their order, then fine-tunings in theirs. */
export async function rowsOf(
  experiment: string,
  out: string,
  planned: PlannedCell,
  analyses: readonly CheckpointAnalysis[],
  tunings: readonly FinishedTuning[],
): Promise<ResultRow[]> {
  const run = openRun(planned.folder);
  const metrics = run.metrics();
  const about = (checkpoint: string) => placeOf(experiment, planned, run, checkpoint);
  const rows: ResultRow[] = analyses.flatMap((analysis) => measureRows(about(analysis.checkpoint), analysis, metrics));
  const curves = await Promise.all(
    tunings.map(({ folder }) => readJsonLines<FinetunePoint>(path.join(folder, 'metrics.jsonl'))),
  );
  for (const [i, finished] of tunings.entries()) {
    const baseline = curves[baselineOf(tunings, finished)];
    rows.push(finetuneRow(about(finished.result.checkpoint!), out, finished, curves[i], baseline));
  }
  return rows;
}

function placeOf(
  experiment: string,
  { cell, seed, keys }: PlannedCell,
  run: Run,
  name: string,
): { place: Place; origin: Origin } {
  const checkpoint = run.checkpoint(name);
  const { iteration, update, totalUpdates, audioSeconds, relabelAudioSeconds, wallSeconds } = run.state(checkpoint);
  const place = {
    experiment,
    cell: cell.name,
    parameters: cell.parameters,
    seed,
    iteration,
    update,
    totalUpdates,
    audioSeconds,
    relabelAudioSeconds,
  };
  const { hubertkit = '', git } = run.system ?? {};
  return {
    place,
    origin: { configHash: keys[iteration - 1], version: git ? `${hubertkit}+${git}` : hubertkit, wallSeconds },
  };
}

function measureRows(
  { place, origin }: { place: Place; origin: Origin },
  analysis: CheckpointAnalysis,
  metrics: readonly Metrics[],
): MeasureRow[] {
  const { layers, mfcc, chance, autoencoderIndex, autoencoderIndexCca, dropAtTop, dropAtTopCca } = analysis;
  const valid = metrics.findLast(
    (m) => m.kind === 'valid' && m.totalUpdates === place.totalUpdates && m.iteration === place.iteration,
  );
  const learnt = valid && {
    maskedLossBits: valid.maskedLossBits,
    maskedAccuracy: valid.maskedAccuracy,
    unigramBits: valid.unigramBits,
  };
  const heights = { autoencoderIndex, autoencoderIndexCca, dropAtTop, dropAtTopCca };
  const whole = { ...heights, mfcc, chance, valid: learnt };
  const of = (kind: 'layer' | 'checkpoint', values: object, layer?: number) =>
    numbersIn(values).map(
      ([measure, value]): MeasureRow => ({
        ...place,
        kind,
        ...(layer !== undefined && { layer }),
        measure,
        value,
        ...origin,
      }),
    );
  return [...layers.flatMap(({ layer, ...values }) => of('layer', values, layer)), ...of('checkpoint', whole)];
}

/** The numbers of an object by their paths: { mfcc: { pnmi: .3 } } has `mfcc.pnmi`. */
function numbersIn(values: object, at = ''): [string, number][] {
  return Object.entries(values).flatMap(([key, value]): [string, number][] => {
    if (typeof value === 'number') return [[at + key, value]];
    return typeof value === 'object' && value !== null && !Array.isArray(value) ? numbersIn(value, `${at}${key}.`) : [];
  });
}

/** The fine-tuning with k = 0 of the same model and labels. */
function baselineOf(all: readonly FinishedTuning[], { tuning }: FinishedTuning): number {
  return all.findIndex(
    ({ tuning: other }) =>
      other.k === 0 && other.iteration === tuning.iteration && other.labelMinutes === tuning.labelMinutes,
  );
}

function finetuneRow(
  { place, origin }: { place: Place; origin: Origin },
  out: string,
  { tuning, folder, result }: FinishedTuning,
  curve: readonly FinetunePoint[],
  baseline: readonly FinetunePoint[] | undefined,
): FinetuneRow {
  const {
    wer,
    cer,
    testWer,
    testCer,
    lexiconWer,
    testLexiconWer,
    auc,
    aucLog,
    aucCer,
    bestUpdate,
    ckaToStart,
    trainMinutes,
    updates,
    audioSeconds,
    wallSeconds,
  } = result;
  const end = baseline?.at(-1);
  return {
    ...place,
    kind: 'finetune',
    ...tuning,
    wer,
    cer,
    lexiconWer,
    ...(testWer !== undefined && { testWer, testCer, testLexiconWer }),
    auc,
    aucLog,
    aucCer,
    ...(end && {
      updatesToBaselineWer: updatesToReach(werCurve(curve), end.wer),
      updatesToBaselineCer: updatesToReach(cerCurve(curve), end.cer),
    }),
    bestUpdate,
    ckaToStart,
    trainMinutes,
    finetuneUpdates: updates,
    finetuneAudioSeconds: audioSeconds,
    folder: path.relative(out, folder).split(path.sep).join('/'),
    ...origin,
    configHash: hashOf([origin.configHash, tuning, updates]),
    finetuneWallSeconds: wallSeconds,
  };
}
