/**
 * The layer-reset experiment (Vielzeuf, 2405.08402; Pasad et al., 2107.04734, section 5.4): fine-tunes with the top k blocks
 * begun anew (or taken off) for each k, and once from a network that was never pretrained. Paired: for one seed every variant
 * sees the same batches, masks and head, so differences to k = 0 are differences of the start alone.
 */
import * as path from 'node:path';
import { type Interval, errorRateDifference, mean, standardDeviation } from '../analysis/statistics';
import { HubertkitError } from '../errors';
import { readJsonLines, writeJsonAtomic } from '../formats/atomic';
import { hasRun } from '../train/run';
import { type FinetuneOptions, resolveFinetuneConfig, variantName } from './config';
import { cerCurve, updatesToReach, werCurve } from './curve';
import { type Hypothesis, utteranceErrors } from './evaluate';
import { type FinetunePoint, type FinetuneResult, isBetter, resolveSource } from './finetune';
import { finetuneAll, shareOfCores, type SweepProgress } from './side-by-side';

export interface ResetSweepOptions extends Omit<FinetuneOptions, 'resetTop' | 'dropTop' | 'random' | 'seed'> {
  /** Numbers of blocks. Default 0..L (mode drop: 0..L-1). 0 is always among them: it is what the others are compared to. */
  k?: number[];
  /** Default [1]. Three or more are needed for a statement about seeds. */
  seeds?: number[];
  /** reset: the top k blocks begin anew; drop: they are taken off. Default reset. */
  mode?: 'reset' | 'drop';
  /** Also fine-tune a network of which nothing was pretrained. Default true. */
  random?: boolean;
}

export interface ResetSweepHooks {
  /** Folder of the variants and of summary-reset.json or summary-drop.json. Default: finetune in the run, or beside the model folder. */
  out?: string;
  onProgress?: (progress: SweepProgress) => void;
  signal?: AbortSignal;
}

export interface MeanAndDeviation {
  mean: number;
  /** Sample standard deviation over seeds; 0 for one seed. */
  sd: number;
}

/** All seeds of one k, or of the random control. */
export interface SweepRow {
  /** `k=2`, `drop=1` or `random`. */
  name: string;
  k: number | null;
  seeds: number[];
  wer: MeanAndDeviation;
  cer: MeanAndDeviation;
  /** WER of decoding with the lexicon of the training transcripts. */
  lexiconWer: MeanAndDeviation;
  testWer?: MeanAndDeviation;
  testCer?: MeanAndDeviation;
  testLexiconWer?: MeanAndDeviation;
  /** Mean WER of the curve over updates and over log(1 + update). */
  auc: MeanAndDeviation;
  aucLog: MeanAndDeviation;
  /** Mean CER of the curve over updates. */
  aucCer: MeanAndDeviation;
  /** Updates until the curve's WER is at or below the sweep's tau, for each seed; null: never within the budget. */
  updatesToTau: (number | null)[];
  /** The same of the CER and the sweep's tauCer: what tells more while hardly a word is right. */
  updatesToTauCer: (number | null)[];
  /**
   * Difference to k = 0 of the same seed (negative: better than k = 0), 95 % bootstrap intervals over utterances and seeds.
   * Absent for k = 0.
   */
  difference?: {
    wer: Interval;
    cer: Interval;
    lexiconWer: Interval;
    testWer?: Interval;
    testCer?: Interval;
    testLexiconWer?: Interval;
    auc: number;
    aucCer: number;
  };
}

/** summary-reset.json or summary-drop.json. */
export interface ResetSweepSummary {
  mode: 'reset' | 'drop';
  freeze: string;
  updates: number;
  seeds: number[];
  /** The WER that every variant's updatesToTau is measured at: where the curve of k = 0 ends, mean over seeds. */
  tau: number;
  /** The same of the CER. */
  tauCer: number;
  /** The k with the lowest mean WER on dev (while that is above .9: the lowest mean CER). */
  bestK: number;
  rows: SweepRow[];
  variants: string[];
}

interface Variant {
  k: number | null;
  seed: number;
  folder: string;
  options: FinetuneOptions;
}

interface Finished extends Variant {
  result: FinetuneResult;
  points: FinetunePoint[];
  dev: Hypothesis[];
  test: Hypothesis[];
}

/**
 * Runs every variant that is not finished yet, seed by seed with k = 0 first, and writes the summary. Of a small model on a CPU each
 * variant has one thread (unless `threads` says otherwise) and as many run at once as there are cores: two threads are hardly faster
 * than one there, two processes are twice as fast.
 *
 * @throws what finetune throws
 */
export async function resetSweep(options: ResetSweepOptions, hooks: ResetSweepHooks = {}): Promise<ResetSweepSummary> {
  const { k, seeds = [1], mode = 'reset', random = true, ...shared } = options;
  const { config, source } = await resolveSource(shared);
  const out = hooks.out ?? path.join(config.source, hasRun(config.source) ? '' : '..', 'finetune');
  const ks = chosenBlocks(k, mode, source.model.layers);
  const { threads, processes } = shareOfCores(config, source.model);
  const variants = seeds.flatMap((seed) => {
    const of = (blocks: number | null): Variant => {
      const start = blocks === null ? { random: true } : mode === 'reset' ? { resetTop: blocks } : { dropTop: blocks };
      const options = { ...shared, checkpoint: config.checkpoint, ...start, seed, threads };
      const name = variantName(resolveFinetuneConfig({ ...config, ...start, seed }, source.model));
      return { k: blocks, seed, folder: path.join(out, name), options };
    };
    return [...ks.map(of), ...(random ? [of(null)] : [])];
  });
  const results = await finetuneAll(
    variants.map(({ options, folder }) => ({ options, out: folder })),
    { processes, signal: hooks.signal, onProgress: hooks.onProgress },
  );
  const finished = variants.map(async (variant, i): Promise<Finished> => {
    return { ...variant, result: results[i], ...(await curvesOf(variant.folder, results[i])) };
  });
  const summary = summarise(await Promise.all(finished), mode);
  await writeJsonAtomic(path.join(out, `summary-${mode}.json`), summary);
  return summary;
}

