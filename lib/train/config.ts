/**
 * The configuration of a pretraining run. A user writes a handful of keys; `resolveConfig` fills in the rest from the preset's
 * recipe (recipes.ts) and the result, with every value written out, is config.yaml of the run folder.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import * as yaml from 'yaml';
import * as z from 'zod';
import { HubertkitError } from '../errors';
import { type HubertConfig, hubertConfig, type PresetName, presets } from '../nn/config';
import { didYouMean } from './nearest';
import { recipe } from './recipes';

const presetNames = Object.keys(presets) as [PresetName, ...PresetName[]];
const positive = z.number().positive();
const share = z.number().min(0).max(1);
const count = z.int().min(1);

const teacherSchema = z.union([z.literal('mfcc'), z.strictObject({ layer: z.int().min(0) })]);

const iterationSchema = z.strictObject({
  /** What the labels are clusters of: 'mfcc', or { layer } of the previous iteration's final model (0 = transformer input). */
  teacher: teacherSchema,
  /** Number of clusters K. */
  clusters: z.int().min(2),
  updates: count,
  /** scratch: new weights; continue: the previous iteration's (same clusters); continue-reset-head: those with a new head. */
  init: z.enum(['scratch', 'continue', 'continue-reset-head']),
  /** Of weights, order, masks and dropout in this iteration. Default: seed + index. */
  seed: z.int().min(0),
  /** Peak. Default: the run's learningRate. */
  learningRate: positive,
});

const configSchema = z.strictObject({
  /** What openCorpus takes: 'librispeech:DIR', 'folder:DIR', 'manifest:DIR', 'embedded:DIR' or DIR. */
  corpus: z.string().min(1),
  /** A preset with overrides of single values of its HubertConfig. */
  model: z.strictObject({ preset: z.enum(presetNames), overrides: z.record(z.string(), z.unknown()) }),
  /** waveform: the convolutional extractor; mel: stacked log-mel frames (learns faster on a CPU). */
  frontEnd: z.enum(['waveform', 'mel']),
  /** The run folder. */
  out: z.string().min(1),
  seed: z.int().min(0),
  /** CPU threads; 0: all cores. */
  threads: z.int().min(0),
  device: z.string().regex(/^(auto|cpu|cuda(:\d+)?)$/, "expected 'auto', 'cpu', 'cuda' or 'cuda:N'"),
  /** Of activations in training: bf16 is faster where the processor has AVX512_BF16 or AMX; parameters and optimiser stay f32. */
  precision: z.enum(['f32', 'bf16']),
  /** layers: keep only the input of each block and compute the rest again for its gradient; less memory, the same bits. */
  checkpoint: z.enum(['none', 'layers']),
  /** Splits to train on; []: the corpus's own partition. */
  trainSplits: z.array(z.string()),
  /** Splits to validate on; []: dev* and valid*, or 5 % of the training utterances where there are none. */
  validSplits: z.array(z.string()),
  /** At most so much audio is validated on (the same each time). */
  validMaxSeconds: positive,
  /** The run refuses to start when a larger share of the files cannot be used. */
  maxSkippedShare: share,
  /** Audio in a micro-batch: what has to fit in memory. */
  batchSeconds: positive,
  /** Audio in an update; updateSeconds / batchSeconds micro-batches are accumulated. */
  updateSeconds: positive,
  /** Shorter utterances are left out. */
  minSeconds: positive,
  /** Longer utterances are cropped at random. */
  maxSeconds: positive,
  learningRate: positive,
  /** Share of the updates of an iteration that warms up; then linear to 0. */
  warmup: share,
  /** Largest global gradient norm; 0: no clipping. */
  clip: z.number().min(0),
  betas: z.tuple([share, share]),
  eps: positive,
  weightDecay: z.number().min(0),
  /** Spans of `length` frames; `probability` * frames / length of them start in each utterance. */
  mask: z.strictObject({ probability: share, length: count }),
  /**
   * maskedWeight * masked + unmaskedWeight * unmasked (nats a frame), at the top and at each of intermediateLayers (below the top)
   * with the same head, + penalty * mean square of the features.
   */
  loss: z.strictObject({
    maskedWeight: z.number().min(0),
    unmaskedWeight: z.number().min(0),
    penalty: z.number().min(0),
    intermediateLayers: z.array(z.int().min(1)),
  }),
  /** The extractor's gradient is multiplied by this. */
  featureGradMult: z.number().min(0),
  dropouts: z.strictObject({ input: share, hidden: share, attention: share, activation: share }),
  /** Probability of leaving out a transformer layer in an update. */
  layerDrop: share,
  /** keep: checkpoints kept of each iteration, evenly spaced, the first (update 0) and the last included; every: updates between those a resume starts from. */
  checkpoints: z.strictObject({ every: count, keep: z.int().min(2) }),
  /** Updates between validations. */
  validateEvery: count,
  /** Updates between lines of metrics.jsonl. */
  logEvery: count,
  kmeans: z.strictObject({
    /** Share of the training utterances that the centroids are fitted on. */
    share: z.number().positive().max(1),
    batchSize: count,
    initialisations: count,
    maxIterations: count,
    /** Batches without improvement before the fit stops. */
    patience: count,
    /** Features held in memory for the fit. */
    memoryMiB: positive,
  }),
  schedule: z.array(iterationSchema).min(1),
});

