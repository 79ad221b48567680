/** What an experiment showed: a verdict for each comparison, the values it rests on, and what all of it has cost. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { type Difference, mean, pairedErrorRates, pairedSeeds, standardDeviation } from '../analysis/statistics';
import { type Verdict, verdict } from '../analysis/verdict';
import { type Hypothesis, utteranceErrors } from '../finetune/evaluate';
import { readJson, readJsonLines } from '../formats/atomic';
import type { CellCost } from './engine';
import type { Comparison, Condition, Outcome } from './experiment';
import type { Plan } from './plan';
import type { FinetuneRow, MeasureRow, ResultRow } from './rows';

/** A condition's values, seed by seed. */
export interface ConditionValues {
  name: string;
  seeds: number[];
  values: number[];
  mean: number;
  sd: number;
}

/** summary.json. Numbers that do not exist (an interval over one seed) are null there. */
export interface ExperimentSummary {
  experiment: string;
  question: string;
  preset: string;
  corpus: string;
  seeds: number[];
  unitUpdates: number;
  /** With how their numbers are shown: `percent` as in their sentences. */
  verdicts: (Verdict & Pick<Outcome, 'better' | 'percent'> & { conditions: ConditionValues[] })[];
  /** Of all cells; audio and seconds of iterations that a cell took over are not counted. */
  cost: CellCost & { cells: number; seconds: number };
}

/** Verdicts of the comparisons whose baseline is there, over the conditions that are, from the seeds that all of these have. */
export async function summarise(plan: Plan, rows: readonly ResultRow[]): Promise<ExperimentSummary> {
  const { experiment, scale, preset, corpus, seeds, unitUpdates } = plan;
  const verdicts = [];
  for (const comparison of experiment.comparisons(scale)) {
    const found = await judge(plan, comparison, rows);
    if (found) verdicts.push(found);
  }
  const { name, question } = experiment;
  return { experiment: name, question, preset, corpus, seeds, unitUpdates, verdicts, cost: await totalCost(plan) };
}

async function judge(plan: Plan, { outcome, baseline, others }: Comparison, rows: readonly ResultRow[]) {
  const found = [baseline, ...others].map((condition) => ({ condition, chosen: chosenRows(rows, condition, outcome) }));
  const all = found.filter(({ condition, chosen }) => condition === baseline || chosen.size > 0);
  const seeds = plan.seeds.filter((seed) => all.every(({ chosen }) => chosen.has(seed)));
  if (all.length === 1 || seeds.length === 0) return undefined;
  const conditions = all.map(({ condition, chosen }): ConditionValues => {
    const values = seeds.map((seed) => valueOfRow(chosen.get(seed)!, outcome));
    return { name: condition.name, seeds, values, mean: mean(values), sd: standardDeviation(values) };
  });
  const compared = await Promise.all(
    all.slice(1).map(async ({ condition, chosen }, i) => ({
      name: condition.name,
      difference:
        (await errorDifference(
          plan,
          outcome,
          seeds.map((seed) => [chosen.get(seed)!, all[0].chosen.get(seed)!]),
        )) ?? pairedSeeds(conditions[i + 1].values, conditions[0].values),
    })),
  );
  const { label, better, percent } = outcome;
  return {
    ...verdict({ outcome: label, better, percent, baseline: baseline.name, others: compared }),
    better,
    ...(percent && { percent }),
    conditions,
  };
}

/** The row of a condition for each seed: of the last checkpoint that fits, of the layer that the outcome asks for. */
function chosenRows(rows: readonly ResultRow[], { where }: Condition, outcome: Outcome): Map<number, ResultRow> {
  const chosen = new Map<number, ResultRow>();
  for (const row of rows) {
    if (!fits(row, where) || !carries(row, outcome)) continue;
    const known = chosen.get(row.seed);
    if (!known || isPreferred(row, known, outcome)) chosen.set(row.seed, row);
  }
  return chosen;
}

function fits(row: ResultRow, where: Condition['where']): boolean {
  const columns = { ...row.parameters, ...row } as Record<string, unknown>;
  return Object.entries(where).every(([key, value]) => columns[key] === value);
}

function carries(row: ResultRow, { measure, layer }: Outcome): boolean {
  if (row.kind === 'finetune') return measure in row;
  if (row.measure !== measure) return false;
  return layer === undefined
    ? row.kind === 'checkpoint'
    : row.kind === 'layer' && (typeof layer === 'string' || row.layer === layer);
}

function isPreferred(row: ResultRow, known: ResultRow, { layer, better }: Outcome): boolean {
  if (row.totalUpdates !== known.totalUpdates || row.iteration !== known.iteration)
    return row.iteration > known.iteration || row.totalUpdates > known.totalUpdates;
  const [a, b] = [row, known] as MeasureRow[];
  if (layer === 'top') return a.layer! > b.layer!;
  return layer === 'best' && (better === 'higher' ? a.value > b.value : a.value < b.value);
}

/** A fine-tuning that never came there counts as coming there at its last update. */
function valueOfRow(row: ResultRow, { measure }: Outcome): number {
  if (row.kind !== 'finetune') return row.value;
  return (row as unknown as Record<string, number | null>)[measure] ?? row.finetuneUpdates;
}

/** Columns of error rates on test. */
const testRates = { testWer: 'wer', testCer: 'cer', testLexiconWer: 'lexiconWer' } as const;

/** For error rates on test the utterances count too, not the seeds alone. */
async function errorDifference(
  { out }: Plan,
  { measure }: Outcome,
  pairs: ResultRow[][],
): Promise<Difference | undefined> {
  if (!(measure in testRates)) return undefined;
  const rate = utteranceErrors[testRates[measure as keyof typeof testRates]];
  const errors = (side: 0 | 1) =>
    Promise.all(
      pairs.map(async (pair) => {
        const hypotheses = await readJsonLines<Hypothesis>(
          path.join(out, (pair[side] as FinetuneRow).folder, 'test.jsonl'),
        );
        return hypotheses.map(rate);
      }),
    );
  return pairedErrorRates(await errors(0), await errors(1));
}

async function totalCost({ cells }: Plan): Promise<ExperimentSummary['cost']> {
  const files = cells.map(({ folder }) => path.join(folder, 'cost.json')).filter((file) => fs.existsSync(file));
  const costs = await Promise.all(files.map((file) => readJson<CellCost>(file)));
  const sum = (key: keyof CellCost) => costs.reduce((total, cost) => total + cost[key], 0);
  const parts = {
    audioSeconds: sum('audioSeconds'),
    pretrainingSeconds: sum('pretrainingSeconds'),
    analysisSeconds: sum('analysisSeconds'),
    finetuningSeconds: sum('finetuningSeconds'),
  };
  return {
    cells: files.length,
    ...parts,
    seconds: parts.pretrainingSeconds + parts.analysisSeconds + parts.finetuningSeconds,
  };
}
