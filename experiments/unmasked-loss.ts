/**
 * hubertkit experiment unmasked-loss --preset nano --seeds 3
 *
 * alpha weighs the loss of masked frames, 1 - alpha that of the others (2106.07447, section III-B): 1 is HuBERT, 0 is
 * classification of what the network sees. One iteration from MFCC labels.
 */
import { compareCells, type Experiment, outcomes } from '../lib/experiments/experiment';

const alphas = [1, 0.5, 0];
const named = (alpha: number) => ({ title: `alpha = ${alpha}`, cell: `alpha-${alpha}` });

export const unmaskedLoss: Experiment = {
  name: 'unmasked-loss',
  question: 'Should frames that are not masked be predicted too?',
  cells: (scale) =>
    alphas.map((alpha) => ({
      name: `alpha-${alpha}`,
      parameters: { alpha },
      schedule: [scale.first(1)],
      config: { loss: { maskedWeight: alpha, unmaskedWeight: 1 - alpha } },
    })),
  comparisons: () =>
    compareCells([outcomes.bestPnmi, outcomes.topPnmi, outcomes.autoencoderIndex], named(1), [0.5, 0].map(named)),
};