/** A fully resolved configuration. */
export type PretrainConfig = z.infer<typeof configSchema>;
export type IterationConfig = z.infer<typeof iterationSchema>;
export type Teacher = z.infer<typeof teacherSchema>;

type Partially<T> = T extends unknown[] ? T : T extends object ? { [K in keyof T]?: Partially<T[K]> } : T;

/** An entry of the schedule as written by a user: its length in updates or in seconds of audio. */
export type IterationOptions = Pick<IterationConfig, 'teacher' | 'clusters'> &
  Partial<IterationConfig> & { audioSeconds?: number };

/** What a user writes: corpus, model and out; everything else has a default that depends on the preset. */
export type PretrainOptions = Partially<Omit<PretrainConfig, 'corpus' | 'model' | 'out' | 'schedule'>> & {
  corpus: string;
  model: PresetName | { preset: PresetName; overrides?: Partial<HubertConfig> };
  out: string;
  schedule?: IterationOptions[];
};

type Tree = Record<string, unknown>;

/**
 * The configuration with every default written out. Resolving a resolved one changes nothing.
 * @throws HK_CONFIG naming the key, what was expected and, for an unknown key, the nearest one.
 */
export function resolveConfig(options: PretrainOptions | unknown): PretrainConfig {
  if (!isTree(options))
    throw new HubertkitError('HK_CONFIG', `A configuration is a map of keys, got ${show(options)}.`);
  const given = withModelSpelledOut(options);
  const keys = z.strictObject({
    ...configSchema.shape,
    schedule: z.array(iterationSchema.extend({ audioSeconds: positive })),
  });
  refuseUnknownKeys(keys, given, '');
  const preset = (given.model as Tree | undefined)?.preset as PresetName;
  if (!presetNames.includes(preset))
    throw new HubertkitError(
      'HK_CONFIG',
      `model: expected one of ${presetNames.join(', ')}, got ${show(preset)}.${hint(String(preset), presetNames)}`,
    );
  const merged = merge(recipe(preset) as unknown as Tree, given);
  if (Array.isArray(merged.schedule))
    merged.schedule = merged.schedule.map((entry, i) => filledIteration(merged, entry, i));
  const config = parse(merge(intervals(merged), merged));
  checkTogether(config);
  return config;
}

/** The model of a configuration: preset, front end, dropouts and overrides put together. */
export function modelConfig(config: PretrainConfig): HubertConfig {
  const { preset, overrides } = config.model;
  const { frontEnd, featureGradMult, layerDrop, dropouts } = config;
  const settled: Partial<HubertConfig> = {
    frontEnd,
    featureGradMult,
    layerDrop,
    inputDropout: dropouts.input,
    hiddenDropout: dropouts.hidden,
    attentionDropout: dropouts.attention,
    activationDropout: dropouts.activation,
  };
  const free = Object.entries(presets[preset]).filter(([key]) => !(key in settled));
  for (const [key, value] of Object.entries(overrides)) {
    const at = `model.overrides.${key}`;
    if (key in settled)
      throw new HubertkitError(
        'HK_CONFIG',
        `${at}: this is frontEnd, featureGradMult, layerDrop or dropouts of the run.`,
      );
    const expected = free.find(([name]) => name === key)?.[1];
    if (expected === undefined)
      throw new HubertkitError(
        'HK_CONFIG',
        `Unknown key "${at}".${hint(
          key,
          free.map(([name]) => name),
        )}`,
      );
    if (typeof value !== typeof expected || Array.isArray(value) !== Array.isArray(expected))
      throw new HubertkitError('HK_CONFIG', `${at}: expected something like ${show(expected)}, got ${show(value)}.`);
  }
  return hubertConfig(preset, { ...settled, ...(overrides as Partial<HubertConfig>) });
}

