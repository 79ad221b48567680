/**
 * hubertkit experiment progressive --preset nano --seeds 3
 *
 * The three strategies of 2405.08402 against two iterations of equal length: more and shorter iterations; a higher clustering
 * layer; both, the layer rising from iteration to iteration. Each with as much training as the baseline and with half of it,
 * every iteration from scratch and with the weights carried over.
 */
import {
  type Cell,
  type Comparison,
  type Experiment,
  layerAt,
  outcomes,
  type Scale,
  type Stage,
} from '../lib/experiments/experiment';

type Init = 'scratch' | 'continue-reset-head';

/** Iterations of equal length whose teachers are these layers of the model before. */
function schedule(scale: Scale, total: number, teachers: number[], changes: Partial<Stage> = {}): Stage[] {
  const length = total / (teachers.length + 1);
  return [scale.first(length), ...teachers.map((layer) => scale.later(length, { teacher: { layer }, ...changes }))];
}

/** Four iterations, the teacher layer rising from a quarter of the depth to three quarters. */
export const progressiveSchedule = (scale: Scale, total: number, changes?: Partial<Stage>): Stage[] =>
  schedule(
    scale,
    total,
    [0.25, 0.5, 0.75].map((share) => layerAt(scale, share)),
    changes,
  );

const strategies: Record<string, { title: string; schedule: typeof progressiveSchedule }> = {
  shorter: {
    title: 'more and shorter iterations',
    schedule: (scale, total, changes) => schedule(scale, total, [scale.middle, scale.middle, scale.middle], changes),
  },
  higher: {
    title: 'a higher clustering layer',
    schedule: (scale, total, changes) => schedule(scale, total, [layerAt(scale, 0.75)], changes),
  },
  progressive: { title: 'both, rising', schedule: progressiveSchedule },
};

const inits: [Init, string][] = [
  ['scratch', 'from scratch'],
  ['continue-reset-head', 'carried over'],
];
/** In usual iterations. */
const baselineLength = 2;
const shares = [1, 0.5];
const cellName = (strategy: string, share: number, init: Init) =>
  `${strategy}-${share === 1 ? 'equal' : 'half'}-${init === 'scratch' ? 'scratch' : 'carried'}`;

function cell(scale: Scale, strategy: string, share: number, init: Init): Cell {
  const stages =
    strategy === 'baseline'
      ? schedule(scale, baselineLength * share, [scale.middle], { init })
      : strategies[strategy].schedule(scale, baselineLength * share, { init });
  return {
    name: cellName(strategy, share, init),
    parameters: { strategy, audioShare: share, init },
    schedule: stages,
  };
}

export const progressive: Experiment = {
  name: 'progressive',
  question:
    'Do more, higher or progressive iterations keep more information at the top than two, and do they need less training?',
  cells: (scale) =>
    inits.flatMap(([init]) => [
      cell(scale, 'baseline', 1, init),
      ...shares.flatMap((share) => Object.keys(strategies).map((strategy) => cell(scale, strategy, share, init))),
    ]),
  comparisons: () =>
    inits.flatMap(([init, how]) =>
      shares.flatMap((share) =>
        [outcomes.bestPnmi, outcomes.topPnmi, outcomes.dropAtTop].map((outcome): Comparison => {
          const amount = share === 1 ? 'equal training' : 'half the training';
          return {
            outcome: { ...outcome, label: `${outcome.label}, ${how}, ${amount}` },
            baseline: { name: 'two iterations', where: { cell: cellName('baseline', 1, init) } },
            others: Object.entries(strategies).map(([strategy, { title }]) => ({
              name: title,
              where: { cell: cellName(strategy, share, init) },
            })),
          };
        }),
      ),
    ),
};
