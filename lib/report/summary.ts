/** What a run showed, in plain sentences: what was measured, on what, with which numbers, and how far that carries. */
import { type ErrorKey, errorEstimate, errorRates } from './errors';
import type { RunData } from './read';
import { bestLayer, type Estimate, groupVariants, lastOfEachIteration } from './statistics';

/** fairseq's base recipe, first iteration: 250k updates of 32 x 87.5 s. */
const PUBLISHED_AUDIO_SECONDS = 250_000 * 32 * 87.5;

/** One paragraph each. */
export function summary(run: RunData): string[] {
  return [...training(run), ...layers(run), ...autoencoder(run), ...fineTuning(run), ...scale(run)];
}

function training(run: RunData): string[] {
  const last = run.training.at(-1);
  if (!last) return ['Nothing has been trained in this run yet.'];
  const iterations = [...new Set(run.training.map((point) => point.iteration))];
  const name = modelName(run);
  const lines = [
    `Pretraining: ${name}${parameters(run)} was trained on ${corpusName(run)} for ${plural(iterations.length, 'iteration')}, ${last.totalUpdates} updates and ${duration(last.audioSeconds)} of audio (repeats counted).`,
  ];
  for (const iteration of iterations) {
    const own = run.training.filter((point) => point.iteration === iteration);
    const valid = own.filter((point) => point.kind === 'valid' && point.maskedLossBits !== undefined).at(-1);
    const point = valid ?? own.filter((entry) => entry.maskedLossBits !== undefined).at(-1);
    if (!point) continue;
    const against =
      point.unigramBits === undefined
        ? ''
        : `, ${point.maskedLossBits! < point.unigramBits ? 'below' : 'not below'} the ${number(point.unigramBits)} bits of a model that knows only how often each label occurs`;
    const accuracy =
      point.maskedAccuracy === undefined
        ? ''
        : `; ${percent(point.maskedAccuracy)} of the masked frames are predicted exactly`;
    lines.push(
      `Iteration ${iteration} ended with a masked loss of ${number(point.maskedLossBits!)} bits per frame on ${valid ? 'validation' : 'training'} data${against}${accuracy}.`,
    );
  }
  return lines;
}

function layers(run: RunData): string[] {
  const ends = lastOfEachIteration(run.analyses);
  const reference = ends.at(-1);
  if (!reference) return [];
  const measured = [
    reference.frames && `${reference.frames} frames`,
    reference.clusters && `${reference.clusters} clusters per layer`,
  ];
  const how = measured.filter(Boolean).join(', ');
  const parts = ends.map((analysis) => {
    const best = bestLayer(analysis.layers, 'pnmi');
    return best ? `${number(best.value)} after iteration ${analysis.iteration} (best layer: ${best.layer})` : '';
  });
  const random = bestLayer(reference.random?.layers, 'pnmi')?.value;
  const mfcc = reference.mfcc?.pnmi;
  const chance = reference.chance?.pnmi;
  const from = [
    chance !== undefined && `chance ${number(chance)}`,
    random !== undefined && `best layer of the untrained network ${number(random)}`,
    mfcc !== undefined && `MFCC labels ${number(mfcc)}`,
  ].filter(Boolean);
  const lines = [
    `Phone information (PNMI${how ? `; ${how}` : ''}): ${parts.filter(Boolean).join(', ')}. For comparison: ${from.join(', ')}.`,
  ];
  const first = bestLayer(ends[0].layers, 'pnmi')?.value;
  const final = bestLayer(reference.layers, 'pnmi')?.value;
  const verdicts: string[] = [];
  if (first !== undefined && random !== undefined) {
    verdicts.push(
      first > random
        ? 'training put phone information into the layers that the untrained network does not have'
        : 'training did NOT raise the best layer above the untrained network',
    );
  }
  if (ends.length > 1 && first !== undefined && final !== undefined) {
    verdicts.push(final >= first ? 'the last iteration kept or raised it' : 'the last iteration ended BELOW the first');
  }
  if (final !== undefined && mfcc !== undefined) {
    verdicts.push(
      final > mfcc
        ? 'the best layer carries more phone information than the MFCC labels that taught the first iteration'
        : 'the best layer does not yet carry more than the MFCC labels that taught the first iteration',
    );
  }
  return verdicts.length ? [...lines, `So ${verdicts.join('; ')}.`] : lines;
}

