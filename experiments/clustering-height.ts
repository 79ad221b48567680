/**
 * hubertkit experiment clustering-height --preset nano --seeds 3
 *
 * The labels of the second iteration are clusters of layer 1, 2, ... L of one and the same first model.
 */
import { compareCells, type Experiment, outcomes, type Scale } from '../lib/experiments/experiment';

const layers = (scale: Scale) => Array.from({ length: scale.layers }, (_, i) => i + 1);
const named = (layer: number) => ({ title: `teacher layer ${layer}`, cell: `layer-${layer}` });

export const clusteringHeight: Experiment = {
  name: 'clustering-height',
  question: 'Which layer of the first model should the labels of the second iteration come from?',
  cells: (scale) =>
    layers(scale).map((layer) => ({
      name: `layer-${layer}`,
      parameters: { teacherLayer: layer },
      schedule: [scale.first(1), scale.later(1, { teacher: { layer } })],
    })),
  comparisons: (scale) =>
    compareCells(
      [outcomes.bestPnmi, outcomes.topPnmi, outcomes.dropAtTop],
      named(scale.middle),
      layers(scale)
        .filter((layer) => layer !== scale.middle)
        .map(named),
    ),
};
