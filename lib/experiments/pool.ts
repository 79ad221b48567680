/**
 * Iterations that have been trained already. Two runs whose configurations are the same up to iteration i have the same bits up
 * to there, so the second one starts from a copy of the first one's folder instead of training it again. What decides the bits is
 * the key; where the run lies, how many threads it has, what it computes again and which checkpoints it keeps do not.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import type { AnalysisMetric, CheckpointAnalysis } from '../analysis';
import { readJson, readJsonLines, writeFileAtomic, writeJsonAtomic, writeJsonLines } from '../formats/atomic';
import { sha256 } from '../formats/sha256';
import { packageVersion } from '../train/session';
import { configYaml, hasRun, keptUpdates, openRun, type PretrainConfig, type Run } from '../train';

/** The first characters of the SHA-256 of a value's JSON. */
export function hashOf(value: unknown): string {
  return sha256().update(JSON.stringify(value)).digest('hex').slice(0, 16);
}

/** What the bits of a run depend on up to the end of an iteration (1-based). */
export function iterationKey(config: PretrainConfig, iteration: number): string {
  const { out: _, threads: __, checkpoints: ___, checkpoint: ____, schedule, ...rest } = config;
  return hashOf({ ...rest, schedule: schedule.slice(0, iteration) });
}

/** What a run has not trained itself: reused.json beside it. */
export interface Reused {
  iterations: number;
  audioSeconds: number;
  wallSeconds: number;
}

/** Iterations of finished and unfinished runs, by their keys. */
export class IterationPool {
  private readonly places = new Map<string, string[]>();

  /** All runs in `<folder>/<experiment>/seed-N/<cell>`. */
  static of(folder: string): IterationPool {
    const pool = new IterationPool();
    for (const experiment of foldersIn(folder))
      for (const seed of foldersIn(experiment).filter((name) => /seed-\d+$/.test(name)))
        for (const run of foldersIn(seed)) pool.add(run);
    return pool;
  }

  /** Notes the complete iterations of a run; what another version has trained, or cannot be read, is left alone. */
  add(folder: string): void {
    const run = readable(folder);
    if (run?.system?.hubertkit !== packageVersion()) return;
    const { config, iterations } = run;
    const complete = iterations.filter((iteration) => iteration.complete);
    this.promise(
      complete.map(({ iteration }) => iterationKey(config, iteration)),
      folder,
    );
  }

  /** Notes iterations that will be there. */
  promise(keys: readonly string[], folder: string): void {
    for (const key of keys) this.places.set(key, [...(this.places.get(key) ?? []), folder]);
  }

  has(key: string): boolean {
    return this.places.has(key);
  }

  /**
   * Begins a run that is not there yet with as many iterations of another one as fit, and their analyses where they are by the same
   * metrics; nothing when there are none.
   */
  async begin(config: PretrainConfig, keys: readonly string[], metrics: readonly AnalysisMetric[]): Promise<void> {
    if (hasRun(config.out)) return;
    for (let iterations = keys.length; iterations > 0; iterations--) {
      const runs = (this.places.get(keys[iterations - 1]) ?? []).map((folder) => openRun(folder));
      const run = runs.findLast((candidate) => keepsAll(candidate, config, iterations));
      if (run) return copyIterations(run, config, iterations, metrics);
    }
  }
}

function readable(folder: string): Run | undefined {
  if (!hasRun(folder)) return undefined;
  try {
    return openRun(folder);
  } catch {
    return undefined; // of another version, or damaged: the experiment that it belongs to will say so
  }
}

/** Has the run every checkpoint that this configuration keeps? */
function keepsAll(run: Run, { schedule, checkpoints }: PretrainConfig, iterations: number): boolean {
  const there = new Set(run.checkpoints().map(({ iteration, update }) => `${iteration}/${update}`));
  return schedule
    .slice(0, iterations)
    .every(({ updates }, i) => keptUpdates(updates, checkpoints.keep).every((u) => there.has(`${i + 1}/${u}`)));
}

async function copyIterations(
  run: Run,
  config: PretrainConfig,
  iterations: number,
  metrics: readonly AnalysisMetric[],
): Promise<void> {
  const target = config.out;
  const temporary = path.join(path.dirname(target), `.${path.basename(target)}.tmp`);
  fs.rmSync(temporary, { recursive: true, force: true });
  for (const { iteration, folder } of run.iterations.slice(0, iterations)) {
    const kept = keptUpdates(config.schedule[iteration - 1].updates, config.checkpoints.keep);
    const to = path.join(temporary, `iteration-${iteration}`);
    await copy(path.join(folder, 'labels'), path.join(to, 'labels'));
    await copy(path.join(folder, 'centroids.safetensors'), path.join(to, 'centroids.safetensors'));
    for (const checkpoint of run.checkpoints().filter((c) => c.iteration === iteration && kept.includes(c.update))) {
      await copy(checkpoint.folder, path.join(to, 'checkpoints', path.basename(checkpoint.folder)));
      const analysis = path.join('analysis', `${checkpoint.name.replace('/', '-')}.json`);
      if (await isMeasuredBy(path.join(run.folder, analysis), metrics))
        await copy(path.join(run.folder, analysis), path.join(temporary, analysis));
    }
  }
  const last = run.state(run.checkpoint(`iteration-${iterations}`));
  const lines = fs.readFileSync(path.join(run.folder, 'metrics.jsonl'), 'utf8').split('\n').slice(0, last.metricsLines);
  await writeFileAtomic(path.join(temporary, 'metrics.jsonl'), `${lines.join('\n')}\n`);
  for (const name of ['skipped.jsonl', 'skipped-steps.jsonl'])
    await copy(path.join(run.folder, name), path.join(temporary, name));
  const alarms = await readJsonLines<{ iteration: number }>(path.join(run.folder, 'alarms.jsonl'), { optional: true });
  const early = alarms.filter(({ iteration }) => iteration <= iterations);
  if (early.length > 0) await writeJsonLines(path.join(temporary, 'alarms.jsonl'), early);
  const { audioSeconds, wallSeconds } = last;
  await writeJsonAtomic(path.join(temporary, 'reused.json'), {
    iterations,
    audioSeconds,
    wallSeconds,
  } satisfies Reused);
  await writeFileAtomic(path.join(temporary, 'config.yaml'), configYaml(config));
  fs.rmSync(target, { recursive: true, force: true });
  fs.renameSync(temporary, target);
}

async function isMeasuredBy(file: string, metrics: readonly AnalysisMetric[]): Promise<boolean> {
  if (!fs.existsSync(file)) return false;
  const names = Object.keys((await readJson<CheckpointAnalysis>(file)).measured);
  return names.length === metrics.length && metrics.every((name) => names.includes(name));
}

/** Copies a file or a folder if it is there; never an optimiser's state, which only the run that goes on from it needs. */
async function copy(from: string, to: string): Promise<void> {
  if (!fs.existsSync(from)) return;
  await fs.promises.cp(from, to, {
    recursive: true,
    mode: fs.constants.COPYFILE_FICLONE,
    filter: (source) => path.basename(source) !== 'optimizer.safetensors',
  });
}

function foldersIn(folder: string): string[] {
  if (!fs.existsSync(folder)) return [];
  const entries = fs.readdirSync(folder, { withFileTypes: true });
  return entries
    .filter((entry) => entry.isDirectory() && !entry.name.startsWith('.'))
    .map(({ name }) => path.join(folder, name))
    .sort();
}
