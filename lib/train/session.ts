/** An open run: its folder, corpus, log, clock and position. Made at the start of `pretrain`, closed at its end. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { execFileSync } from 'node:child_process';
import { SpeechSource } from '../analysis/speech';
import { packageRoot, wrapped, wrappedAsync } from '../binding';
import { availableDevice, type ResolvedDevice } from '../binding/device';
import { checkSkipped, openCorpus, skippedReport } from '../data/corpus';
import { type Corpus, type Skipped, sampleRate, type Utterance } from '../data/types';
import { HubertkitError } from '../errors';
import { appendJsonLine, readJsonLines, writeFileAtomic, writeJsonAtomic, writeJsonLines } from '../formats/atomic';
import type { HubertConfig } from '../nn/config';
import type { HubertModel } from '../nn/model';
import { isRunning } from '../processes';
import {
  type Checkpoint,
  keptUpdates,
  listCheckpoints,
  readState,
  saveCheckpoint,
  type TrainState,
} from './checkpoints';
import { configYaml, firstDifference, type IterationConfig, modelConfig, type PretrainConfig } from './config';
import { MetricsLog } from './metrics';
import type { Progress } from './progress';
import { hasRun, openRun, type SystemInfo } from './run';
import { splitUtterances } from './splits';
import { emptyWindow } from './window';

export interface SkippedStep {
  iteration: number;
  update: number;
  totalUpdates: number;
  gradientNorm: number | null;
  /** The utterances of the update, with the frames they were cropped to. */
  utterances: { id: string; start: number; frames: number }[];
}

export class Session {
  readonly folder: string;
  readonly device: string;
  /** Why `device: auto` is the CPU. */
  readonly deviceNote?: string;
  readonly model: HubertConfig;
  readonly speech: SpeechSource;
  /** What to train and to validate on, as far as the headers of the files say. */
  readonly train: Utterance[];
  readonly valid: Utterance[];
  readonly state: TrainState;
  /** Where the run goes on; undefined: at its beginning. */
  readonly resumedFrom: Checkpoint | undefined;
  #log: MetricsLog;
  #clock = performance.now();
  #lastSpeed = performance.now();
  #wallBefore: number;

  /**
   * Opens the folder of `config`, new or with the same configuration, at its newest checkpoint.
   * @throws HK_CONFIG another configuration is in the folder, HK_BUSY another process trains there, HK_CORPUS nothing to train on
   */
  static async open(
    config: PretrainConfig,
    onProgress: (progress: Progress) => void,
    signal?: AbortSignal,
  ): Promise<Session> {
    const folder = path.resolve(config.out);
    if (hasRun(folder)) refuseAnother(config, openRun(folder).config, folder);
    fs.mkdirSync(folder, { recursive: true });
    const unlock = lock(folder);
    try {
      await wrappedAsync((n) => n.setThreads(config.threads || os.availableParallelism()));
      const device = availableDevice(config.device);
      const corpus = await openCorpus(config.corpus, { maxSkippedShare: config.maxSkippedShare, signal });
      const system = await describe(folder, config);
      const session = new Session(config, corpus, device, system, onProgress, signal, unlock);
      await session.readSkippedFiles();
      await session.forgetLaterSkips();
      return session;
    } catch (error) {
      unlock();
      throw error;
    }
  }

  private constructor(
    readonly config: PretrainConfig,
    readonly corpus: Corpus,
    resolved: ResolvedDevice,
    system: SystemInfo,
    readonly onProgress: (progress: Progress) => void,
    readonly signal: AbortSignal | undefined,
    private readonly unlock: () => void,
  ) {
    this.folder = path.resolve(config.out);
    this.device = resolved.device;
    this.deviceNote = resolved.note;
    this.model = modelConfig(config);
    this.speech = new SpeechSource(this.model);
    ({ train: this.train, valid: this.valid } = splitUtterances(corpus.utterances, config));
    this.resumedFrom = listCheckpoints(this.folder).at(-1);
    this.state = this.resumedFrom ? readState(this.resumedFrom) : beginning();
    this.#wallBefore = this.state.wallSeconds;
    this.#log = new MetricsLog(this.folder, this.state.metricsLines, system.startedAt);
  }

