/**
 * Measures every kept checkpoint of a run, layer by layer, by the metrics of metrics.ts. One JSON file for each checkpoint in
 * analysis/ of the run folder; what it holds already, made with the same settings, is kept: asking for another metric measures only
 * that one.
 */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { wrappedAsync } from '../binding';
import type { AlignmentCoverage } from '../data/alignment-files';
import { readJson, writeJsonAtomic } from '../formats/atomic';
import { HubertModel } from '../nn/model';
import type { Checkpoint } from '../train/checkpoints';
import { firstDifference } from '../train/config';
import { openRun, type Run } from '../train/run';
import { autoencoderIndex, dropAtTop } from './autoencoder';
import { Ground, type UtteranceSet } from './ground';
import { refuseWhenAborted } from './interrupt';
import { type FrameMatrix, layerFeatures } from './layer-features';
import { type AnalysisMetric, checkMetrics, defaultMetrics, type LayerContext, metrics } from './metrics';
import type { Chance, CheckpointAnalysis, LayerAnalysis } from './results';
import { type AnalysisSettings, type CommonSettings, commonSettings, pick, resolveSettings } from './settings';

export interface AnalyzeOptions extends Partial<AnalysisSettings> {
  /**
   * What to measure (metricNames lists them), on every kept checkpoint. Default: clusters, cka, and on the first and the last
   * checkpoint of each iteration probe.
   */
  metrics?: AnalysisMetric[];
  /** Features held at a time; more layers than fit are measured in several passes. Default 1024. */
  memoryMiB?: number;
  /** CPU threads; 0: all cores. Default: the run's. */
  threads?: number;
  /** Called once when `alignments` have been joined to the corpus. */
  onAlignments?: (coverage: AlignmentCoverage) => void;
  onProgress?: (progress: AnalysisProgress) => void;
  /** Stops between layers; the files written so far are kept. */
  signal?: AbortSignal;
}

export interface AnalysisProgress {
  /** `iteration-1/step-000400`. */
  checkpoint: string;
  /** Checkpoints done, of all. */
  done: number;
  of: number;
  /** The layer just measured; absent when the file was there already. */
  layer?: number;
}

/** A checkpoint with the one before it among those kept. */
interface Step {
  checkpoint: Checkpoint;
  before?: Checkpoint;
}

/**
 * Analyses all complete checkpoints of a run, oldest first. May be called again while the run goes on or with other metrics: only
 * what is missing is measured.
 *
 * @throws HK_ARGUMENT for a metric that is none, HK_CORPUS without the alignments that a metric needs, HK_INTERRUPTED, what
 * openRun throws
 */
export async function analyzeRun(folder: string, options: AnalyzeOptions = {}): Promise<CheckpointAnalysis[]> {
  const asked = checkMetrics(options.metrics ?? defaultMetrics);
  const settings = resolveSettings(options);
  const run = openRun(folder);
  await wrappedAsync((n) => n.setThreads((options.threads ?? run.config.threads) || os.availableParallelism()));
  const checkpoints = run.checkpoints();
  const ends = endsOfIterations(checkpoints);
  const analyses: CheckpointAnalysis[] = [];
  let ground: Ground | undefined;
  for (const [done, checkpoint] of checkpoints.entries()) {
    const report = (layer?: number) =>
      options.onProgress?.({
        checkpoint: checkpoint.name,
        done: layer === undefined ? done + 1 : done,
        of: checkpoints.length,
        layer,
      });
    const step: Step = { checkpoint, before: checkpoints[done - 1] };
    const file = path.join(folder, 'analysis', `${checkpoint.name.replace('/', '-')}.json`);
    const kept = await keptAnalysis(file, settings);
    const due = asked.filter(
      (name) =>
        !(metrics[name].needsPrevious && !step.before) &&
        !(name === 'probe' && options.metrics === undefined && !ends.has(checkpoint.name)) &&
        firstDifference(kept?.measured[name], deciding(name, settings, step)) !== undefined,
    );
    if (kept && due.length === 0) analyses.push(kept);
    else {
      ground ??= await Ground.of(run, settings, options.onAlignments);
      for (const name of due) if (metrics[name].needsPhones) ground.requirePhones(name);
      const measured = await measureLayers(step, due, ground, settings, options, report);
      const analysis = await merged(run, step, ground, settings, measured, kept, analyses[0]);
      await writeJsonAtomic(file, analysis);
      analyses.push(analysis);
    }
    report();
  }
  return analyses;
}

/** Names of the first and the last checkpoint of each iteration. */
function endsOfIterations(checkpoints: Checkpoint[]): Set<string> {
  const differs = (a: Checkpoint, b?: Checkpoint) => a.iteration !== b?.iteration;
  const ends = checkpoints.filter((c, i) => differs(c, checkpoints[i - 1]) || differs(c, checkpoints[i + 1]));
  return new Set(ends.map(({ name }) => name));
}

/** The analysis in `file`, when it was made of the same frames. */
async function keptAnalysis(file: string, settings: AnalysisSettings): Promise<CheckpointAnalysis | undefined> {
  if (!fs.existsSync(file)) return undefined;
  const analysis = await readJson<CheckpointAnalysis>(file);
  const same = analysis.measured && firstDifference(analysis.settings, pick(settings, commonSettings)) === undefined;
  return same ? analysis : undefined;
}

/** What decides the numbers of a metric, beside the common settings. */
function deciding(name: AnalysisMetric, settings: AnalysisSettings, { before }: Step) {
  const { settings: keys, needsPrevious } = metrics[name];
  return { ...pick(settings, keys), ...(needsPrevious && before && { previous: before.name }) };
}

interface Measurement {
  layers: LayerAnalysis[];
  chance: Chance;
  /** Those that were measured. */
  names: AnalysisMetric[];
}