/** Reads a YAML file, applies `--set` assignments and resolves. @throws HK_IO, HK_CONFIG */
export function loadConfig(file: string, sets: readonly string[] = []): PretrainConfig {
  let text: string;
  try {
    text = fs.readFileSync(file, 'utf8');
  } catch (cause) {
    throw new HubertkitError(
      'HK_IO',
      `Cannot read the configuration ${path.resolve(file)}: ${(cause as Error).message}`,
      { cause },
    );
  }
  return resolveConfig(sets.reduce<unknown>(applySet, parseYaml(text, file)));
}

/** The YAML of a configuration, keys in the schema's order. */
export function configYaml(config: PretrainConfig): string {
  return yaml.stringify(config);
}

/**
 * `options` with one `a.b=c` assignment applied (the argument is left alone). The value is YAML; numbers in the path index
 * arrays: `schedule.0.updates=100`, `mask.probability=.65`, `betas=[.9, .98]`.
 * @throws HK_CONFIG when the assignment is not of that form or leads through something that has no keys.
 */
export function applySet(options: unknown, assignment: string): unknown {
  const equals = assignment.indexOf('=');
  const keys = assignment.slice(0, equals).trim().split('.');
  if (equals < 1 || keys.some((key) => key === '' || key === '__proto__'))
    throw new HubertkitError('HK_CONFIG', `--set takes key=value (mask.probability=.65), got "${assignment}".`);
  const root = withModelSpelledOut(structuredClone(isTree(options) ? options : {}));
  if (keys[0] === 'model' && keys.length === 1 && isTree(root.model)) keys.push('preset');
  let at: Tree = root;
  const refuseMissing = (key: string) => {
    if (Array.isArray(at) && !(Number(key) in at))
      throw new HubertkitError(
        'HK_CONFIG',
        `--set ${assignment}: there is no element ${key}, the list has ${at.length}.`,
      );
  };
  for (const [depth, key] of keys.slice(0, -1).entries()) {
    refuseMissing(key);
    at[key] ??= {};
    if (typeof at[key] !== 'object')
      throw new HubertkitError(
        'HK_CONFIG',
        `--set ${assignment}: ${keys.slice(0, depth + 1).join('.')} is ${show(at[key])}, it has no keys.`,
      );
    at = at[key] as Tree;
  }
  const last = keys[keys.length - 1];
  refuseMissing(last);
  at[last] = parseYaml(assignment.slice(equals + 1), '--set');
  return root;
}

/** The path of the first key whose values differ, or undefined. */
export function firstDifference(a: unknown, b: unknown, at = ''): string | undefined {
  if (Object.is(a, b)) return undefined;
  if (typeof a !== 'object' || typeof b !== 'object' || a === null || b === null) return at;
  for (const key of new Set([...Object.keys(a), ...Object.keys(b)])) {
    const inner = firstDifference((a as Tree)[key], (b as Tree)[key], at ? `${at}.${key}` : key);
    if (inner !== undefined) return inner;
  }
  return undefined;
}

function withModelSpelledOut(options: Tree): Tree {
  const { model } = options;
  if (typeof model === 'string') return { ...options, model: { preset: model, overrides: {} } };
  if (isTree(model)) return { ...options, model: { overrides: {}, ...model } };
  return options;
}

function filledIteration(config: Tree, entry: unknown, index: number): unknown {
  if (!isTree(entry)) return entry;
  const { audioSeconds, ...rest } = entry;
  const filled: Tree = {
    init: 'scratch',
    seed: Number(config.seed) + index,
    learningRate: config.learningRate,
    ...rest,
  };
  if (audioSeconds === undefined) return filled;
  if (rest.updates !== undefined)
    throw new HubertkitError('HK_CONFIG', `schedule.${index}: give updates or audioSeconds, not both.`);
  return { ...filled, updates: Math.max(1, Math.round(Number(audioSeconds) / Number(config.updateSeconds))) };
}

/** How often to log, validate and write checkpoints: from the shortest and the longest iteration. */
function intervals({ schedule, checkpoints }: Tree): Tree {
  const updates = (Array.isArray(schedule) && schedule.length > 0 ? schedule : [{}]).map(
    (entry) => Number(entry?.updates) || 1,
  );
  const shortest = Math.min(...updates);
  return {
    checkpoints: { every: Math.max(50, Math.ceil(Math.max(...updates) / 100)), ...(checkpoints as Tree) },
    validateEvery: Math.max(1, Math.round(shortest / 40)),
    logEvery: Math.min(200, Math.max(1, Math.round(shortest / 200))),
  };
}

