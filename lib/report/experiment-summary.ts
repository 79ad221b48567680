/** What an experiment asked, what it showed and what it cost, in sentences. The verdicts are the experiment's own. */
import type { ExperimentData } from './read-experiment';
import { duration } from './summary';

/** One paragraph each. */
export function experimentSummary({ question, preset, seeds, verdicts, cost }: ExperimentData): string[] {
  const models = `${cost.cells} ${cost.cells === 1 ? 'pretraining' : 'pretrainings'} of “${preset}”`;
  const over = `${seeds.length} ${seeds.length === 1 ? 'seed: no interval can be given' : 'seeds'}`;
  return [
    `Question: ${question}`,
    ...verdicts.map(({ sentence }) => sentence),
    `Cost: ${models} over ${over}; ${duration(cost.audioSeconds)} of audio trained on, ${duration(cost.seconds)} of computing (pretraining ${duration(cost.pretrainingSeconds)}, analysis ${duration(cost.analysisSeconds)}, fine-tuning ${duration(cost.finetuningSeconds)}).`,
  ];
}