  get log(): MetricsLog {
    return this.#log;
  }

  /** The utterances of a split, those left out whose audio could not be decoded. */
  usable(split: 'train' | 'valid'): Utterance[] {
    const skipped = new Set(this.corpus.skipped.map((file) => file.path));
    return this[split].filter((utterance) => !skipped.has(utterance.path));
  }

  /** Notes the files that cannot be used. @throws HK_CORPUS when they are too many */
  async reportSkippedFiles(): Promise<void> {
    await skippedReport(this.corpus, this.skippedFiles);
    checkSkipped(this.corpus, this.config.maxSkippedShare);
  }

  /** Seconds that the run has taken so far, in this process and in those before. */
  get wallSeconds(): number {
    return this.#wallBefore + (performance.now() - this.#clock) / 1000;
  }

  /** Audio seconds per second since this was last asked. */
  speedSince(audioSeconds: number): number {
    const now = performance.now();
    const speed = (1000 * audioSeconds) / (now - this.#lastSpeed);
    this.#lastSpeed = now;
    return speed;
  }

  /** Moves to the first position of an iteration. */
  beginIteration(iteration: number, relabelAudioSeconds: number): void {
    const { state } = this;
    state.iteration = iteration;
    state.update = 0;
    state.cursor = 0;
    state.relabelAudioSeconds += relabelAudioSeconds;
    state.window = emptyWindow();
  }

  /** Iterations that are not finished, with their 1-based numbers. */
  remaining(): [iteration: number, entry: IterationConfig][] {
    const all = this.config.schedule.map((entry, i): [number, IterationConfig] => [i + 1, entry]);
    return all.filter(
      ([n, { updates }]) => n > this.state.iteration || (n === this.state.iteration && this.state.update < updates),
    );
  }

  iterationFolder(iteration: number): string {
    return path.join(this.folder, `iteration-${iteration}`);
  }

  /** The last checkpoint of an iteration. @throws HK_FORMAT when it has been removed */
  finalCheckpoint(iteration: number): Checkpoint {
    const { updates } = this.config.schedule[iteration - 1];
    const found = listCheckpoints(this.folder).find((c) => c.iteration === iteration && c.update === updates);
    if (found) return found;
    throw new HubertkitError(
      'HK_FORMAT',
      `${this.iterationFolder(iteration)} has no checkpoint of its last update ${updates}: the next iteration needs it.`,
    );
  }

  /** Writes a checkpoint of the current state, with everything logged before it. */
  async checkpoint(model: HubertModel): Promise<void> {
    const { state, config } = this;
    const entry = config.schedule[state.iteration - 1];
    this.#log.sync();
    state.metricsLines = this.#log.lines;
    state.wallSeconds = this.wallSeconds;
    const checkpoint = await saveCheckpoint(
      this.folder,
      model,
      state,
      keptUpdates(entry.updates, config.checkpoints.keep),
    );
    this.onProgress({ kind: 'checkpoint', checkpoint });
  }

  /** @throws HK_INTERRUPTED when the caller's signal has been aborted */
  refuseWhenAborted(): void {
    if (!this.signal?.aborted) return;
    throw new HubertkitError('HK_INTERRUPTED', `Interrupted. The same command continues the run in ${this.folder}.`);
  }

  /** Something that is wrong but does not stop the run. */
  async alarm(message: string): Promise<void> {
    const { iteration, update } = this.state;
    await appendJsonLine(path.join(this.folder, 'alarms.jsonl'), { iteration, update, message });
    this.onProgress({ kind: 'alarm', message });
  }

  async recordSkippedStep(step: SkippedStep): Promise<void> {
    await appendJsonLine(this.skippedSteps, step);
  }

  close(): void {
    this.#log.close();
    this.unlock();
  }

  private get skippedFiles(): string {
    return path.join(this.folder, 'skipped.jsonl');
  }

  /** What earlier calls could not decode. */
  private async readSkippedFiles(): Promise<void> {
    const known = new Set(this.corpus.skipped.map((file) => file.path));
    const earlier = await readJsonLines<Skipped>(this.skippedFiles, { optional: true });
    this.corpus.skipped.push(...earlier.filter((file) => !known.has(file.path)));
  }

  private get skippedSteps(): string {
    return path.join(this.folder, 'skipped-steps.jsonl');
  }

  /** Steps after the checkpoint will be done again: what was noted about them is dropped. */
  private async forgetLaterSkips(): Promise<void> {
    const steps = await readJsonLines<SkippedStep>(this.skippedSteps, { optional: true });
    const kept = steps.filter(({ totalUpdates }) => totalUpdates <= this.state.totalUpdates);
    if (kept.length < steps.length) await writeJsonLines(this.skippedSteps, kept);
  }
}

function beginning(): TrainState {
  return {
    iteration: 0,
    update: 0,
    totalUpdates: 0,
    cursor: 0,
    audioSeconds: 0,
    relabelAudioSeconds: 0,
    wallSeconds: 0,
    skippedSteps: 0,
    metricsLines: 0,
    window: emptyWindow(),
  };
}

/** Where the folder lies, how many threads compute and what is computed again are free; everything else must be as it was. */
function refuseAnother(config: PretrainConfig, stored: PretrainConfig, folder: string): void {
  const free = { out: '', threads: 0, checkpoint: 'none' };
  const key = firstDifference({ ...stored, ...free }, { ...config, ...free });
  if (key === undefined) return;
  const value = (c: PretrainConfig) =>
    JSON.stringify(key.split('.').reduce<unknown>((at, k) => (at as Record<string, unknown> | undefined)?.[k], c));
  throw new HubertkitError(
    'HK_CONFIG',
    `${folder} holds a run with another configuration: ${key} is ${value(stored)} there and ${value(config)} now. Continue it with its own configuration (${path.join(folder, 'config.yaml')}), or choose another out.`,
  );
}

/** Writes config.yaml and system.json of a new run; returns the system.json of the run. */
async function describe(folder: string, config: PretrainConfig): Promise<SystemInfo> {
  const file = path.join(folder, 'system.json');
  if (!fs.existsSync(file)) await writeJsonAtomic(file, systemInfo());
  if (!hasRun(folder)) await writeFileAtomic(path.join(folder, 'config.yaml'), configYaml(config));
  return JSON.parse(fs.readFileSync(file, 'utf8')) as SystemInfo;
}

/** The version of this package. */
export function packageVersion(): string {
  const file = path.join(packageRoot, 'package.json');
  return (JSON.parse(fs.readFileSync(file, 'utf8')) as { version: string }).version;
}

function systemInfo(): SystemInfo {
  const git = gitRevision();
  return {
    startedAt: Date.now() / 1000,
    hubertkit: packageVersion(),
    node: process.version,
    platform: `${process.platform}-${process.arch} ${os.release()}`,
    cpu: os.cpus()[0]?.model ?? 'unknown',
    cores: os.availableParallelism(),
    memoryGiB: Math.round(os.totalmem() / 2 ** 30),
    backend: wrapped((n) => n.backendInfo()),
    ...(git && { git }),
  };
}

function gitRevision(): string | undefined {
  try {
    const git = ['describe', '--always', '--dirty'];
    return execFileSync('git', git, { cwd: packageRoot, encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] }).trim();
  } catch {
    return undefined; // installed without its repository
  }
}

/** Keeps two processes from training in one folder. The lock of a process that is gone does not count. */
function lock(folder: string): () => void {
  const file = path.join(folder, '.lock');
  const holder = fs.existsSync(file) ? Number(fs.readFileSync(file, 'utf8')) : 0;
  if (holder > 0 && holder !== process.pid && isRunning(holder))
    throw new HubertkitError(
      'HK_BUSY',
      `Process ${holder} is training in ${folder}. Wait for it, or remove ${file} if that process is something else.`,
    );
  fs.writeFileSync(file, String(process.pid));
  return () => fs.rmSync(file, { force: true });
}

/** Seconds of audio of utterances. */
export const totalSeconds = (utterances: readonly Utterance[]): number =>
  utterances.reduce((sum, { samples }) => sum + samples, 0) / sampleRate;
