/** Validation: the losses and accuracies of masked prediction on held-out utterances, with the same crops and masks each time. */
import type { HubertModel } from '../nn/model';
import { cropBuckets, fixedBatches, type Labelled } from './batches';
import type { Session } from './session';
import { framesOf, shapeOf } from './speech';
import { type LoadedBatch, loadBatch } from './updates';
import { addFrames, emptyWindow, type Window } from './window';

/** The batches of a validation set: read once, kept. */
export async function validationBatches(session: Session, labelled: readonly Labelled[]): Promise<LoadedBatch[]> {
  const { maxSeconds, batchSeconds, seed } = session.config;
  const buckets = cropBuckets(labelled, framesOf(maxSeconds), framesOf(batchSeconds)).map((bucket) => ({
    ...shapeOf(Math.min(bucket.batch, bucket.members.length), bucket.frames),
    members: bucket.members,
  }));
  return Promise.all(fixedBatches(buckets).map((batch, i) => loadBatch(session, batch, seed, i)));
}

/** No dropout, no LayerDrop, nothing changed. The result is one window: its means are the validation's. */
export async function validate(session: Session, model: HubertModel, batches: readonly LoadedBatch[]): Promise<Window> {
  const { maskedWeight, unmaskedWeight, penalty } = session.config.loss;
  const window = { ...emptyWindow(), updates: 1 };
  const maskedFrames = batches.reduce((sum, batch) => sum + batch.maskedFrames, 0);
  for (const { shape, input, maskedFrames: own } of batches) {
    const result = await model.evaluating({ batch: shape.batch, samples: shape.samples }).run(input);
    addFrames(window.masked, result.masked);
    addFrames(window.unmasked, result.unmasked);
    window.featurePenalty += (result.featurePenalty * own) / Math.max(1, maskedFrames);
  }
  const mean = ({ loss, frames }: { loss: number; frames: number }) => (frames > 0 ? loss / frames : 0);
  window.objective =
    maskedWeight * mean(window.masked) + unmaskedWeight * mean(window.unmasked) + penalty * window.featurePenalty;
  return window;
}
