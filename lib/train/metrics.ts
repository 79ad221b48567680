/**
 * The numbers of a run: metrics.jsonl (one JSON object a line) and, beside it, the same numbers as TensorBoard events (tb/).
 * metrics.jsonl is the truth: a resumed run cuts it back to the lines its checkpoint had seen and writes tb/ again from it.
 */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { EventFile } from './tensorboard';

/** One line of metrics.jsonl. wallSeconds and audioSecondsPerSecond are the only fields that differ between two runs of one seed. */
export interface Metrics {
  kind: 'train' | 'valid';
  /** 1-based. */
  iteration: number;
  /** Updates of this iteration so far. */
  update: number;
  totalUpdates: number;
  /** Audio trained on so far, all iterations. */
  audioSeconds: number;
  /** Audio that teachers have been run over for labels so far (forward passes only). */
  relabelAudioSeconds: number;
  /** Time since the run began, relabelling included, time between a kill and the resume not. */
  wallSeconds: number;
  /** The objective in nats, as minimised: alpha * masked + unmaskedWeight * unmasked + penalty; train lines with intermediate layers. */
  loss: number;
  maskedLossBits: number;
  /** Absent from train lines unless unmasked frames are trained on. */
  unmaskedLossBits?: number;
  /** Share of the masked frames whose best cluster is the target. */
  maskedAccuracy: number;
  unmaskedAccuracy?: number;
  /** Entropy of the label distribution: the loss of a model that has learned nothing but frequencies. */
  unigramBits: number;
  featurePenalty: number;
  learningRate?: number;
  /** Before clipping, mean over the updates since the last line. */
  gradientNorm?: number;
  /** Steps of this run that were skipped because their gradient was not finite. */
  skippedSteps?: number;
  audioSecondsPerSecond?: number;
}

const notCharted = new Set(['kind', 'iteration', 'update', 'totalUpdates']);

/** Writes metrics.jsonl and tb/ of a run folder. */
export class MetricsLog {
  lines: number;
  #descriptor: number;
  #events: EventFile;
  #startedAt: number;

  /**
   * Opens the log of `folder`, keeping the first `lines` lines (0: a new log).
   * @param startedAt when the run began, seconds since 1970: the origin of the events' times.
   * @throws HK_FORMAT when the file has fewer lines than the checkpoint says.
   */
  constructor(folder: string, lines: number, startedAt: number) {
    const file = path.join(folder, 'metrics.jsonl');
    const kept = truncateLines(file, lines);
    this.lines = lines;
    this.#startedAt = startedAt;
    this.#descriptor = fs.openSync(file, 'a');
    fs.mkdirSync(path.join(folder, 'tb'), { recursive: true });
    this.#events = new EventFile(
      path.join(folder, 'tb', `events.out.tfevents.${Math.floor(startedAt)}.hubertkit`),
      startedAt,
    );
    for (const line of kept) this.#chart(JSON.parse(line) as Metrics);
  }

  write(metrics: Metrics): void {
    fs.writeSync(this.#descriptor, `${JSON.stringify(metrics)}\n`);
    this.lines++;
    this.#chart(metrics);
  }

  /** Makes sure that what was written survives a loss of power: before a checkpoint counts on it. */
  sync(): void {
    fs.fsyncSync(this.#descriptor);
  }

  close(): void {
    if (this.#descriptor < 0) return;
    fs.closeSync(this.#descriptor);
    this.#descriptor = -1;
    this.#events.close();
  }

  #chart(metrics: Metrics): void {
    const scalars: Record<string, number> = {};
    for (const [name, value] of Object.entries(metrics))
      if (typeof value === 'number' && !notCharted.has(name)) scalars[`${metrics.kind}/${name}`] = value;
    this.#events.scalars(this.#startedAt + metrics.wallSeconds, metrics.totalUpdates, scalars);
  }
}

/** Cuts a text file after its first `lines` lines and returns them. A missing file has no lines. */
function truncateLines(file: string, lines: number): string[] {
  const text = fs.existsSync(file) ? fs.readFileSync(file) : Buffer.alloc(0);
  let end = 0;
  for (let line = 0; line < lines; line++) {
    const newline = text.indexOf(10, end);
    if (newline < 0)
      throw new HubertkitError(
        'HK_FORMAT',
        `${file} has ${line} whole lines, but the checkpoint was written after line ${lines}. ` +
          'Put the file back as it was, or start in a new folder.',
      );
    end = newline + 1;
  }
  if (end < text.length) fs.truncateSync(file, end);
  return text.subarray(0, end).toString().split('\n').filter(Boolean);
}

/** Reads metrics.jsonl; a last line that a kill cut short is left out. */
export function readMetrics(folder: string): Metrics[] {
  const file = path.join(folder, 'metrics.jsonl');
  if (!fs.existsSync(file)) return [];
  const lines = fs.readFileSync(file, 'utf8').split('\n');
  lines.pop(); // after the last newline: nothing, or half a line
  return lines.map((line, i) => {
    try {
      return JSON.parse(line) as Metrics;
    } catch (cause) {
      throw new HubertkitError('HK_FORMAT', `${file}, line ${i + 1} is not JSON: ${line.slice(0, 80)}`, { cause });
    }
  });
}
