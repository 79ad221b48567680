/** A small made-up run folder in a temporary place: shapes and names of a real one, invented numbers. */
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

export interface FixtureOptions {
  name?: string;
  layers?: number;
  iterations?: number;
  seeds?: number;
  /** Where to put the run. Default: a temporary folder. */
  parent?: string;
  corpus?: string;
}

export function makeRun(options: FixtureOptions = {}): string {
  const { name = 'example', layers = 4, iterations = 2, seeds = 3, corpus = 'embedded:corpora/demo' } = options;
  const folder = path.join(options.parent ?? fs.mkdtempSync(path.join(os.tmpdir(), 'hk-report-')), name);
  for (const part of ['analysis', 'finetune']) fs.mkdirSync(path.join(folder, part), { recursive: true });
  fs.writeFileSync(
    path.join(folder, 'config.yaml'),
    `corpus: ${corpus}\nmodel: nano\nseed: 1\nschedule:\n  - teacher: mfcc\n    clusters: 100\n    updates: 1000\n`,
  );
  fs.writeFileSync(path.join(folder, 'system.json'), JSON.stringify({ hubertkit: '0.1.0', parameters: 1_023_456 }));
  fs.writeFileSync(path.join(folder, 'metrics.jsonl'), lines(training(iterations)));
  for (const analysis of analyses(iterations, layers)) {
    const file = `${analysis.checkpoint.replace('/', '-')}.json`;
    fs.writeFileSync(path.join(folder, 'analysis', file), JSON.stringify(analysis));
  }
  for (let k = 0; k <= layers; k++)
    for (let seed = 1; seed <= seeds; seed++) fineTuning(folder, `reset-${k}-seed-${seed}`, k, seed);
  for (let seed = 1; seed <= seeds; seed++) fineTuning(folder, `random-seed-${seed}`, layers, seed, true);
  const difference = (k: number | null) => ({
    estimate: 0.05 * ((k ?? 8) - 2),
    low: 0.05 * ((k ?? 8) - 2) - 0.03,
    high: 0.05 * ((k ?? 8) - 2) + 0.03,
  });
  const rows = [...Array.from({ length: layers + 1 }, (_, k) => k), null].map((k) => ({
    name: k === null ? 'random' : `k=${k}`,
    k,
    ...(k !== 0 && { difference: { wer: difference(k), testWer: difference(k) } }),
  }));
  fs.writeFileSync(path.join(folder, 'finetune', 'summary-reset.json'), JSON.stringify({ mode: 'reset', rows }));
  return folder;
}

const lines = (rows: unknown[]) => rows.map((row) => `${JSON.stringify(row)}\n`).join('');
const wobble = (n: number) => Math.sin(n * 12.9898) * 0.5;

function training(iterations: number): unknown[] {
  const rows: unknown[] = [];
  for (let iteration = 1; iteration <= iterations; iteration++) {
    for (let update = 20; update <= 1000; update += 20) {
      const totalUpdates = (iteration - 1) * 1000 + update;
      const loss = 3.4 + 2.4 * Math.exp(-update / 350) + 0.08 * wobble(totalUpdates);
      const row = (kind: string, masked: number) => ({
        kind,
        iteration,
        update,
        totalUpdates,
        audioSeconds: totalUpdates * 16,
        relabelAudioSeconds: (iteration - 1) * 2400,
        wallSeconds: totalUpdates / 8,
        maskedLossBits: masked,
        unmaskedLossBits: masked - 0.7,
        maskedAccuracy: 0.62 - 0.1 * masked,
        unmaskedAccuracy: 0.75 - 0.1 * masked,
        unigramBits: iteration === 1 ? 5.5 : 5.9,
        learningRate: 1e-3 * (1 - update / 1000),
        gradientNorm: 1 + 0.1 * wobble(update),
        audioSecondsPerSecond: 130,
      });
      rows.push(row('train', loss));
      if (update % 100 === 0) rows.push(row('valid', loss + 0.15));
    }
  }
  return rows;
}

function analyses(iterations: number, layers: number) {
  const all = [];
  for (let iteration = 1; iteration <= iterations; iteration++) {
    for (let update = 200; update <= 1000; update += 200) {
      const progress = update / 1000;
      const row = (layer: number, trained: number) => {
        const height = 1 - Math.abs(layer / layers - 0.6);
        return {
          layer,
          pnmi: 0.17 + trained * (0.1 * progress + 0.03 * iteration) * height,
          phonePurity: 0.2 + 0.15 * trained * height,
          clusterPurity: 0.05 + 0.04 * trained * height,
          ckaLayer0: 1 - 0.5 * (layer / layers) ** (2 - trained) * (layer === layers ? 0.8 : 1),
          ckaLogMel: 0.6 - 0.3 * trained * height,
          phoneProbeAccuracy: 0.25 + 0.25 * trained * height * progress,
        };
      };
      const rows = (trained: number) => Array.from({ length: layers + 1 }, (_, layer) => row(layer, trained));
      const totalUpdates = (iteration - 1) * 1000 + update;
      all.push({
        checkpoint: `iteration-${iteration}/step-${String(update).padStart(6, '0')}`,
        iteration,
        update,
        totalUpdates,
        audioSeconds: totalUpdates * 16,
        layers: rows(1),
        autoencoderIndex: 0.15 + 0.05 * progress * iteration,
        random: { layers: rows(0) },
        mfcc: { pnmi: 0.341 },
        chance: { pnmi: 0.012 },
        clusters: 100,
        frames: 20_000,
      });
    }
  }
  return all;
}

function fineTuning(folder: string, variant: string, resetTop: number, seed: number, random = false): void {
  const own = path.join(folder, 'finetune', variant);
  fs.mkdirSync(own, { recursive: true });
  const final = random ? 0.74 : 0.31 + 0.05 * Math.abs(resetTop - 1) + 0.03 * wobble(resetTop * 7 + seed);
  const points = Array.from({ length: 50 }, (_, index) => {
    const update = 10 * (index + 1);
    const wer = final + (1 - final) * Math.exp(-update / (random ? 300 : 110));
    return { update, loss: 3 * wer, wer, cer: wer * 0.42, audioSeconds: update * 8, wallSeconds: update / 10 };
  });
  fs.writeFileSync(path.join(own, 'metrics.jsonl'), lines(points));
  const { wer, cer } = points.at(-1)!;
  const result = {
    variant,
    resetTop,
    dropTop: 0,
    freeze: 'pretrained-only',
    random,
    seed,
    wer,
    cer,
    testWer: wer + 0.02,
    testCer: cer + 0.01,
    lexiconWer: wer - 0.1,
    testLexiconWer: wer - 0.08,
    checkpoint: 'iteration-2/step-001000',
    trainMinutes: 60,
    updatesToTau: 210,
    auc: 0.5,
  };
  fs.writeFileSync(path.join(own, 'result.json'), JSON.stringify(result));
}
