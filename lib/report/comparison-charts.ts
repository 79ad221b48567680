/** Several runs in one table and one chart: what each costs and what comes of it. */
import { base, type Cell, type Chart, interval, type Listing, type Option, percent, round, type View } from './chart';
import { type ErrorKey, type ErrorRate, errorEstimate, errorRates } from './errors';
import type { RunData, TrainingPoint } from './read';
import { bestLayer, type Estimate, estimate, groupVariants, lastOfEachIteration } from './statistics';

export function sideBySide(runs: RunData[]): Listing {
  const errors = errorRates(runs.flatMap((run) => run.fineTunings));
  return {
    id: 'comparison',
    title: 'The end of each run',
    caption:
      'Errors are fractions, means over seeds: with no layer reset (k = 0), and the lowest of all variants but the random control.',
    table: {
      columns: [
        'run',
        'iterations',
        'updates',
        'audioSeconds',
        'relabelAudioSeconds',
        'wallSeconds',
        'best layer',
        'PNMI',
        'top layer PNMI',
        ...errors.flatMap(({ name }) => [`${name}, k = 0`, `${name}, lowest`]),
      ],
      rows: runs.map((run) => sideBySideRow(run, errors)),
    },
  };
}

function sideBySideRow(run: RunData, errors: ErrorRate[]): Cell[] {
  const end = lastOfEachIteration(run.analyses).at(-1);
  const best = bestLayer(end?.layers, 'pnmi');
  const last = run.training.at(-1);
  const pretrained = groupVariants(run.fineTunings.filter((entry) => !entry.random)).map((group) => group.runs);
  return [
    run.name,
    end?.iteration ?? last?.iteration ?? null,
    last?.totalUpdates ?? null,
    last?.audioSeconds ?? null,
    last?.relabelAudioSeconds ?? null,
    last?.wallSeconds ?? null,
    best?.layer ?? null,
    best?.value ?? null,
    end?.layers.at(-1)?.pnmi ?? null,
    ...errors.flatMap(({ key }) => {
      const means = pretrained.flatMap((members) => errorEstimate(members, key)?.mean ?? []);
      const whole = pretrained.find(([first]) => first.resetTop === 0 && first.dropTop === 0);
      return [(whole && errorEstimate(whole, key)?.mean) ?? null, means.length ? Math.min(...means) : null];
    }),
  ];
}

/** What a run had come to at some point of it. */
interface Outcome {
  run: string;
  measure: string;
  iteration: number;
  totalUpdates: number;
  audioSeconds: number;
  relabelAudioSeconds: number;
  quality: Estimate;
}

/** Best-layer PNMI of every checkpoint and the error of every fine-tuned one, over all audio that was processed for it. */
export function qualityByCompute(runs: RunData[]): Chart | undefined {
  const measures: { key: 'pnmi' | ErrorKey; name: string; outcomes: Outcome[][] }[] = [
    { key: 'pnmi', name: 'PNMI of the best layer', outcomes: runs.map(pnmiOutcomes) },
    ...errorRates(runs.flatMap((run) => run.fineTunings)).map(({ key, name }) => ({
      key,
      name,
      outcomes: runs.map((run) => errorOutcomes(run, key, name)),
    })),
  ];
  const views = measures.flatMap(({ key, name, outcomes }): View[] => {
    const shown = key === 'pnmi' ? round : percent;
    const series = outcomes.flatMap((own, index): Option[] => {
      const points = own.flatMap(({ quality, ...at }): [number, Estimate][] => {
        const seconds = at.audioSeconds + at.relabelAudioSeconds;
        return seconds > 0 ? [[round(seconds), quality]] : [];
      });
      return interval(runs[index].name, points, index, (value) => shown(value));
    });
    const option = base(
      key === 'pnmi' ? name : `${name} (%)`,
      'audio processed (seconds, relabelling included)',
      series,
      { logX: true },
    );
    return series.length ? [{ id: `quality-${key}`, name, option }] : [];
  });
  if (!views.length) return undefined;
  const rows = measures.flatMap(({ outcomes }) => outcomes.flat()).map(row);
  return {
    id: 'quality',
    title: 'Quality against compute',
    caption:
      'All audio processed up to a checkpoint: what the model was trained on, repeats counted, and what teachers were run over for labels. PNMI at every measured checkpoint; errors of fine-tuning with no layer reset, bars are 95 % intervals over seeds. Higher (PNMI) or lower (errors) and further left is better.',
    views,
    table: {
      columns: [
        'run',
        'measure',
        'iteration',
        'totalUpdates',
        'audioSeconds',
        'relabelAudioSeconds',
        'mean',
        'low',
        'high',
        'seeds',
      ],
      rows,
    },
  };
}

function row({ run, measure, iteration, totalUpdates, audioSeconds, relabelAudioSeconds, quality }: Outcome): Cell[] {
  const { mean, low, high, n } = quality;
  return [run, measure, iteration, totalUpdates, audioSeconds, relabelAudioSeconds, mean, low, high, n];
}

function pnmiOutcomes(run: RunData): Outcome[] {
  return run.analyses.flatMap((analysis) => {
    const best = bestLayer(analysis.layers, 'pnmi');
    if (!best) return [];
    const { iteration, update, totalUpdates, audioSeconds } = analysis;
    const relabelAudioSeconds = pointAt(run, iteration, update)?.relabelAudioSeconds ?? 0;
    const quality = estimate([best.value]);
    return [
      {
        run: run.name,
        measure: 'best-layer pnmi',
        iteration,
        totalUpdates,
        audioSeconds,
        relabelAudioSeconds,
        quality,
      },
    ];
  });
}

/** Fine-tunings with no layer reset, one outcome for each checkpoint that they began from. */
function errorOutcomes(run: RunData, key: ErrorKey, measure: string): Outcome[] {
  const whole = run.fineTunings.filter((entry) => !entry.random && entry.resetTop === 0 && entry.dropTop === 0);
  const checkpoints = new Set(whole.map(({ checkpoint }) => checkpoint));
  const outcomes = [...checkpoints].flatMap((checkpoint): Outcome[] => {
    const quality = errorEstimate(
      whole.filter((entry) => entry.checkpoint === checkpoint),
      key,
    );
    const [, iteration, update] = /^iteration-(\d+)\/step-(\d+)$/.exec(checkpoint ?? '') ?? [];
    const point = iteration ? pointAt(run, Number(iteration), Number(update)) : run.training.at(-1);
    if (!quality || !point) return [];
    const { totalUpdates, audioSeconds, relabelAudioSeconds = 0 } = point;
    return [
      { run: run.name, measure, iteration: point.iteration, totalUpdates, audioSeconds, relabelAudioSeconds, quality },
    ];
  });
  return outcomes.sort((a, b) => a.totalUpdates - b.totalUpdates);
}

/** The last line of the log up to an update of an iteration, or the first of that iteration. */
function pointAt({ training }: RunData, iteration: number, update: number): TrainingPoint | undefined {
  const own = training.filter((point) => point.iteration === iteration);
  return own.filter((point) => point.update <= update).at(-1) ?? own[0];
}
