/** What decides the numbers of an analysis. */
import { HubertkitError } from '../errors';

/** Of all measures: another value is another analysis. */
export interface CommonSettings {
  /** Frames of training speakers that k-means, probes and CCA are fitted on, at most. Default 20000. */
  fitFrames: number;
  /** Frames of held-out speakers that everything is measured on, at most. Default 12000. */
  testFrames: number;
  /** Of the choice of utterances, of k-means, of the probes and of the ABX triples. Default 1. */
  seed: number;
  /** Files or folders of alignments (see readAlignmentFiles) beside the corpus's own. Default none. */
  alignments: string[];
}

/** Each decides some measures (see the table in metrics.ts). */
export interface MeasureSettings {
  /** K of the k-means that layers (and the MFCCs) are measured with. Default 100. */
  clusters: number;
  /** Passes of full k-means over the fitting frames, after one k-means++ seeding. Default 20. */
  kmeansIterations: number;
  /** Test frames that CKA and drift are measured on, evenly spaced. Default 4000. */
  ckaFrames: number;
  /** Passes of a probe. Default 12. */
  probeEpochs: number;
  /** ABX triples within, and as many across speakers. Default 10000. */
  abxTriples: number;
  /** An `.item` file. Default: the triphones of the test utterances' phone alignments. */
  abxItems?: string;
}

export const commonSettings = ['fitFrames', 'testFrames', 'seed', 'alignments'] as const;

export interface AnalysisSettings extends CommonSettings, MeasureSettings {}

const defaults: AnalysisSettings = {
  fitFrames: 20_000,
  testFrames: 12_000,
  seed: 1,
  alignments: [],
  clusters: 100,
  kmeansIterations: 20,
  ckaFrames: 4000,
  probeEpochs: 12,
  abxTriples: 10_000,
  abxItems: undefined,
};

/** With every default filled in. @throws HK_ARGUMENT */
export function resolveSettings(options: Partial<AnalysisSettings>): AnalysisSettings {
  const keys = Object.keys(defaults) as (keyof AnalysisSettings)[];
  const settings = Object.fromEntries(
    keys.map((key) => [key, options[key] ?? defaults[key]]),
  ) as unknown as AnalysisSettings;
  for (const key of keys) {
    const value = settings[key];
    if (key === 'abxItems' || key === 'alignments') {
      const paths = key === 'alignments' ? (value as unknown) : [value ?? ''];
      if (Array.isArray(paths) && paths.every((file) => typeof file === 'string')) continue;
      throw new HubertkitError(
        'HK_ARGUMENT',
        `Analysis, ${key}: expected paths of files, got ${JSON.stringify(value)}.`,
      );
    }
    if (!(Number.isInteger(value) && (value as number) >= (key === 'seed' ? 0 : 1))) {
      throw new HubertkitError('HK_ARGUMENT', `Analysis, ${key}: expected a whole number, got ${value}.`);
    }
  }
  return settings;
}

export function pick<T extends object, K extends keyof T>(object: T, keys: readonly K[]): Pick<T, K> {
  return Object.fromEntries(keys.map((key) => [key, object[key]])) as Pick<T, K>;
}
