/**
 * From an experiment to what is to be run: the grid at the size of the model, every pretraining's configuration with every
 * default written out, and which iterations are trained anew (cells that begin alike share what they begin with).
 */
import * as path from 'node:path';
import { type AnalysisMetric, checkMetrics } from '../analysis/metrics';
import { HubertkitError } from '../errors';
import type { FinetuneOptions } from '../finetune';
import type { PresetName } from '../nn/config';
import { didYouMean, modelConfig, type PretrainConfig, type PretrainOptions, resolveConfig } from '../train';
import { recipe } from '../train/recipes';
import type { Cell, CellFineTuning, Experiment, Scale, Stage } from './experiment';
import { iterationKey } from './pool';

export interface ExperimentOptions {
  /** A name of experiments/, or an experiment of one's own. */
  experiment: string | Experiment;
  /** Default nano. */
  preset?: PresetName;
  /** How many seeds; every cell is run with each. Default 3. */
  seeds?: number;
  /** Hours of audio that pretraining processes for one seed, all cells together. Default: depends on preset and grid. */
  audioHours?: number;
  /** Of the grid only these cells. Default: all. */
  cells?: readonly string[];
  /** Of the fine-tunings only those with so many blocks begun anew or taken off, with none, and the control. Default: all. */
  k?: readonly number[];
  /** Minutes of transcribed audio that models are fine-tuned on. Default: depends on preset. */
  labelMinutes?: readonly number[];
  /** What openCorpus takes. Default: the embedded corpus, an hour of it, made in corpora/ when it is not there. */
  corpus?: string;
  /** Files or folders of alignments beside those of the corpus. */
  alignments?: readonly string[];
  /** What layers are measured by. Default: the experiment's own; without phone alignments for example cka and rank. */
  metrics?: readonly AnalysisMetric[];
  /** Default runs/experiments/<name>. Experiments side by side share the iterations that they have in common. */
  out?: string;
  /** Other keys of the pretraining's configuration, for every cell. */
  set?: Partial<PretrainOptions>;
  /** Options of every fine-tuning. Default: updates and evaluations depend on preset. */
  finetune?: Partial<FinetuneOptions>;
}

/** One pretraining of one seed. */
export interface PlannedCell {
  seed: number;
  cell: Cell;
  folder: string;
  config: PretrainConfig;
  /** Of each iteration: what it and all before it depend on. */
  keys: string[];
  fineTunings: CellFineTuning[];
}

export interface Plan {
  experiment: Experiment;
  scale: Scale;
  preset: PresetName;
  seeds: number[];
  corpus: string;
  alignments: string[];
  metrics: AnalysisMetric[];
  /** The embedded corpus is to be made here. */
  makes?: { folder: string; minutes: number };
  out: string;
  /** Updates of an iteration of length 1. */
  unitUpdates: number;
  finetune: Partial<FinetuneOptions>;
  /** In the order in which they are run: all cells of a seed, then the next seed. */
  cells: PlannedCell[];
}

/** Minutes of the corpus that is made when none is named. */
const corpusMinutes = 60;

interface Size {
  /** Updates of a usual iteration. */
  unit?: number;
  finetune?: Partial<FinetuneOptions>;
  /** Minutes of transcribed audio. */
  labels: Scale['labelMinutes'];
}

/** After 200 updates nothing but blanks and vowels is learned yet, and pretraining makes no difference; after 450 it does. */
const shortTuning: Partial<FinetuneOptions> = { updates: 450, evaluations: 20 };

/** What minutes of a CPU need otherwise than the recipes. */
const sizes: Record<PresetName, Size> = {
  nano: { unit: 1200, finetune: shortTuning, labels: [4, 12, 40] },
  tiny: { unit: 1600, finetune: shortTuning, labels: [4, 12, 40] },
  small: { labels: [10, 60, 600] },
  base: { labels: [10, 60, 600] },
  large: { labels: [10, 60, 600] },
  xlarge: { labels: [10, 60, 600] },
};

/** Models for minutes go on from the iteration before: from scratch they would not come to where it ended. */
const carriedOver: readonly PresetName[] = ['nano', 'tiny', 'small'];

/** Seeds of runs are far apart, so that iterations (seed + 0, + 1, ...) of different seeds never share one. */
const seedStride = 100;

