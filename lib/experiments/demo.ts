/**
 * The study at small scale, from nothing to a report: embedded corpus, two iterations of pretraining, every layer of every
 * kept checkpoint measured, fine-tuning with the top k layers reset.
 *
 *   hubertkit demo --budget 10m
 *
 * The budget decides the number of updates through fixed rates, not through a measurement of the machine: the same budget and
 * seed are the same run everywhere. What is there already is kept, so a second call continues or repeats at once.
 */
import * as path from 'node:path';
import { type AnalysisProgress, analyzeRun, type CheckpointAnalysis } from '../analysis';
import { makeEmbeddedCorpus } from '../data/embedded';
import { HubertkitError } from '../errors';
import {
  type MeanAndDeviation,
  type ResetSweepSummary,
  resetSweep,
  type SweepProgress,
  type SweepRow,
} from '../finetune';
import { report } from '../report';
import { type PretrainOptions, type Progress, pretrain } from '../train';

export interface DemoOptions {
  /** Seconds it should take on two ordinary cores. Default 600; at least 30. */
  budgetSeconds?: number;
  /** The run folder. Default runs/demo, for other budgets and seeds runs/demo-60m, runs/demo-60m-seed-2. */
  out?: string;
  /** The corpus, made when it is not there. Default corpora/demo-120 (its minutes, see `corpusMinutes`). */
  corpus?: string;
  /** Of the run; the corpus is always the same. Default 1. */
  seed?: number;
  onProgress?: (progress: DemoProgress) => void;
  signal?: AbortSignal;
}

export type DemoProgress =
  | { phase: 'corpus'; seconds: number; total: number }
  | { phase: 'pretraining'; event: Progress }
  | { phase: 'analysis'; event: AnalysisProgress }
  | { phase: 'fine-tuning'; event: SweepProgress };

export interface DemoResult {
  /** The page. */
  report: string;
  /** Best layer on unseen speakers, beside the untrained network, the MFCC labels and independent labels. */
  pnmi: { chance: number; random: number; mfcc: number; iteration1: number; iteration2: number };
  bestLayers: { iteration1: number; iteration2: number };
  /** Test WER and CER (fractions, mean over seeds) by k, and from random initialisation. */
  wer: Record<string, number>;
  cer: Record<string, number>;
  /** WER of decoding with the words of the training transcripts. */
  lexiconWer: Record<string, number>;
  /** Audio that was trained on, repeats counted. */
  audioSeconds: number;
  wallSeconds: number;
}

/** Rates that turn minutes of budget into updates: the nano model on two ordinary cores, rounded down. */
const rates = {
  /** Audio that is trained on: half of the time. The rest is for the corpus, labels, analysis and fine-tuning. */
  audioSecondsPerMinute: 9000,
  /** Updates of one fine-tuning, within `finetuneUpdates`. */
  finetuneUpdatesPerMinute: 120,
  finetuneUpdates: [100, 3000],
};

const updateSeconds = 16;
/**
 * Minutes of audio in the corpus. On 40 minutes a nano model knows the sentences by heart before it has seen 160,000 s of audio:
 * masked loss 3.3 bits on train and 4.6 on valid, and the layers lose phone information again.
 */
const corpusMinutes = (budgetSeconds: number) => Math.round(Math.min(240, Math.max(40, budgetSeconds / 5)));
/** One: minutes are better spent on longer fine-tuning; `hubertkit reset-sweep RUN --seeds 3` says what seeds do. */
const seedsOfSweep = [1];
/** Blocks reset: none, half, all. */
const blocksOfSweep = [0, 2, 4];
/** The middle layer of the nano model: the teacher of iteration 2. */
const teacherLayer = 2;

/** The configuration of the pretraining that a budget allows. */
export function demoConfig(o: { budgetSeconds: number; corpus: string; out: string; seed: number }): PretrainOptions {
  const audio = (o.budgetSeconds / 60) * rates.audioSecondsPerMinute;
  const updates = Math.max(20, Math.round(audio / 2 / updateSeconds));
  return {
    corpus: `embedded:${o.corpus}`,
    model: 'nano',
    out: o.out,
    seed: o.seed,
    updateSeconds,
    batchSeconds: updateSeconds,
    checkpoints: { keep: 5 },
    schedule: [
      { teacher: 'mfcc', clusters: 100, updates },
      // The second iteration goes on from the first: from scratch, minutes would not take it past where the first one ended.
      { teacher: { layer: teacherLayer }, clusters: 100, updates, init: 'continue-reset-head' },
    ],
  };
}