function chosenBlocks(k: number[] | undefined, mode: 'reset' | 'drop', layers: number): number[] {
  const most = mode === 'reset' ? layers : layers - 1;
  const chosen = [...new Set([0, ...(k ?? Array.from({ length: most + 1 }, (_, i) => i))])].sort((a, b) => a - b);
  const wrong = chosen.find((value) => !Number.isInteger(value) || value < 0 || value > most);
  if (wrong !== undefined) {
    throw new HubertkitError(
      'HK_CONFIG',
      `A ${mode} sweep of a model with ${layers} blocks takes k from 0 to ${most}; got ${wrong}.`,
    );
  }
  return chosen;
}

async function curvesOf(folder: string, result: FinetuneResult): Promise<Pick<Finished, 'points' | 'dev' | 'test'>> {
  const read = <T>(name: string) => readJsonLines<T>(path.join(folder, name));
  return {
    points: await read<FinetunePoint>('metrics.jsonl'),
    dev: await read<Hypothesis>('dev.jsonl'),
    test: result.testWer === undefined ? [] : await read<Hypothesis>('test.jsonl'),
  };
}

function summarise(finished: Finished[], mode: 'reset' | 'drop'): ResetSweepSummary {
  const groups = [...new Set(finished.map(({ k }) => k))].map((k) => finished.filter((variant) => variant.k === k));
  const baseline = groups.find(([first]) => first.k === 0)!;
  const final = (of: 'wer' | 'cer') => mean(baseline.map(({ points }) => points[points.length - 1][of]));
  const goals = { tau: final('wer'), tauCer: final('cer') };
  const rows = groups.map((group) => sweepRow(group, baseline, goals, mode));
  const means = (row: SweepRow) => ({ wer: row.wer.mean, cer: row.cer.mean });
  const best = rows.filter(({ k }) => k !== null).reduce((a, b) => (isBetter(means(b), means(a)) ? b : a));
  const { result } = finished[0];
  return {
    mode,
    freeze: result.freeze,
    updates: result.updates,
    seeds: baseline.map(({ seed }) => seed),
    ...goals,
    bestK: best.k!,
    rows,
    variants: finished.map(({ result }) => result.variant),
  };
}

function sweepRow(
  group: Finished[],
  baseline: Finished[],
  { tau, tauCer }: { tau: number; tauCer: number },
  mode: 'reset' | 'drop',
): SweepRow {
  const { k } = group[0];
  const over = (value: (r: Finished) => number): MeanAndDeviation => {
    const values = group.map(value);
    return { mean: mean(values), sd: standardDeviation(values) };
  };
  const tested = group.every(({ result }) => result.testWer !== undefined);
  return {
    name: k === null ? 'random' : mode === 'reset' ? `k=${k}` : `drop=${k}`,
    k,
    seeds: group.map(({ seed }) => seed),
    wer: over(({ result }) => result.wer),
    cer: over(({ result }) => result.cer),
    lexiconWer: over(({ result }) => result.lexiconWer),
    ...(tested && {
      testWer: over(({ result }) => result.testWer!),
      testCer: over(({ result }) => result.testCer!),
      testLexiconWer: over(({ result }) => result.testLexiconWer!),
    }),
    auc: over(({ result }) => result.auc),
    aucLog: over(({ result }) => result.aucLog),
    aucCer: over(({ result }) => result.aucCer),
    updatesToTau: group.map(({ points }) => updatesToReach(werCurve(points), tau)),
    updatesToTauCer: group.map(({ points }) => updatesToReach(cerCurve(points), tauCer)),
    ...(k !== 0 && { difference: differenceTo(baseline, group, tested) }),
  };
}

function differenceTo(baseline: Finished[], group: Finished[], tested: boolean): NonNullable<SweepRow['difference']> {
  const compare = (set: 'dev' | 'test', rate: keyof typeof utteranceErrors) =>
    errorRateDifference(
      group.map((variant) => variant[set].map(utteranceErrors[rate])),
      baseline.map((variant) => variant[set].map(utteranceErrors[rate])),
    );
  return {
    wer: compare('dev', 'wer'),
    cer: compare('dev', 'cer'),
    lexiconWer: compare('dev', 'lexiconWer'),
    ...(tested && {
      testWer: compare('test', 'wer'),
      testCer: compare('test', 'cer'),
      testLexiconWer: compare('test', 'lexiconWer'),
    }),
    auc: mean(group.map(({ result }, i) => result.auc - baseline[i].result.auc)),
    aucCer: mean(group.map(({ result }, i) => result.aucCer - baseline[i].result.aucCer)),
  };
}
