/**
 * What an experiment is: a question, a grid of cells (each a pretraining with what is measured of it) and the comparisons that
 * its verdict is about. Everything is declared; the engine (engine.ts) runs it. The experiments themselves are in experiments/.
 */
import type { AnalysisMetric } from '../analysis';
import type { PresetName } from '../nn/config';
import type { IterationOptions, PretrainConfig } from '../train';

/** An iteration of a cell: its length is in units, which the budget turns into updates (see Scale). */
export type Stage = Omit<IterationOptions, 'updates' | 'audioSeconds' | 'seed'> & { length: number };

/** Keys of the run's configuration that a cell changes. */
export type CellConfig = { [K in 'mask' | 'loss']?: Partial<PretrainConfig[K]> };

/** A fine-tuning of the model at the end of an iteration. */
export interface CellFineTuning {
  /** 1-based. */
  iteration: number;
  /** The top k blocks begin anew, are taken off, or the whole network begins anew (k is then null). */
  mode: 'reset' | 'drop' | 'random';
  k: number | null;
  freeze: 'pretrained-only' | 'all';
  /** Of transcribed audio; 0: all there is. */
  labelMinutes: number;
}

/** One pretraining of the grid. */
export interface Cell {
  /** Unique in its experiment; a folder name. */
  name: string;
  /** Where the cell stands in the grid: columns of every row of its results. */
  parameters: Record<string, number | string | boolean>;
  schedule: Stage[];
  config?: CellConfig;
  /** Checkpoints of each iteration that are kept and analysed, the first and the last included. Default 2. */
  keep?: number;
  /** Default: none. */
  fineTunings?: CellFineTuning[];
}

/** Some rows of the results, of every seed: those whose columns (or parameters) have these values; of several checkpoints the last. */
export interface Condition {
  name: string;
  where: Record<string, number | string | boolean | null>;
}

/** What is compared: a measure of a layer or a checkpoint, or of a fine-tuning. */
export interface Outcome {
  label: string;
  better: 'higher' | 'lower';
  /** A measure of the analysis (`pnmi`, `dropAtTop`) or a column of the fine-tunings (`testCer`, `aucCer`). */
  measure: string;
  /** Of a layer: the best, the top one, or its number. Absent: the measure has no layer. */
  layer?: 'best' | 'top' | number;
  /** Show as percentages. */
  percent?: boolean;
}

export interface Comparison {
  outcome: Outcome;
  baseline: Condition;
  /** Several: a sweep, whose best is picked and corrected for. */
  others: Condition[];
}

/** What a grid is made from: the size of the model and the recipe of its preset. */
export interface Scale {
  preset: PresetName;
  /** Transformer blocks L. */
  layers: number;
  /** The recipe's teacher layer: the middle one. */
  middle: number;
  /** Budgets of transcribed minutes, at least one, rising. */
  labelMinutes: readonly number[];
  /** An iteration from MFCC labels; a length of 1 is the usual length of an iteration at this preset. */
  first(length: number, changes?: Partial<Stage>): Stage;
  /** An iteration whose teacher is the model before it. */
  later(length: number, changes?: Partial<Stage>): Stage;
}

export interface Experiment {
  /** Its file in experiments/ and its name on the command line. */
  name: string;
  question: string;
  cells(scale: Scale): Cell[];
  comparisons(scale: Scale): Comparison[];
  /** What every layer of every kept checkpoint is measured by. Default clusters (PNMI, purities) and cka. */
  metrics?: AnalysisMetric[];
}

/** A fraction of the model's blocks as a layer number, at least 1: .75 is layer 3 of 4, 9 of 12. */
export const layerAt = (scale: Scale, share: number): number => Math.max(1, Math.round(share * scale.layers));

/** Outcomes that several experiments share. */
export const outcomes = {
  bestPnmi: { label: 'PNMI of the best layer', measure: 'pnmi', layer: 'best', better: 'higher' },
  topPnmi: { label: 'PNMI of the top layer', measure: 'pnmi', layer: 'top', better: 'higher' },
  dropAtTop: { label: 'PNMI lost between the best layer and the top', measure: 'dropAtTop', better: 'lower' },
  autoencoderIndex: { label: 'Autoencoder index', measure: 'autoencoderIndex', better: 'lower' },
} as const satisfies Record<string, Outcome>;

/** Comparisons of whole cells, one for each outcome. */
export function compareCells(outcomesCompared: Outcome[], baseline: Named, others: Named[]): Comparison[] {
  const condition = ({ title, cell }: Named): Condition => ({ name: title, where: { cell } });
  return outcomesCompared.map((outcome) => ({
    outcome,
    baseline: condition(baseline),
    others: others.map(condition),
  }));
}

/** A cell by its name and what a sentence calls it. */
export interface Named {
  title: string;
  cell: string;
}
