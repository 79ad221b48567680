/** A model of one block and a corpus of tones, on which a whole experiment takes seconds. */
import * as os from 'node:os';
import type { ExperimentOptions } from '../../lib/experiments/plan';

/** Iterations of usual length are 4 updates here; every fine-tuning has 4. */
export function microExperiment(
  corpus: string,
  out: string,
  experiment: ExperimentOptions['experiment'],
): ExperimentOptions {
  const overrides = {
    hiddenSize: 32,
    intermediateSize: 64,
    layers: 1,
    projectionSize: 16,
    posConvKernel: 16,
    posConvGroups: 4,
  };
  return {
    experiment,
    corpus,
    out,
    seeds: 1,
    set: {
      model: { preset: 'nano', overrides },
      frontEnd: 'mel',
      threads: 1,
      minSeconds: 0.3,
      maxSeconds: 2,
      batchSeconds: 4,
      updateSeconds: 4,
      kmeans: { initialisations: 1, maxIterations: 5 },
    },
    // All cores for each: fine-tunings run in this process, one after the other.
    finetune: {
      threads: os.availableParallelism(),
      letters: 'ABCDEF',
      updates: 4,
      batchSeconds: 4,
      evaluations: 2,
      curveSeconds: 4,
    },
  };
}
