/**
 * hubertkit experiment information-over-pretraining --preset nano --seeds 3
 *
 * How phone information moves through the layers during pretraining (2405.08402): every layer at every kept checkpoint of three
 * iterations, the labels of the second and third from the middle layer.
 */
import { type Experiment, outcomes } from '../lib/experiments/experiment';

const iteration = (n: number) => ({ name: `iteration ${n}`, where: { iteration: n } });

export const informationOverPretraining: Experiment = {
  name: 'information-over-pretraining',
  question: 'Where does phone information stand in the network while it trains, and does the top layer keep it?',
  metrics: ['clusters', 'cka', 'probe', 'pwcca', 'rank', 'drift'],
  cells: (scale) => [
    {
      name: 'three-iterations',
      parameters: { iterations: 3, teacherLayer: scale.middle },
      schedule: [scale.first(1), scale.later(1), scale.later(1)],
      keep: 5,
    },
  ],
  comparisons: () => [
    ...Object.values(outcomes).map((outcome) => ({
      outcome,
      baseline: iteration(1),
      others: [iteration(2), iteration(3)],
    })),
    ...[outcomes.topPnmi, outcomes.dropAtTop].map((outcome) => ({
      outcome,
      baseline: { name: 'before training', where: { iteration: 1, update: 0 } },
      others: [iteration(3)],
    })),
  ],
};