function autoencoder(run: RunData): string[] {
  const end = lastOfEachIteration(run.analyses).at(-1);
  const best = bestLayer(end?.layers, 'pnmi');
  const top = end?.layers.at(-1);
  if (!end || !best || top?.pnmi === undefined) return [];
  const index =
    end.autoencoderIndex === undefined
      ? ''
      : ` The autoencoder index is ${number(end.autoencoderIndex)} (0: the layers only move away from the input; 1: the top layer has come back to it).`;
  const drop =
    best.layer === top.layer
      ? `The top layer (${top.layer}) is the one with the most phone information: no drop at the top.`
      : `The top layer (${top.layer}) has a PNMI of ${number(top.pnmi)}, ${number(best.value - top.pnmi)} less than layer ${best.layer}.`;
  return [`Autoencoder behaviour: ${drop}${index}`];
}

function fineTuning(run: RunData): string[] {
  const rate = errorRates(run.fineTunings).find(({ key }) => !isLexicon(key));
  if (!rate) return [];
  const { key } = rate;
  const kind = /cer$/i.test(key) ? 'CER' : 'WER';
  const rows = variants(run, key);
  const seeds = Math.max(...rows.map(({ error }) => error.n));
  const why = kind === 'CER' ? '; every WER is above 95 %, where it tells little' : '';
  const lines = [
    `Fine-tuning (${/^test/.test(key) ? 'test' : 'dev'} ${kind}, greedy, no language model, ${plural(seeds, 'seed')}${why}): ${described(rows)}.`,
    ...withLexicon(run),
  ];
  const none = rows.find(({ runs }) => !runs[0].random && runs[0].resetTop === 0 && runs[0].dropTop === 0);
  const resets = rows.filter(({ runs }) => !runs[0].random && runs[0].resetTop > 0 && runs[0].dropTop === 0);
  // Chosen on dev, so that the test figure of the choice is an honest one.
  const onDev = (row: Variant) => errorEstimate(row.runs, kind === 'CER' ? 'cer' : 'wer')?.mean ?? 1;
  const best = resets.sort((a, b) => onDev(a) - onDev(b))[0];
  if (none && best) {
    const gain = none.error.mean - best.error.mean;
    const interval = run.sweeps.find(({ mode }) => mode === 'reset')?.rows.find(({ k }) => k === best.runs[0].resetTop)
      ?.difference?.[key];
    const bounds = interval
      ? ` (difference ${points(interval.estimate)} points, 95 % bootstrap interval ${points(interval.low)} to ${points(interval.high)}${interval.low <= 0 && interval.high >= 0 ? ', which includes no difference' : ''})`
      : '';
    lines.push(
      `The best reset by dev ${kind} (${best.name}) is ${percent(Math.abs(gain))} absolute ${gain > 0 ? 'lower' : 'higher'} than no reset${bounds}.${seeds < 3 ? ' That is too few seeds for a conclusion.' : ''}`,
    );
  }
  const control = rows.find(({ runs }) => runs[0].random);
  const pretrained = [none, best].flatMap((row) => (row ? [row.error] : [])).sort((x, y) => x.mean - y.mean)[0];
  if (control && pretrained) lines.push(againstRandom(kind, pretrained, control.error));
  return lines;
}

interface Variant {
  name: string;
  runs: RunData['fineTunings'];
  error: Estimate;
}

