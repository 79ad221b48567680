/** Reads the folder of an experiment: results.jsonl (tidy rows) and summary.json (verdicts, cost). */
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { json, jsonLines } from './files';

/** What every row tells: which model it is about and what that has cost. */
interface Place {
  cell: string;
  seed: number;
  iteration: number;
  update: number;
  totalUpdates: number;
  audioSeconds: number;
  relabelAudioSeconds: number;
}

/** A measure of a layer, or of a whole checkpoint. */
export interface MeasureRow extends Place {
  kind: 'layer' | 'checkpoint';
  layer?: number;
  measure: string;
  value: number;
}

/** A fine-tuning; rates are fractions. */
export interface FinetuneRow extends Place {
  kind: 'finetune';
  mode: 'reset' | 'drop' | 'random';
  k: number | null;
  freeze: string;
  labelMinutes: number;
  [rate: string]: unknown;
}

export type ResultRow = MeasureRow | FinetuneRow;

/** One comparison with its verdict sentence. Null: there is no interval over one seed. */
export interface ExperimentVerdict {
  sentence: string;
  outcome: string;
  baseline: string;
  better: 'higher' | 'lower';
  /** Show as percentages. */
  percent?: boolean;
  conditions: { name: string; seeds: number[]; values: number[] }[];
  /** Each condition minus the baseline. */
  differences: { name: string; estimate: number; low: number | null; high: number | null; correctedP: number | null }[];
}

export interface ExperimentData {
  folder: string;
  experiment: string;
  question: string;
  preset: string;
  seeds: number[];
  verdicts: ExperimentVerdict[];
  cost: {
    cells: number;
    audioSeconds: number;
    pretrainingSeconds: number;
    analysisSeconds: number;
    finetuningSeconds: number;
    seconds: number;
  };
  rows: ResultRow[];
}

/** Throws HK_FORMAT when the summary is not there yet: it is written when the experiment has run to its end. */
export async function readExperiment(folder: string): Promise<ExperimentData> {
  const summary = await json<Partial<ExperimentData>>(path.join(folder, 'summary.json'), {});
  if (!summary.experiment || !summary.verdicts || !summary.cost) {
    throw new HubertkitError(
      'HK_FORMAT',
      `${folder} has results but no summary.json of an experiment. Run the same "hubertkit experiment" again: it goes on to its end and writes the summary.`,
    );
  }
  const rows = (await jsonLines(path.join(folder, 'results.jsonl'))) as unknown as ResultRow[];
  return { ...(summary as ExperimentData), folder: path.resolve(folder), rows };
}
