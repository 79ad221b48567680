/** What all checkpoints of a run are measured on and compared with; everything is made once, when it is first needed. */
import * as path from 'node:path';
import type { Corpus, Utterance } from '../data/types';
import { type AlignmentCoverage, joinAlignments, type NamedTiers, readAlignmentFiles } from '../data/alignment-files';
import { openCorpus, partition } from '../data/corpus';
import { utterancesByName } from '../data/utterance-names';
import { HubertkitError } from '../errors';
import { readJson } from '../formats/atomic';
import type { HubertModel } from '../nn/model';
import type { Run } from '../train/run';
import { splitUtterances } from '../train/splits';
import { type AbxToken, type AbxTriple, abxTriples, itemsFromPhones, readItems, tokensOf } from './abx';
import { type EvaluationSet, evaluationSet, type PhonedUtterance, sampleUtterances } from './evaluation-set';
import { concatenated, everyNth, type FrameMatrix, logMelFeatures } from './layer-features';
import { perObject } from './memo';
import type { Metric } from './metrics';
import { frequentWords, type Segments, segmentsOf } from './segments';
import type { AnalysisSettings } from './settings';
import { SpeechSource } from './speech';

/** Words that one-hot views, clusters and probes tell apart: so many at most, each so often among the fitting utterances. */
const mostWords = 500;
const leastOccurrences = 5;

export type UtteranceSet = readonly PhonedUtterance[];
export type Tier = 'phones' | 'words';

/** Rows to fit directions on, to choose regularisation on, and to measure on. */
export interface Parts<T> {
  train: T;
  dev: T;
  test: T;
}

export interface AbxTask {
  set: UtteranceSet;
  tokens: AbxToken[];
  within: AbxTriple[];
  across: AbxTriple[];
}

type OnAlignments = (coverage: AlignmentCoverage) => void;

export class Ground {
  /** Phones of the frames of set.fit and set.test, -1 where there is none. */
  readonly fitLabels: Int32Array;
  readonly testLabels: Int32Array;
  readonly words: string[];
  /** For choosing (every second test utterance) and for measuring (the others). */
  readonly halves: { dev: UtteranceSet; test: UtteranceSet };

  private constructor(
    private readonly corpus: Corpus,
    private readonly settings: AnalysisSettings,
    readonly set: EvaluationSet,
    readonly speech: SpeechSource,
  ) {
    this.fitLabels = labelsOf(set.fit);
    this.testLabels = labelsOf(set.test);
    this.words = frequentWords(set.fit, mostWords, leastOccurrences);
    this.halves = { dev: set.test.filter((_, i) => i % 2 === 0), test: set.test.filter((_, i) => i % 2 === 1) };
  }

  static async of(run: Run, settings: AnalysisSettings, onAlignments: OnAlignments = () => {}): Promise<Ground> {
    const corpus = await openCorpus(run.config.corpus);
    if (settings.alignments.length > 0) {
      const alignments: NamedTiers = new Map();
      for (const location of settings.alignments) {
        for (const [name, tiers] of await readAlignmentFiles(location)) {
          alignments.set(name, { ...alignments.get(name), ...tiers });
        }
      }
      const { utterances, coverage } = joinAlignments(corpus.utterances, alignments);
      corpus.utterances = utterances;
      onAlignments(coverage);
    }
    const { train } = splitUtterances(corpus.utterances, run.config);
    const training = new Set(train);
    const parts = partition(corpus.utterances.filter((u) => !training.has(u)));
    const set = evaluationSet({
      train,
      heldOut: parts.test.length > 0 ? parts.test : parts.valid,
      maxFitFrames: settings.fitFrames,
      maxTestFrames: settings.testFrames,
      seed: settings.seed,
    });
    const { config } = await readJson<{ config: HubertModel['config'] }>(
      path.join(run.checkpoint('latest').folder, 'model.json'),
    );
    return new Ground(corpus, settings, set, new SpeechSource(config));
  }

  /** 80 log-mel energies of a set. */
  readonly logMel = perObject((set: UtteranceSet) => logMelFeatures(set));

