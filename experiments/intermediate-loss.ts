/**
 * hubertkit experiment intermediate-loss --preset nano --seeds 3
 *
 * Masked prediction at a middle layer too (ILS-SSL, 2112.08778: layers 4 and 12 of 12), with the head of the top layer. The
 * objective is `loss.intermediateLayers` of the configuration and the loop over it in lib/nn/steps.ts. One iteration from MFCC labels.
 */
import { compareCells, type Experiment, layerAt, outcomes } from '../lib/experiments/experiment';

export const intermediateLoss: Experiment = {
  name: 'intermediate-loss',
  question: 'Does it help when a middle layer has to predict the labels too?',
  cells: (scale) => {
    const layer = layerAt(scale, 1 / 3);
    return [
      { name: 'top', parameters: { intermediateLayer: 'none' }, schedule: [scale.first(1)] },
      {
        name: 'top-and-middle',
        parameters: { intermediateLayer: layer },
        schedule: [scale.first(1)],
        config: { loss: { intermediateLayers: [layer] } },
      },
    ];
  },
  comparisons: () =>
    compareCells(Object.values(outcomes), { title: 'the top layer alone', cell: 'top' }, [
      { title: 'a middle layer too', cell: 'top-and-middle' },
    ]),
};