/** `over` on top of `under`; maps are merged key by key in the order of the schema, everything else is replaced. */
function merge(under: Tree, over: Tree): Tree {
  const result: Tree = { ...under };
  for (const [key, value] of Object.entries(over)) {
    if (value === undefined) continue;
    result[key] = isTree(value) && isTree(under[key]) ? merge(under[key], value) : value;
  }
  return result;
}

function parse(value: Tree): PretrainConfig {
  const result = configSchema.safeParse(value);
  if (result.success) return result.data;
  const [issue] = result.error.issues;
  const got = issue.path.reduce<unknown>((at, key) => (at as Tree | undefined)?.[key as string], value);
  throw new HubertkitError(
    'HK_CONFIG',
    `${issue.path.join('.')}: ${issue.message.replace(/^Invalid input: |, received .*$/g, '')}, got ${show(got)}.`,
  );
}

function refuseUnknownKeys(schema: z.core.$ZodType, value: unknown, at: string): void {
  if (schema instanceof z.ZodUnion) for (const option of schema.options) refuseUnknownKeys(option, value, at);
  if (schema instanceof z.ZodArray && Array.isArray(value))
    for (const [i, element] of value.entries()) refuseUnknownKeys(schema.element, element, `${at}${i}.`);
  if (!(schema instanceof z.ZodObject) || !isTree(value)) return;
  const known = Object.keys(schema.shape);
  for (const [key, inner] of Object.entries(value)) {
    if (!known.includes(key)) throw new HubertkitError('HK_CONFIG', `Unknown key "${at}${key}".${hint(key, known)}`);
    refuseUnknownKeys(schema.shape[key], inner, `${at}${key}.`);
  }
}

function hint(name: string, candidates: readonly string[]): string {
  return didYouMean(name, candidates) || ` Known: ${candidates.join(', ')}.`;
}

/** What no single key can say. */
function checkTogether(config: PretrainConfig): void {
  const { schedule, minSeconds, maxSeconds, batchSeconds, updateSeconds, loss } = config;
  const refuse = (message: string): never => {
    throw new HubertkitError('HK_CONFIG', message);
  };
  if (minSeconds > maxSeconds) refuse(`minSeconds (${minSeconds}) is above maxSeconds (${maxSeconds}).`);
  if (maxSeconds > batchSeconds)
    refuse(`maxSeconds (${maxSeconds}) is above batchSeconds (${batchSeconds}): no batch could hold one utterance.`);
  if (batchSeconds > updateSeconds) refuse(`batchSeconds (${batchSeconds}) is above updateSeconds (${updateSeconds}).`);
  if (loss.maskedWeight + loss.unmaskedWeight === 0)
    refuse('loss.maskedWeight and loss.unmaskedWeight are both 0: nothing to learn.');
  const { layers } = modelConfig(config);
  const high = loss.intermediateLayers.find((layer) => layer >= layers);
  if (high !== undefined)
    refuse(`loss.intermediateLayers: layers below the top one (${layers}) can predict too, got ${high}.`);
  for (const [i, entry] of schedule.entries()) {
    const { teacher, init, clusters } = entry;
    if (i === 0 && teacher !== 'mfcc')
      refuse('schedule.0.teacher: the first iteration has no previous model, expected mfcc.');
    if (i === 0 && init !== 'scratch')
      refuse(`schedule.0.init: the first iteration can only start from scratch, got ${init}.`);
    if (teacher !== 'mfcc' && teacher.layer > layers)
      refuse(
        `schedule.${i}.teacher.layer: the model has layers 0 (transformer input) to ${layers}, got ${teacher.layer}.`,
      );
    if (init === 'continue' && clusters !== schedule[i - 1].clusters)
      refuse(
        `schedule.${i}.init: continue keeps the head of ${schedule[i - 1].clusters} clusters, but clusters is ${clusters}. Use continue-reset-head.`,
      );
  }
}

function parseYaml(text: string, name: string): unknown {
  try {
    return yaml.parse(text);
  } catch (cause) {
    throw new HubertkitError('HK_CONFIG', `${name} is not YAML: ${(cause as Error).message}`, { cause });
  }
}

const isTree = (value: unknown): value is Tree => typeof value === 'object' && value !== null && !Array.isArray(value);
const show = (value: unknown): string => (value === undefined ? 'nothing' : JSON.stringify(value));