  /** Of the test frames, those that CKA is measured on. */
  readonly thinned = perObject((test: FrameMatrix) =>
    everyNth(test, Math.ceil(this.set.testFrames / this.settings.ckaFrames)),
  );

  /** The test frames of either half, in their order. */
  readonly halved = perObject((test: FrameMatrix) => {
    const rowsOf = (half: 0 | 1): FrameMatrix => {
      const pieces: Float32Array[] = [];
      let row = 0;
      this.set.test.forEach(({ frames }, i) => {
        if (i % 2 === half) pieces.push(test.data.subarray(row * test.dimensions, (row + frames) * test.dimensions));
        row += frames;
      });
      const data = concatenated(pieces);
      return { rows: data.length / test.dimensions, dimensions: test.dimensions, data };
    };
    return { dev: rowsOf(0), test: rowsOf(1) };
  });

  /** Phones or words of a set as ranges of its rows. */
  readonly segments: Record<Tier, (set: UtteranceSet) => Segments> = {
    phones: perObject((set: UtteranceSet) => segmentsOf(set, 'phones', this.set.phones)),
    words: perObject((set: UtteranceSet) => segmentsOf(set, 'words', this.words)),
  };

  vocabulary(tier: Tier): readonly string[] {
    return tier === 'phones' ? this.set.phones : this.words;
  }

  /** @throws HK_CORPUS without phone alignments */
  requirePhones(metric: string): void {
    if (this.set.phones.length > 0) return;
    throw new HubertkitError(
      'HK_CORPUS',
      `The metric "${metric}" needs phone alignments of training and of held-out utterances, and one or the other have none. They are read from alignments.jsonl beside a manifest, or given apart (--alignments); cka, rank, drift and speaker-probe do without.`,
    );
  }

  /** @throws HK_CORPUS without word alignments */
  requireWords(measure: string): void {
    if (this.words.length > 1 && this.segments.words(this.set.test).labels.length > 0) return;
    throw new HubertkitError(
      'HK_CORPUS',
      `${measure} needs word alignments of training and of held-out utterances, and there are none of words that occur ${leastOccurrences} times in training. They are read from alignments.jsonl beside a manifest, or given apart (--alignments).`,
    );
  }

  /** What a metric compares all checkpoints with. */
  readonly baseline = perObject(async (metric: Metric) => (await metric.baseline?.(this, this.settings)) ?? {});

  private abxTask: Promise<AbxTask> | undefined;

  /** The triples of ABX: of an item file, or of the phone alignments of the test utterances. @throws HK_CORPUS when there are none */
  abx(): Promise<AbxTask> {
    this.abxTask ??= this.makeAbx();
    return this.abxTask;
  }

  private async makeAbx(): Promise<AbxTask> {
    const { abxItems, abxTriples: maxTriples, seed, testFrames } = this.settings;
    const named = utterancesByName(this.corpus.utterances);
    const items = abxItems
      ? await readItems(abxItems)
      : itemsFromPhones(this.set.test.map(({ utterance }) => utterance));
    const utterances = [...new Set(items.map(({ file }) => named(file)))].filter(
      (u): u is Utterance => u !== undefined,
    );
    const set = abxItems ? sampleUtterances(utterances, testFrames, seed, this.set.phones) : this.set.test;
    const tokens = tokensOf(items, set, named);
    const [within, across] = (['within', 'across'] as const).map((mode) =>
      abxTriples(tokens, mode, { maxTriples, seed }),
    );
    if (within.length + across.length === 0) {
      throw new HubertkitError(
        'HK_CORPUS',
        `ABX finds no two triphones that differ in the central phone alone: ${items.length} items, of which ${tokens.length} lie in ${set.length} utterances of the corpus. More testFrames hold more of them.`,
      );
    }
    return { set, tokens, within, across };
  }
}

function labelsOf(set: UtteranceSet): Int32Array {
  const all = new Int32Array(set.reduce((sum, { frames }) => sum + frames, 0));
  let at = 0;
  for (const { labels } of set) {
    all.set(labels, at);
    at += labels.length;
  }
  return all;
}
