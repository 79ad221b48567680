/**
 * Pretraining (HuBERT, 2106.07447): for each iteration of the schedule, cluster a teacher's features into labels, then learn to
 * predict the labels of masked frames. The run is a folder; calling `pretrain` again with the same configuration continues it
 * from its newest checkpoint, bit for bit.
 */
import { HubertModel } from '../nn/model';
import { alarms } from './alarms';
import { cropBuckets } from './batches';
import { type Checkpoint, keptUpdates, loadOptimizer } from './checkpoints';
import { type IterationConfig, type PretrainOptions, resolveConfig } from './config';
import { type IterationLabels, makeLabels } from './labels';
import type { Metrics } from './metrics';
import type { Progress } from './progress';
import { linearSchedule } from './schedule';
import { Session, totalSeconds } from './session';
import { framesOf } from './speech';
import { accumulation, runUpdate, type Update, type UpdateOutcome, updatesFrom } from './updates';
import { validate, validationBatches } from './validation';
import { addWindow, emptyWindow, means, type Window } from './window';

export interface PretrainResult {
  /** The run folder, absolute. */
  folder: string;
  /** The last checkpoint. */
  checkpoint: Checkpoint;
  totalUpdates: number;
  audioSeconds: number;
  wallSeconds: number;
  skippedSteps: number;
}

/**
 * Runs or continues a pretraining.
 * @param signal stops it after the current micro-batch, with a checkpoint
 * @throws HK_CONFIG, HK_CORPUS, HK_BUSY; HK_INTERRUPTED after an abort: the same call continues the run
 */
export async function pretrain(
  options: PretrainOptions,
  { onProgress = () => {}, signal }: { onProgress?: (progress: Progress) => void; signal?: AbortSignal } = {},
): Promise<PretrainResult> {
  const session = await Session.open(resolveConfig(options), onProgress, signal);
  try {
    announce(session);
    for (const [iteration, entry] of session.remaining()) {
      const labels = await makeLabels(session, iteration, entry);
      await using model = await startModel(session, iteration, entry, labels);
      await trainIteration(session, model, entry, labels);
    }
    return result(session);
  } finally {
    session.close();
  }
}

/** One iteration from where the session stands: batch in, one native call, log, validate, keep. */
async function trainIteration(session: Session, model: HubertModel, entry: IterationConfig, labels: IterationLabels) {
  const { config, state } = session;
  const rate = linearSchedule({ peak: entry.learningRate, updates: entry.updates, warmup: config.warmup });
  const buckets = cropBuckets(labels.train, framesOf(config.maxSeconds), framesOf(config.batchSeconds));
  const heldOut = await validationBatches(session, labels.valid);
  const due = dueAt(session, entry);
  const watch = alarms(session, labels);

  session.speedSince(0);
  if (state.update === 0) {
    await session.checkpoint(model);
    logValidation(session, labels, await validate(session, model, heldOut));
  }
  for await (const update of updatesFrom(session, buckets, entry.seed, state.cursor)) {
    if (state.update === entry.updates) break;
    const learningRate = rate(state.update + 1);
    const outcome = await runUpdate(session, model, entry, update, { update: state.update + 1, learningRate });
    if (!outcome) break;
    await advance(session, update, outcome);
    if (due.log()) await watch(logTraining(session, labels, entry, learningRate));
    if (due.validation()) logValidation(session, labels, await validate(session, model, heldOut));
    if (due.checkpoint()) await session.checkpoint(model);
  }
  if (session.signal?.aborted && !due.checkpoint()) await session.checkpoint(model);
  session.refuseWhenAborted();
}

/** The model at the session's checkpoint; at the beginning of an iteration new or from the one before, as `init` says. */
async function startModel(
  session: Session,
  iteration: number,
  entry: IterationConfig,
  labels: IterationLabels,
): Promise<HubertModel> {
  const { device, resumedFrom } = session;
  if (resumedFrom && resumedFrom.iteration === iteration) {
    const model = await HubertModel.load(resumedFrom.folder, { device });
    await loadOptimizer(model, resumedFrom);
    return model;
  }
  session.beginIteration(iteration, labels.audioSeconds);
  const { seed, clusters, init } = entry;
  if (init === 'scratch') return HubertModel.create({ config: session.model, clusters, seed, device });
  const model = await HubertModel.load(session.finalCheckpoint(iteration - 1).folder, { device });
  if (init === 'continue-reset-head') model.newHead(clusters, seed);
  return model;
}