/** The variants that have this rate. */
function variants(run: RunData, key: ErrorKey): Variant[] {
  return groupVariants(run.fineTunings).flatMap(({ name, runs }) => {
    const error = errorEstimate(runs, key);
    return error ? [{ name, runs, error }] : [];
  });
}

function described(rows: Variant[]): string {
  const interval = ({ low, high, n }: Estimate) => (n > 1 ? ` [${percent(low)}, ${percent(high)}]` : '');
  return rows.map(({ name, error }) => `${name} ${percent(error.mean)}${interval(error)}`).join('; ');
}

function isLexicon(key: ErrorKey): boolean {
  return /lexicon/i.test(key);
}

function withLexicon(run: RunData): string[] {
  const rate = errorRates(run.fineTunings).find(({ key }) => isLexicon(key));
  if (!rate) return [];
  const set = /^test/.test(rate.key) ? 'test' : 'dev';
  return [
    `With a lexicon (${set} WER, decoded with the words of the training transcripts and their frequencies): ${described(variants(run, rate.key))}.`,
  ];
}

/** Only intervals that lie apart tell the two networks apart. */
function againstRandom(kind: 'WER' | 'CER', pretrained: Estimate, random: Estimate): string {
  const figures = `${percent(pretrained.mean)} against ${percent(random.mean)} for the same network from random initialisation with the same number of updates`;
  if (pretrained.high < random.low) return `Pretraining helps: ${figures}.`;
  if (pretrained.low > random.high) return `Pretraining did NOT help here: ${figures}.`;
  return `Pretraining makes no clear difference to the ${kind} here: ${figures}; the 95 % intervals overlap.`;
}

function scale(run: RunData): string[] {
  const seconds = run.training.at(-1)?.audioSeconds;
  if (!seconds) return [];
  const share = seconds / PUBLISHED_AUDIO_SECONDS;
  if (share > 0.5) return [];
  return [
    `About the scale: the published base recipe processes about ${Math.round(PUBLISHED_AUDIO_SECONDS / 3600 / 1000)} thousand hours of audio in its first iteration; this run processed ${duration(seconds)} (1/${Math.max(2, Math.round(1 / share)).toLocaleString('en')}). It shows the mechanism of the study, not its published numbers, and its figures are comparable only with runs on the same corpus.`,
  ];
}

// --- words ----------------------------------------------------------------------------------------------------------

function modelName(run: RunData): string {
  const { model } = run.config;
  const preset = typeof model === 'string' ? model : model?.preset;
  return preset ? `the “${preset}” HuBERT` : 'a HuBERT';
}

function parameters(run: RunData): string {
  const count = run.system.parameters;
  return typeof count === 'number' ? ` (${(count / 1e6).toPrecision(3)} million parameters)` : '';
}

/** The corpus in words: its kind and last path component, never the path of the machine. */
export function corpusName(run: RunData): string {
  const spec = typeof run.config.corpus === 'string' ? run.config.corpus : run.config.corpus?.spec;
  if (typeof spec !== 'string') return 'an unnamed corpus';
  const [, kind, folder] = /^([a-z]+):(.*)$/.exec(spec) ?? ['', '', spec];
  if (kind === 'embedded')
    return 'the embedded corpus (synthetic speech of four flite voices with pitch, tempo and channel variants)';
  return `${kind ? `the ${kind} corpus ` : 'the corpus '}“${folder.split('/').filter(Boolean).at(-1) ?? spec}”`;
}

function number(value: number): string {
  return value.toFixed(Math.abs(value) < 0.1 ? 3 : 2);
}

function percent(value: number): string {
  return `${(100 * value).toFixed(1)} %`;
}

/** Hundredths, signed. */
function points(value: number): string {
  return `${value > 0 ? '+' : ''}${(100 * value).toFixed(1)}`;
}

function plural(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}

/** Seconds as minutes or hours. */
export function duration(seconds: number): string {
  if (seconds < 120) return `${Math.round(seconds)} seconds`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} minutes`;
  return `${(seconds / 3600).toFixed(1)} hours`;
}
