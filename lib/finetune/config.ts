/**
 * The options of a fine-tuning, resolved: every default written out, which is config.yaml of the variant's folder. Defaults
 * depend on the size of the model: wide models follow the published recipes, small ones what learns in minutes of a CPU.
 */
import * as z from 'zod';
import { HubertkitError } from '../errors';
import { didYouMean } from '../train/nearest';

const share = z.number().min(0).max(1);
const count = z.int().min(0);
const positive = z.number().positive();
const spans = z.strictObject({ probability: share, length: z.int().min(1) });

const schema = z.strictObject({
  /** A run folder (its corpus is used unless `corpus` is given) or a model folder. */
  source: z.string().min(1),
  /** Of a run: `latest`, `iteration-1` (its last) or `iteration-1/step-000400`. Default `latest`. */
  checkpoint: z.string().min(1),
  /** What openCorpus takes. Default: the run's corpus. */
  corpus: z.string().min(1),
  /** Splits with transcripts to train on; []: all but those of devSplits and testSplits. */
  trainSplits: z.array(z.string()),
  /** Splits for the curve and for choosing the best update; []: valid* and dev*. */
  devSplits: z.array(z.string()),
  /** Splits that are only looked at once, at the end; []: test*. */
  testSplits: z.array(z.string()),
  /** Letters of the alphabet besides `|` and the blank, upper case. Default: ' and A-Z. */
  letters: z.string().min(1),
  /** Minutes of transcribed audio to train on; 0: all there is. Default 0. */
  labelMinutes: z.number().min(0),
  /** Transformer blocks, counted from the top, that begin anew as at pretraining. Default 0. */
  resetTop: count,
  /** Transformer blocks, counted from the top, that are taken off. Default 0. */
  dropTop: count,
  /** The control: the whole network begins anew, nothing of pretraining is used. Default false. */
  random: z.boolean(),
  /**
   * What rests during the first `freezeUpdates`: pretrained-only: what was pretrained (the reset blocks and the head train);
   * all: everything but the head (fairseq's freeze_finetune_updates). Default pretrained-only.
   */
  freeze: z.enum(['pretrained-only', 'all']),
  freezeUpdates: count,
  updates: z.int().min(1),
  /** Padded audio of a batch, which is one update. */
  batchSeconds: positive,
  /** Peak of the tri-stage schedule. */
  learningRate: positive,
  /** Shares of warm-up, constant rate and exponential decay. Default [.1, .4, .5], for small models [.1, .6, .3]. */
  phases: z.tuple([share, share, share]),
  /** Last learning rate relative to the peak. Default .05. */
  finalScale: share,
  /** Spans of frames that get the mask embedding. */
  timeMask: spans,
  /** Spans of channels that become 0. */
  channelMask: spans,
  /** Probability of leaving out a transformer block in an update. */
  layerDrop: share,
  betas: z.tuple([share, share]),
  eps: positive,
  weightDecay: z.number().min(0),
  /** Largest global gradient norm; 0: no clipping. */
  clip: z.number().min(0),
  /** Evaluations on dev, evenly spaced over the updates (and one before the first). Default 50: every 2 %. */
  evaluations: z.int().min(1),
  /** Audio of dev that the curve is measured on; the end is measured on all of dev and test. */
  curveSeconds: positive,
  /** WER whose first crossing is reported as updatesToTau. Default .5. */
  tau: positive,
  /** Of the head, the reset blocks, the order of the data, masks and dropout. Default 1. */
  seed: count,
  device: z.string().min(1),
  /** CPU threads; 0: all cores. Default: the run's. */
  threads: count,
});

export type FinetuneConfig = z.infer<typeof schema>;

/** What a user gives: `source`, and whatever differs from the defaults. */
export type FinetuneOptions = Partial<FinetuneConfig> & { source: string };

/** What the defaults depend on. */
export interface ModelSize {
  hiddenSize: number;
  layers: number;
}

/** fairseq's vox 10 h recipe with the phases of wav2vec 2.0's 10 min and 1 h recipes; D = 768 channels masked in spans of 64. */
function publishedRecipe(updates: number) {
  return {
    updates,
    freezeUpdates: Math.round(0.4 * updates),
    batchSeconds: 200,
    learningRate: 2e-5,
    layerDrop: 0.1,
    eps: 1e-8,
    clip: 0,
    curveSeconds: 600,
  };
}

/**
 * Learns in minutes: a high rate, small batches, a short freeze, no masks. Seen with nano pretrained on 324,000 s of the embedded
 * corpus, CER on dev after 24,000 s of fine-tuning: .53 with updates of 16 s at 5e-4, .47 at 1e-3, .47 with updates of 32 s at 2e-3,
 * which is at .38 after 47,000 s. The published masks delay the start: nothing but blanks after 200 updates.
 */
