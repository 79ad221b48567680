/** A small made-up folder of an experiment: shapes and names of a real one, invented numbers. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

const CLUSTERS = [50, 100, 500, 1000];
const LAYERS = [0, 1, 2, 3, 4];
export const SEEDS = [1, 2, 3];

/** Invented PNMI: highest in the middle, at the end of training, with K = 500. */
export function pnmi(clusters: number, seed: number, layer: number, update: number): number {
  return (
    0.2 + 0.0001 * update - 0.03 * Math.abs(layer - 2) - 0.02 * Math.abs(Math.log10(clusters / 500)) + 0.001 * seed
  );
}

/** Two comparisons: a sweep of K, and strategies by name. */
export function makeExperiment(parent = fs.mkdtempSync(path.join(os.tmpdir(), 'hk-experiment-'))): string {
  const folder = path.join(parent, 'clusters');
  fs.mkdirSync(folder, { recursive: true });
  const rows = CLUSTERS.flatMap((clusters) =>
    SEEDS.flatMap((seed) => [...layers(clusters, seed), ...resets(clusters, seed)]),
  );
  fs.writeFileSync(path.join(folder, 'results.jsonl'), rows.map((row) => `${JSON.stringify(row)}\n`).join(''));
  fs.writeFileSync(path.join(folder, 'summary.json'), JSON.stringify(summary()));
  return folder;
}

function place(clusters: number, seed: number, iteration: number, update: number) {
  const totalUpdates = (iteration - 1) * 1000 + update;
  return {
    experiment: 'clusters',
    cell: `clusters-${clusters}`,
    parameters: { clusters },
    seed,
    iteration,
    update,
    totalUpdates,
    audioSeconds: totalUpdates * 16,
    relabelAudioSeconds: (iteration - 1) * 3600,
  };
}

function layers(clusters: number, seed: number): object[] {
  return [1, 2].flatMap((iteration) =>
    [0, 1000].flatMap((update) =>
      LAYERS.map((layer) => ({
        ...place(clusters, seed, iteration, update),
        kind: 'layer',
        layer,
        measure: 'pnmi',
        value: pnmi(clusters, seed, layer, update * iteration),
      })),
    ),
  );
}

function resets(clusters: number, seed: number): object[] {
  return [10, 60].flatMap((labelMinutes) =>
    LAYERS.map((k) => {
      const testWer = 0.5 + 0.04 * Math.abs(k - 1) - 0.002 * labelMinutes + 0.01 * seed;
      const tuning = { mode: 'reset', k, freeze: 'pretrained-only', labelMinutes };
      return { ...place(clusters, seed, 2, 1000), kind: 'finetune', ...tuning, testWer, testCer: testWer / 2 };
    }),
  );
}

function summary(): object {
  const conditions = (names: string[], value: (index: number, seed: number) => number) =>
    names.map((name, index) => ({ name, seeds: SEEDS, values: SEEDS.map((seed) => value(index, seed)) }));
  const difference = (name: string, estimate: number, half: number) => ({
    name,
    estimate,
    low: estimate - half,
    high: estimate + half,
    level: 0.95,
    p: 0.01,
    seeds: 3,
    correctedP: 0.03,
  });
  return {
    experiment: 'clusters',
    question: 'How many clusters should the labels of the second iteration have?',
    preset: 'nano',
    seeds: SEEDS,
    verdicts: [
      {
        sentence:
          'PNMI of the best layer (higher is better): K = 500 is the best of 4. K = 500 is above K = 100 by 0.014 (95 % 0.012 to 0.016, 3 seeds; p = 0.030 after Holm over 3 comparisons).',
        outcome: 'PNMI of the best layer',
        baseline: 'K = 100',
        better: 'higher',
        conditions: conditions(['K = 100', 'K = 50', 'K = 500', 'K = 1000'], (index, seed) =>
          pnmi([100, 50, 500, 1000][index], seed, 2, 2000),
        ),
        differences: [
          difference('K = 50', -0.006, 0.004),
          difference('K = 500', 0.014, 0.002),
          difference('K = 1000', 0.008, 0.009),
        ],
      },
      {
        sentence:
          'CER on test (lower is better): No difference shown at this scale: both, rising is below two iterations by 1.2 points.',
        outcome: 'CER on test',
        baseline: 'two iterations',
        better: 'lower',
        percent: true,
        conditions: conditions(
          ['two iterations', 'more and shorter iterations', 'both, rising'],
          (index, seed) => 0.4 - 0.01 * index + 0.004 * seed,
        ),
        differences: [
          { ...difference('more and shorter iterations', -0.01, 0), low: null, high: null, p: null, correctedP: null },
          difference('both, rising', -0.012, 0.02),
        ],
      },
    ],
    cost: {
      cells: 12,
      audioSeconds: 384_000,
      pretrainingSeconds: 3000,
      analysisSeconds: 300,
      finetuningSeconds: 900,
      seconds: 4200,
    },
  };
}
