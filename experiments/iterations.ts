/**
 * hubertkit experiment iterations --preset nano --seeds 3
 *
 * One to four iterations that share the same amount of training: two of the usual length.
 */
import { compareCells, type Experiment, outcomes, type Scale } from '../lib/experiments/experiment';

const counts = [1, 2, 3, 4];
const named = (count: number) => ({
  title: `${count} iteration${count === 1 ? '' : 's'}`,
  cell: `iterations-${count}`,
});

function schedule(scale: Scale, count: number) {
  const length = 2 / count;
  return [scale.first(length), ...Array.from({ length: count - 1 }, () => scale.later(length))];
}

export const iterations: Experiment = {
  name: 'iterations',
  question: 'Into how many iterations should a given amount of training be divided?',
  cells: (scale) =>
    counts.map((count) => ({
      name: `iterations-${count}`,
      parameters: { iterations: count },
      schedule: schedule(scale, count),
    })),
  comparisons: () =>
    compareCells(
      [outcomes.bestPnmi, outcomes.topPnmi, outcomes.dropAtTop],
      named(2),
      counts.filter((count) => count !== 2).map(named),
    ),
};