/** Runs of different budgets and seeds are different runs. */
function defaultOut(budgetSeconds: number, seed: number): string {
  const budget = budgetSeconds === 600 && seed === 1 ? '' : `-${budgetSeconds / 60}m`;
  return `runs/demo${budget}${seed === 1 ? '' : `-seed-${seed}`}`;
}

/** Runs or continues the demo. @throws HK_INTERRUPTED after an abort: the same call continues */
export async function demo(options: DemoOptions = {}): Promise<DemoResult> {
  const { budgetSeconds = 600, seed = 1, onProgress = () => {}, signal } = options;
  if (!(budgetSeconds >= 30))
    throw new HubertkitError('HK_ARGUMENT', `The budget must be at least 30 seconds, got ${budgetSeconds}.`);
  const minutes = corpusMinutes(budgetSeconds);
  const { out = defaultOut(budgetSeconds, seed), corpus = `corpora/demo-${minutes}` } = options;
  const started = performance.now();
  await makeEmbeddedCorpus({
    out: corpus,
    minutes,
    signal,
    onProgress: (event) => onProgress({ phase: 'corpus', ...event }),
  });
  const config = demoConfig({ budgetSeconds, corpus, out, seed });
  const run = await pretrain(config, { signal, onProgress: (event) => onProgress({ phase: 'pretraining', event }) });
  const analyses = await analyzeRun(out, { signal, onProgress: (event) => onProgress({ phase: 'analysis', event }) });
  const [least, most] = rates.finetuneUpdates;
  const updates = Math.min(most, Math.max(least, Math.round((budgetSeconds / 60) * rates.finetuneUpdatesPerMinute)));
  const sweep = await resetSweep(
    { source: out, k: blocksOfSweep, seeds: seedsOfSweep, updates },
    { signal, onProgress: (event) => onProgress({ phase: 'fine-tuning', event }) },
  );
  const { html } = await report(out);
  return {
    report: path.resolve(html),
    ...phoneInformation(analyses),
    ...errors(sweep),
    audioSeconds: run.audioSeconds,
    wallSeconds: (performance.now() - started) / 1000,
  };
}

/** The best layer of the last checkpoint of each iteration, and what to compare it with. */
export function phoneInformation(analyses: CheckpointAnalysis[]): Pick<DemoResult, 'pnmi' | 'bestLayers'> {
  const nothing: { layer: number; pnmi?: number } = { layer: -1 };
  const best = (rows: (typeof nothing)[] = []) =>
    rows.reduce((a, b) => ((b.pnmi ?? -1) > (a.pnmi ?? -1) ? b : a), nothing);
  const last = (iteration: number) => analyses.findLast((analysis) => analysis.iteration === iteration);
  const [first, second] = [last(1), last(2)];
  return {
    pnmi: {
      chance: second?.chance?.pnmi ?? Number.NaN,
      random: best(second?.random?.layers).pnmi!,
      mfcc: second?.mfcc?.pnmi ?? Number.NaN,
      iteration1: best(first?.layers).pnmi!,
      iteration2: best(second?.layers).pnmi!,
    },
    bestLayers: { iteration1: best(first?.layers).layer, iteration2: best(second?.layers).layer },
  };
}

function errors({ rows }: ResetSweepSummary): Pick<DemoResult, 'wer' | 'cer' | 'lexiconWer'> {
  const by = (rate: (row: SweepRow) => MeanAndDeviation) =>
    Object.fromEntries(rows.map((row) => [row.k === null ? 'random' : `k${row.k}`, rate(row).mean]));
  return {
    wer: by((row) => row.testWer ?? row.wer),
    cer: by((row) => row.testCer ?? row.cer),
    lexiconWer: by((row) => row.testLexiconWer ?? row.lexiconWer),
  };
}
