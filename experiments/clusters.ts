/**
 * hubertkit experiment clusters --preset nano --seeds 3
 *
 * K of the second iteration's labels, the first model being the same. What is measured always uses the same K, so that the
 * rows can be compared.
 */
import { compareCells, type Experiment, outcomes } from '../lib/experiments/experiment';

const sizes = [50, 100, 500, 1000];
const named = (clusters: number) => ({ title: `K = ${clusters}`, cell: `clusters-${clusters}` });

export const clusters: Experiment = {
  name: 'clusters',
  question: 'How many clusters should the labels of the second iteration have?',
  cells: (scale) =>
    sizes.map((size) => ({
      name: `clusters-${size}`,
      parameters: { clusters: size },
      schedule: [scale.first(1), scale.later(1, { clusters: size })],
    })),
  comparisons: () =>
    compareCells([outcomes.bestPnmi, outcomes.topPnmi], named(100), sizes.filter((size) => size !== 100).map(named)),
};