/** @throws HK_NAME no such experiment (with the nearest name), HK_CONFIG, HK_ARGUMENT */
export function planExperiment(o: ExperimentOptions): Plan {
  const experiment = typeof o.experiment === 'string' ? experimentNamed(o.experiment) : o.experiment;
  const { preset = 'nano', seeds = 3, set = {}, finetune = {} } = o;
  if (!(Number.isInteger(seeds) && seeds >= 1))
    throw new HubertkitError('HK_ARGUMENT', `An experiment needs at least one seed, got ${seeds}.`);
  if (o.k?.some((blocks) => !Number.isInteger(blocks)))
    throw new HubertkitError('HK_ARGUMENT', `Numbers of blocks are whole numbers, got ${o.k.join(', ')}.`);
  if (o.audioHours !== undefined && !(o.audioHours > 0))
    throw new HubertkitError('HK_ARGUMENT', `The budget is a number of audio-hours above 0, got ${o.audioHours}.`);
  const folder = path.join('corpora', `embedded-${corpusMinutes}`);
  const corpus = o.corpus ?? `embedded:${folder}`;
  const out = o.out ?? path.join('runs', 'experiments', experiment.name);
  const shared = { ...set, corpus, model: set.model ?? preset };
  const plain = resolveConfig({ ...shared, out, schedule: recipe(preset).schedule.slice(0, 1) });
  const scale = scaleOf(preset, plain, o.labelMinutes);
  const grid = chosenCells(experiment.cells(scale), o.cells);
  const unitUpdates = o.audioHours
    ? (o.audioHours * 3600) / plain.updateSeconds / unitsOf(grid)
    : (sizes[preset].unit ?? recipe(preset).schedule[0].updates!);
  const numbers = Array.from({ length: seeds }, (_, i) => i + 1);
  const cells = numbers.flatMap((seed) =>
    grid.map((cell): PlannedCell => {
      const cellFolder = path.join(out, `seed-${seed}`, cell.name);
      const config = cellConfig(cell, { ...shared, out: cellFolder, seed: seed * seedStride }, unitUpdates);
      const keys = config.schedule.map((_, i) => iterationKey(config, i + 1));
      return { seed, cell, folder: cellFolder, config, keys, fineTunings: chosenTunings(cell, o.k) };
    }),
  );
  return {
    experiment,
    scale,
    preset,
    seeds: numbers,
    corpus,
    alignments: [...(o.alignments ?? [])],
    metrics: checkMetrics(o.metrics ?? experiment.metrics ?? ['clusters', 'cka']),
    ...(o.corpus === undefined && { makes: { folder, minutes: corpusMinutes } }),
    out,
    unitUpdates: Math.round(unitUpdates),
    finetune: { ...sizes[preset].finetune, ...finetune },
    cells,
  };
}

/** @throws HK_NAME naming the nearest */
export function experimentNamed(name: string): Experiment {
  const all = allExperiments();
  const found = all.find((experiment) => experiment.name === name);
  if (found) return found;
  throw unknownName(
    'experiment',
    name,
    all.map((experiment) => experiment.name),
  );
}

export function allExperiments(): readonly Experiment[] {
  return (require('../../experiments') as typeof import('../../experiments')).experiments;
}

/** The cells with these names, in the order of the grid. @throws HK_NAME naming the nearest */
function chosenCells(grid: Cell[], names: readonly string[] | undefined): Cell[] {
  if (!names) return grid;
  const all = grid.map(({ name }) => name);
  for (const name of names) if (!all.includes(name)) throw unknownName('cell', name, all);
  return grid.filter(({ name }) => names.includes(name));
}

function chosenTunings({ fineTunings = [] }: Cell, blocks: readonly number[] | undefined): CellFineTuning[] {
  return fineTunings.filter(({ k }) => !blocks || !k || blocks.includes(k));
}

function unknownName(what: string, name: string, names: string[]): HubertkitError {
  return new HubertkitError(
    'HK_NAME',
    `There is no ${what} "${name}".${didYouMean(name, names)} There are: ${names.join(', ')}.`,
  );
}

function scaleOf(
  preset: PresetName,
  config: PretrainConfig,
  labelMinutes: readonly number[] = sizes[preset].labels,
): Scale {
  if (!(labelMinutes.length > 0 && labelMinutes.every((minutes) => minutes > 0)))
    throw new HubertkitError('HK_ARGUMENT', `Label minutes are numbers above 0, got ${labelMinutes.join(', ')}.`);
  const { layers } = modelConfig(config);
  const [first, later] = recipe(preset).schedule;
  const middle = Math.min(layers, Math.ceil(layers / 2));
  const init = carriedOver.includes(preset) ? 'continue-reset-head' : 'scratch';
  return {
    preset,
    layers,
    middle,
    labelMinutes: [...labelMinutes].sort((a, b) => a - b),
    first: (length, changes) => ({ teacher: 'mfcc', clusters: first.clusters, length, ...changes }),
    later: (length, changes) => ({ teacher: { layer: middle }, clusters: later.clusters, init, length, ...changes }),
  };
}

/** Lengths of all iterations of a grid, those that cells share counted once. */
export function unitsOf(grid: readonly Cell[]): number {
  const lengths = new Map<string, number>();
  for (const { schedule, config } of grid)
    schedule.forEach(({ length }, i) => {
      lengths.set(JSON.stringify([config, schedule.slice(0, i + 1)]), length);
    });
  return [...lengths.values()].reduce((sum, length) => sum + length, 0);
}

/** Lines of the log are as dense in every cell of a budget, whatever the lengths of its iterations: they are compared. */
function cellConfig(cell: Cell, shared: PretrainOptions, unitUpdates: number): PretrainConfig {
  const every = (parts: number) => Math.max(1, Math.round(unitUpdates / parts));
  return resolveConfig({
    logEvery: every(40),
    validateEvery: every(10),
    ...shared,
    ...(cell.config?.mask && { mask: { ...shared.mask, ...cell.config.mask } }),
    ...(cell.config?.loss && { loss: { ...shared.loss, ...cell.config.loss } }),
    checkpoints: { every: Math.max(50, every(4)), ...shared.checkpoints, keep: cell.keep ?? 2 },
    schedule: cell.schedule.map(({ length, ...entry }: Stage) => ({
      ...entry,
      updates: Math.max(1, Math.round(length * unitUpdates)),
    })),
  } as PretrainOptions);
}