function shortRecipe(updates: number) {
  return {
    updates,
    freezeUpdates: Math.round(0.1 * updates),
    batchSeconds: 32,
    learningRate: 2e-3,
    layerDrop: 0,
    eps: 1e-6,
    clip: 5,
    curveSeconds: 60,
  };
}

/** Below this width a model is one of the presets for minutes of a CPU. */
export const isWide = ({ hiddenSize }: ModelSize): boolean => hiddenSize >= 512;

/**
 * Defaults filled in and checked.
 *
 * @throws HK_CONFIG without a corpus; naming the key, what was expected and, for an unknown key, the nearest one
 */
export function resolveFinetuneConfig(options: FinetuneOptions, size: ModelSize): FinetuneConfig {
  for (const key of Object.keys(options)) {
    if (!(key in schema.shape)) {
      const meant = didYouMean(key, Object.keys(schema.shape));
      throw new HubertkitError('HK_CONFIG', `Unknown key "${key}" of fine-tuning.${meant}`);
    }
  }
  if (options.corpus === undefined)
    throw new HubertkitError(
      'HK_CONFIG',
      `Fine-tuning of ${options.source} needs transcribed audio: give \`corpus\` (--corpus KIND:FOLDER). Only a run has a corpus of its own.`,
    );
  const wide = isWide(size);
  const recipe = wide ? publishedRecipe(options.updates ?? 25_000) : shortRecipe(options.updates ?? 1000);
  const defaults = {
    checkpoint: 'latest',
    trainSplits: [],
    devSplits: [],
    testSplits: [],
    letters: "'ABCDEFGHIJKLMNOPQRSTUVWXYZ",
    labelMinutes: 0,
    resetTop: 0,
    dropTop: 0,
    random: false,
    freeze: 'pretrained-only',
    phases: wide ? [0.1, 0.4, 0.5] : [0.1, 0.6, 0.3],
    finalScale: 0.05,
    timeMask: { probability: wide ? 0.75 : 0, length: 10 },
    channelMask: { probability: wide ? 0.5 : 0, length: Math.max(1, Math.round((64 * size.hiddenSize) / 768)) },
    betas: [0.9, 0.98],
    weightDecay: 0,
    evaluations: 50,
    tau: 0.5,
    seed: 1,
    device: 'auto',
    threads: 0,
    ...recipe,
  };
  const given = Object.fromEntries(Object.entries(options).filter(([, value]) => value !== undefined));
  const result = schema.safeParse({ ...defaults, ...given });
  if (!result.success) {
    const [issue] = result.error.issues;
    throw new HubertkitError('HK_CONFIG', `Fine-tuning, ${issue.path.join('.')}: ${issue.message}.`);
  }
  checkTogether(result.data, size);
  // In the order of the schema, so that config.yaml reads alike whatever was given.
  const keys = Object.keys(schema.shape) as (keyof FinetuneConfig)[];
  return Object.fromEntries(keys.map((key) => [key, result.data[key]])) as FinetuneConfig;
}

function checkTogether(config: FinetuneConfig, { layers }: ModelSize): void {
  const refuse = (message: string): never => {
    throw new HubertkitError('HK_CONFIG', `Fine-tuning, ${message}`);
  };
  const { resetTop, dropTop, random, freezeUpdates, updates, phases } = config;
  if (resetTop > layers) refuse(`resetTop: the model has ${layers} blocks, got ${resetTop}.`);
  if (dropTop >= layers) refuse(`dropTop: the model has ${layers} blocks and must keep one, got ${dropTop}.`);
  if (resetTop > 0 && dropTop > 0) refuse('resetTop and dropTop: choose one of the two.');
  if (random && (resetTop > 0 || dropTop > 0))
    refuse('random begins the whole network anew: resetTop and dropTop have to be 0.');
  if (freezeUpdates > updates) refuse(`freezeUpdates (${freezeUpdates}) is above updates (${updates}).`);
  if (Math.abs(phases[0] + phases[1] + phases[2] - 1) > 1e-6)
    refuse(`phases must sum to 1, got ${phases.join(' + ')}.`);
}

/** The folder name of a variant: `reset-2-seed-1`, `drop-1-seed-1`, `random-seed-1`, with the label budget when there is one. */
export function variantName({ random, resetTop, dropTop, seed, labelMinutes, freeze }: FinetuneConfig): string {
  const what = random ? 'random' : dropTop > 0 ? `drop-${dropTop}` : `reset-${resetTop}`;
  const budget = labelMinutes > 0 ? `-${labelMinutes}min` : '';
  return `${what}${freeze === 'all' ? '-freeze-all' : ''}${budget}-seed-${seed}`;
}
