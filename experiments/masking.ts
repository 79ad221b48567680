/**
 * hubertkit experiment masking --preset nano --seeds 3
 *
 * How much is masked: p is the share of frames that would be covered if no two spans of 10 overlapped (HuBERT: .8, so that 8 %
 * of the frames begin one). One iteration from MFCC labels.
 */
import { compareCells, type Experiment, outcomes } from '../lib/experiments/experiment';

const probabilities = [0.35, 0.5, 0.65, 0.8];
const named = (p: number) => ({ title: `p = ${p}`, cell: `mask-${p}` });

export const masking: Experiment = {
  name: 'masking',
  question: 'How much should be masked?',
  cells: (scale) =>
    probabilities.map((probability) => ({
      name: `mask-${probability}`,
      parameters: { maskProbability: probability },
      schedule: [scale.first(1)],
      config: { mask: { probability } },
    })),
  comparisons: () =>
    compareCells([outcomes.bestPnmi, outcomes.topPnmi], named(0.8), probabilities.filter((p) => p !== 0.8).map(named)),
};
