/** A run folder, read: configuration, iterations, checkpoints, metrics. What analysis, fine-tuning and the report start from. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as yaml from 'yaml';
import { HubertkitError } from '../errors';
import { HubertModel } from '../nn/model';
import { type Checkpoint, listCheckpoints, readState, type TrainState } from './checkpoints';
import { type IterationConfig, type PretrainConfig, resolveConfig } from './config';
import { type Metrics, readMetrics } from './metrics';

/** system.json: what a run was made with. */
export interface SystemInfo {
  /** Seconds since 1970. */
  startedAt: number;
  hubertkit: string;
  node: string;
  platform: string;
  cpu: string;
  cores: number;
  memoryGiB: number;
  backend: unknown;
  git?: string;
}

export interface RunIteration {
  /** 1-based. */
  iteration: number;
  folder: string;
  config: IterationConfig;
  /** The centroids file, when the labels of the iteration have been made. */
  centroids?: string;
  checkpoints: Checkpoint[];
  /** Its last update has been done. */
  complete: boolean;
}

export interface Run {
  folder: string;
  /** The folder's last name. */
  name: string;
  config: PretrainConfig;
  system?: SystemInfo;
  iterations: RunIteration[];
  complete: boolean;
  /** Complete checkpoints, oldest first, as they are on disk now. */
  checkpoints(): Checkpoint[];
  /** Lines of metrics.jsonl. */
  metrics(): Metrics[];
  /** The newest complete checkpoint. */
  latest(): Checkpoint | undefined;
  /** A checkpoint by its name (`iteration-1/step-000400`), by iteration (`iteration-1`: its last) or `latest`. @throws HK_NAME */
  checkpoint(name: string): Checkpoint;
  state(checkpoint: Checkpoint): TrainState;
  /** Loads a checkpoint's weights. The model is the caller's to dispose. Default: the newest. */
  loadModel(checkpoint?: Checkpoint): Promise<HubertModel>;
}

/** Opens a run folder, finished or not. @throws HK_IO when there is no run, HK_CONFIG when its configuration is damaged */
export function openRun(folder: string): Run {
  const config = readConfig(folder);
  const checkpoints = () => listCheckpoints(folder);
  const iterations = config.schedule.map((entry, i) => runIteration(folder, i + 1, entry, checkpoints()));
  const latest = () => checkpoints().at(-1);
  const checkpoint = (name: string): Checkpoint => {
    const found =
      name === 'latest' ? latest() : checkpoints().findLast((c) => c.name === name || c.name.startsWith(`${name}/`));
    if (found) return found;
    const names = checkpoints().map((c) => c.name);
    throw new HubertkitError(
      'HK_NAME',
      `${folder} has no checkpoint "${name}". It has: ${names.join(', ') || 'none yet'}.`,
    );
  };
  return {
    folder,
    name: path.basename(path.resolve(folder)),
    config,
    system: readSystem(folder),
    iterations,
    complete: iterations.every((iteration) => iteration.complete),
    checkpoints,
    metrics: () => readMetrics(folder),
    latest,
    checkpoint,
    state: readState,
    loadModel: (which = checkpoint('latest')) => HubertModel.load(which.folder),
  };
}

/** Is there a run in this folder? */
export function hasRun(folder: string): boolean {
  return fs.existsSync(path.join(folder, 'config.yaml'));
}

function readConfig(folder: string): PretrainConfig {
  if (!hasRun(folder))
    throw new HubertkitError('HK_IO', `${path.resolve(folder)} is not a run: it has no config.yaml.`);
  return resolveConfig(yaml.parse(fs.readFileSync(path.join(folder, 'config.yaml'), 'utf8')));
}

function readSystem(folder: string): SystemInfo | undefined {
  const file = path.join(folder, 'system.json');
  return fs.existsSync(file) ? (JSON.parse(fs.readFileSync(file, 'utf8')) as SystemInfo) : undefined;
}

function runIteration(run: string, iteration: number, config: IterationConfig, all: Checkpoint[]): RunIteration {
  const folder = path.join(run, `iteration-${iteration}`);
  const checkpoints = all.filter((c) => c.iteration === iteration);
  const centroids = path.join(folder, 'centroids.safetensors');
  return {
    iteration,
    folder,
    config,
    ...(fs.existsSync(centroids) && { centroids }),
    checkpoints,
    complete: checkpoints.at(-1)?.update === config.updates,
  };
}
