/** Signs that a run is not learning what it should: each is told once an iteration, in alarms.jsonl and as progress. */
import type { IterationLabels } from './labels';
import type { Metrics } from './metrics';
import type { Session } from './session';

/** Looks at each train line of an iteration. */
export function alarms(session: Session, labels: IterationLabels): (metrics: Metrics) => Promise<void> {
  const told = new Set<string>();
  const tell = async (message: string | undefined) => {
    if (!message || told.has(message)) return;
    told.add(message);
    await session.alarm(message);
  };
  return async (metrics) => {
    await tell(collapse(metrics));
    await tell(stuck(metrics, session.config.schedule[metrics.iteration - 1].updates));
    await tell(manySkipped(metrics));
    await tell(degenerateLabels(labels));
  };
}

/** A masked loss near 0 long before real speech allows it: the labels are trivial, or leak. */
function collapse({ maskedLossBits, unigramBits }: Metrics): string | undefined {
  if (maskedLossBits > 0.05 * unigramBits) return undefined;
  return 'The masked loss has collapsed to under 5 % of the entropy of the labels. Trained HuBERTs stay near half of it: the labels are trivial, or most audio is the same.';
}

/** Audio seconds after which the loss of any model that learns has left the entropy of the labels. */
const learningShows = 8000;

/** Nothing learned but how frequent each label is. */
function stuck(metrics: Metrics, updates: number): string | undefined {
  const { update, totalUpdates, audioSeconds, maskedLossBits, unigramBits } = metrics;
  const heard = (audioSeconds * update) / totalUpdates;
  if (heard < learningShows || update < updates / 2 || maskedLossBits < unigramBits - 0.1) return undefined;
  return 'Half of the iteration is over and the masked loss is still the entropy of the labels: nothing is being learned. Usual reasons: a learning rate that is too high (post-LN models stay there at 2e-3), or too much masked.';
}

function manySkipped({ skippedSteps = 0, totalUpdates }: Metrics): string | undefined {
  if (skippedSteps < 5 || skippedSteps < 0.05 * totalUpdates) return undefined;
  return 'More than 5 % of the updates were skipped because their gradient was not finite: see skipped-steps.jsonl for their utterances, and lower the learning rate.';
}

function degenerateLabels({ unigramBits, clusters, activeClusters }: IterationLabels): string | undefined {
  if (unigramBits > 0.5 * Math.log2(clusters) && activeClusters > 0.5 * clusters) return undefined;
  return `The labels are degenerate: ${activeClusters} of ${clusters} clusters occur, their entropy is ${unigramBits.toFixed(2)} of at most ${Math.log2(clusters).toFixed(2)} bits. Silence or repeated audio in the corpus, or too many clusters for it.`;
}