/** Moves the session's position past an update. */
async function advance(
  session: Session,
  update: Update,
  { sums, gradientNorm, skipped }: UpdateOutcome,
): Promise<void> {
  const { state } = session;
  state.update++;
  state.totalUpdates++;
  state.cursor = update.position + update.batches.length;
  state.audioSeconds = Math.round((state.audioSeconds + update.audioSeconds) * 50) / 50; // whole frames, no rounding dust
  addWindow(state.window, sums);
  if (!skipped) return;
  state.skippedSteps++;
  const crops = update.batches.flatMap((batch) => batch.crops);
  await session.recordSkippedStep({
    iteration: state.iteration,
    update: state.update,
    totalUpdates: state.totalUpdates,
    gradientNorm: Number.isFinite(gradientNorm) ? gradientNorm : null,
    utterances: crops.map(({ utterance, start, frames }) => ({ id: utterance.id, start, frames })),
  });
}

/** What is due after the update that the session stands at. */
function dueAt({ config, state }: Session, { updates }: IterationConfig) {
  const kept = keptUpdates(updates, config.checkpoints.keep);
  const every = (interval: number) => state.update % interval === 0 || state.update === updates;
  return {
    log: () => every(config.logEvery),
    validation: () => every(config.validateEvery),
    checkpoint: () => every(config.checkpoints.every) || kept.includes(state.update),
  };
}

function logTraining(session: Session, labels: IterationLabels, entry: IterationConfig, learningRate: number): Metrics {
  const { state, wallSeconds } = session;
  const { window } = state;
  const speed = session.speedSince(window.audioSeconds);
  const metrics: Metrics = {
    kind: 'train',
    ...position(session, labels, window),
    learningRate,
    gradientNorm: window.updates > 0 ? window.gradientNorm / window.updates : 0,
    skippedSteps: state.skippedSteps,
    audioSecondsPerSecond: speed,
    wallSeconds,
  };
  state.window = emptyWindow();
  session.log.write(metrics);
  const left = session.config.schedule.reduce((sum, { updates }) => sum + updates, 0) - state.totalUpdates;
  const etaSeconds = (left * state.audioSeconds) / state.totalUpdates / speed;
  session.onProgress({ kind: 'update', metrics, updates: entry.updates, etaSeconds });
  return metrics;
}

function logValidation(session: Session, labels: IterationLabels, window: Window): void {
  if (labels.valid.length === 0) return;
  const metrics: Metrics = { kind: 'valid', ...position(session, labels, window), wallSeconds: session.wallSeconds };
  session.log.write(metrics);
  session.onProgress({ kind: 'valid', metrics });
}

function position({ state }: Session, { unigramBits }: IterationLabels, window: Window) {
  const { iteration, update, totalUpdates, audioSeconds, relabelAudioSeconds } = state;
  return { iteration, update, totalUpdates, audioSeconds, relabelAudioSeconds, ...means(window), unigramBits };
}

function announce(session: Session): void {
  const { config, folder, corpus, deviceNote, train, valid, resumedFrom } = session;
  session.onProgress({
    kind: 'run',
    config,
    folder,
    ...(deviceNote && { deviceNote }),
    trainUtterances: train.length,
    trainSeconds: totalSeconds(train),
    validUtterances: valid.length,
    validSeconds: totalSeconds(valid),
    skipped: corpus.skipped.length,
    accumulation: accumulation(config),
    ...(resumedFrom && { resumedFrom }),
  });
}

function result(session: Session): PretrainResult {
  const { totalUpdates, audioSeconds, skippedSteps, wallSeconds } = session.state;
  const checkpoint = session.finalCheckpoint(session.config.schedule.length);
  return { folder: session.folder, checkpoint, totalUpdates, audioSeconds, wallSeconds, skippedSteps };
}
