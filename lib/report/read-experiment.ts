/** Reads the folder of an experiment: results.jsonl (tidy rows) and summary.json (verdicts, cost). */
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import type { ResultRow } from '../experiments/rows';
import type { ExperimentSummary } from '../experiments/summary';
import { json, jsonLines } from './files';

export type { FinetuneRow, MeasureRow, ResultRow } from '../experiments/rows';

export type ExperimentVerdict = ExperimentSummary['verdicts'][number];

export interface ExperimentData extends ExperimentSummary {
  rows: ResultRow[];
}

/** Throws HK_FORMAT when the summary is not there yet: it is written when the experiment has run to its end. */
export async function readExperiment(folder: string): Promise<ExperimentData> {
  const summary = await json<Partial<ExperimentSummary>>(path.join(folder, 'summary.json'), {});
  if (!summary.experiment || !summary.verdicts || !summary.cost) {
    throw new HubertkitError(
      'HK_FORMAT',
      `${folder} has results but no summary.json of an experiment. Run the same "hubertkit experiment" again: it goes on to its end and writes the summary.`,
    );
  }
  const rows = (await jsonLines(path.join(folder, 'results.jsonl'))) as unknown as ResultRow[];
  return { ...(summary as ExperimentSummary), rows };
}