/** As many layers at a time as the memory holds; layer 0, which the others are compared with, is gathered with each of them. */
async function measureLayers(
  { checkpoint, before }: Step,
  names: AnalysisMetric[],
  ground: Ground,
  settings: AnalysisSettings,
  options: AnalyzeOptions,
  report: (layer: number) => void,
): Promise<Measurement> {
  await using model = await HubertModel.load(checkpoint.folder);
  const comparing = names.some((name) => metrics[name].needsPrevious);
  await using previous = comparing ? await HubertModel.load(before!.folder) : undefined;
  const { layers: depth, hiddenSize } = model.config;
  const sets = [...new Set((await Promise.all(names.map((name) => metrics[name].sets(ground)))).flat())];
  const bytes = 4 * hiddenSize * framesOf(sets) + (comparing ? 4 * hiddenSize * ground.set.testFrames : 0);
  const together = Math.max(1, Math.floor(((options.memoryMiB ?? 1024) * 2 ** 20) / bytes) - 1);
  const all = Array.from({ length: depth + 1 }, (_, layer) => layer);
  const layers: LayerAnalysis[] = [];
  const chance: Chance = {};
  for (let start = 0; start <= depth; start += together) {
    const group = all.slice(start, start + together);
    const gather = (of: HubertModel, wanted: number[], from: UtteranceSet[]) =>
      featuresOf(of, wanted, from, ground, options.signal);
    const features = await gather(model, [...new Set([0, ...group])], sets);
    const earlier = previous && (await gather(previous, group, [ground.set.test]));
    for (const layer of group) {
      refuseWhenAborted(options.signal, 'The analysis');
      const context: LayerContext = {
        ground,
        settings,
        signal: options.signal,
        features: features(layer),
        input: features(0),
        previous: earlier?.(layer),
      };
      const row: LayerAnalysis = { layer };
      for (const name of names) {
        const found = await metrics[name].measure(context);
        Object.assign(row, found.layer);
        Object.assign(chance, found.chance);
      }
      layers.push(row);
      report(layer);
    }
  }
  return { layers, chance, names };
}

const framesOf = (sets: UtteranceSet[]) => sets.flat().reduce((sum, { frames }) => sum + frames, 0);

/** Features by layer and set. */
async function featuresOf(
  model: HubertModel,
  layers: number[],
  sets: UtteranceSet[],
  ground: Ground,
  signal?: AbortSignal,
): Promise<(layer: number) => (set: UtteranceSet) => FrameMatrix> {
  const found = await layerFeatures(model, layers, sets, ground.speech, signal);
  return (layer) => (set) => found.get(layer)![sets.indexOf(set)];
}

/** What was measured now beside what the file held. */
async function merged(
  run: Run,
  { checkpoint, before }: Step,
  ground: Ground,
  settings: AnalysisSettings,
  { layers: now, chance, names }: Measurement,
  kept: CheckpointAnalysis | undefined,
  first: CheckpointAnalysis | undefined,
): Promise<CheckpointAnalysis> {
  const { totalUpdates, audioSeconds } = run.state(checkpoint);
  const { iteration, update, name } = checkpoint;
  const layers = now.map((row, i) => ({ ...kept?.layers[i], ...row }));
  const isRandom = (a: { iteration: number; update: number } | undefined) => a?.iteration === 1 && a.update === 0;
  const random = isRandom(checkpoint) ? layers : isRandom(first) ? first!.layers : undefined;
  const { set, testLabels } = ground;
  const baselines = await Promise.all(names.map((metric) => ground.baseline(metrics[metric])));
  const decided = Object.fromEntries(
    names.map((metric) => [metric, deciding(metric, settings, { checkpoint, before })]),
  );
  const { clusters } = { ...settings, ...kept?.measured.clusters, ...decided.clusters };
  return {
    checkpoint: name,
    iteration,
    update,
    totalUpdates,
    audioSeconds,
    layers,
    ...indices(layers),
    ...(random && { random: { layers: random } }),
    ...mergedBaselines([{ mfcc: kept?.mfcc, chance: kept?.chance }, { chance }, ...baselines]),
    clusters,
    frames: testLabels.filter((label) => label >= 0).length,
    phones: set.phones.length,
    speakers: { fit: set.fitSpeakers, test: set.testSpeakers, unseen: set.unseenSpeakers },
    settings: pick(settings, commonSettings) as CommonSettings,
    measured: { ...kept?.measured, ...decided },
  };
}

function mergedBaselines(
  parts: Pick<CheckpointAnalysis, 'mfcc' | 'chance'>[],
): Pick<CheckpointAnalysis, 'mfcc' | 'chance'> {
  const mfcc = parts.findLast((part) => part.mfcc)?.mfcc;
  const chance: Chance = Object.assign({}, ...parts.map((part) => part.chance));
  return { ...(mfcc && { mfcc }), ...(Object.keys(chance).length > 0 && { chance }) };
}

/** Single numbers of what all layers have. */
function indices(layers: LayerAnalysis[]): Partial<CheckpointAnalysis> {
  const of = (key: keyof LayerAnalysis) => {
    const values = layers.map((row) => row[key]);
    return values.every((value) => value !== undefined) ? values : undefined;
  };
  const [cka, cca, pnmi, phone] = (['ckaLayer0', 'pwccaLayer0', 'pnmi', 'pwccaPhone'] as const).map(of);
  return {
    ...(cka && { autoencoderIndex: autoencoderIndex(cka) }),
    ...(cca && { autoencoderIndexCca: autoencoderIndex(cca) }),
    ...(pnmi && { dropAtTop: dropAtTop(pnmi) }),
    ...(phone && { dropAtTopCca: dropAtTop(phone) }),
  };
}
