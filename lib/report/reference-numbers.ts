/** What a faithful HuBERT base approaches on the 960 hours of LibriSpeech, beside the numbers of a run on LibriSpeech. */
import type { Cell, Listing } from './chart';
import { errorEstimate } from './errors';
import type { RunData } from './read';
import { estimate, lastOfEachIteration } from './statistics';

/** Did the run train on LibriSpeech? Its specification says so: by the kind, or by the name of a folder or manifest. */
export function isLibriSpeech(run: RunData): boolean {
  const { corpus } = run.config;
  const spec = (typeof corpus === 'string' ? corpus : corpus?.spec) ?? '';
  return /^librispeech:/.test(spec) || (!/^embedded:/.test(spec) && /librispeech/i.test(spec));
}

/** The table, for a run on LibriSpeech. The run's own number stands there only where it measures the same thing. */
export function referenceNumbers(run: RunData): Listing | undefined {
  if (!isLibriSpeech(run)) return undefined;
  return {
    id: 'reference-numbers',
    title: 'Reference numbers of LibriSpeech, beside this run’s',
    caption:
      'What a faithful HuBERT base approaches on 960 hours with the full recipe (250 to 400 thousand updates an iteration); a smaller model or a shorter run is expected to stay short of it. A cell is empty where this run did not measure the same thing: another number of clusters, no such layer.',
    table: {
      columns: ['quantity', 'at 960 h', 'this run'],
      rows: [...trainingRows(run), ...pnmiRows(run), ...errorRows(run)],
    },
  };
}

function trainingRows(run: RunData): Cell[][] {
  const end = (iteration: number, clusters: number) =>
    run.config.schedule?.[iteration - 1]?.clusters === clusters
      ? run.training.filter((point) => point.kind === 'train' && point.iteration === iteration).at(-1)
      : undefined;
  const first = end(1, 100);
  const second = end(2, 500);
  return [
    ['Iteration 1, K = 100: unigram entropy of the labels (bits)', '6.55', first?.unigramBits ?? null],
    ['Iteration 1, K = 100: masked loss at the end (bits per frame)', '3.14', first?.maskedLossBits ?? null],
    ['Iteration 1, K = 100: masked accuracy at the end', '0.39', first?.maskedAccuracy ?? null],
    ['Iteration 2, K = 500: masked loss at the end (bits per frame)', '3.42', second?.maskedLossBits ?? null],
    ['Iteration 2, K = 500: masked accuracy at the end', '0.42', second?.maskedAccuracy ?? null],
  ];
}

function pnmiRows(run: RunData): Cell[][] {
  const last = lastOfEachIteration(run.analyses);
  const measured = (clusters: number) => last.filter((analysis) => analysis.clusters === clusters);
  const mfcc = (clusters: number) => measured(clusters).at(-1)?.mfcc?.pnmi ?? null;
  const sixth = (clusters: number) => {
    const first = measured(clusters).find(({ iteration }) => iteration === 1);
    return first?.layers.find(({ layer }) => layer === 6)?.pnmi ?? null;
  };
  return [
    ['PNMI of MFCC clusters, K = 100', '0.25 to 0.26', mfcc(100)],
    ['PNMI of MFCC clusters, K = 500', '0.283 to 0.287', mfcc(500)],
    ['PNMI of layer 6 after iteration 1, K = 100', '0.56 to 0.575', sixth(100)],
    ['PNMI of layer 6 after iteration 1, K = 500', '0.68 to 0.69', sixth(500)],
  ];
}

function errorRows(run: RunData): Cell[][] {
  const whole = run.fineTunings.filter((entry) => !entry.random && entry.resetTop === 0 && entry.dropTop === 0);
  const error = errorEstimate(whole, 'testWer');
  const minutes = whole.flatMap(({ trainMinutes }) => trainMinutes ?? []);
  const own = minutes.length ? ` (this run: ${Math.round(estimate(minutes).mean)} minutes, its test set)` : '';
  const name = `Test WER (%) without language model, 10 hours of transcripts${own}`;
  return [
    [`${name}: torchaudio, test-clean / test-other`, '10.9 / 17.8', error ? 100 * error.mean : null],
    [`${name}: ESPnet, test-clean / test-other`, '10.5 / 17.6', error ? 100 * error.mean : null],
  ];
}
