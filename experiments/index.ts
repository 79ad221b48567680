/** All experiments, in the order in which they share the most of what has been trained. */
import type { Experiment } from '../lib/experiments/experiment';
import { clusteringHeight } from './clustering-height';
import { clusters } from './clusters';
import { informationOverPretraining } from './information-over-pretraining';
import { intermediateLoss } from './intermediate-loss';
import { iterations } from './iterations';
import { layerReset } from './layer-reset';
import { masking } from './masking';
import { progressive } from './progressive';
import { unmaskedLoss } from './unmasked-loss';

export const experiments: readonly Experiment[] = [
  informationOverPretraining,
  clusteringHeight,
  clusters,
  iterations,
  layerReset,
  progressive,
  masking,
  unmaskedLoss,
  intermediateLoss,
];
