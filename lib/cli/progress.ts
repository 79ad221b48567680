/** Progress on standard error: one line that is redrawn on a terminal, a line now and then elsewhere. */
export interface Step {
  /** What is going on: `iteration 1/2`. */
  label: string;
  done: number;
  total: number;
  /** What is counted: `updates`. */
  unit?: string;
  /** Numbers to show: `loss 4.21 bits`. */
  values?: string[];
}

type Stream = { isTTY?: boolean; columns?: number; write(text: string): unknown };

export class Progress {
  private label = '';
  private startedAt = 0;
  private startedFrom = 0;
  private shownAt = 0;
  private open = false;

  constructor(
    private readonly stream: Stream = process.stderr,
    private readonly now: () => number = () => performance.now() / 1000,
  ) {}

  /** Shows a step, at most ten times a second on a terminal and every ten seconds elsewhere; first and last ones always. */
  show(step: Step): void {
    const time = this.now();
    const fresh = step.label !== this.label;
    if (fresh) {
      this.close();
      this.label = step.label;
      this.startedAt = time;
      this.startedFrom = step.done;
    }
    if (!fresh && step.done < step.total && time - this.shownAt < (this.stream.isTTY ? 0.1 : 10)) return;
    this.shownAt = time;
    const text = this.line(step, time);
    if (!this.stream.isTTY) {
      this.stream.write(`${text}\n`);
      return;
    }
    this.stream.write(`\r\x1b[2K${text.slice(0, (this.stream.columns || 80) - 1)}`);
    this.open = true;
    if (step.done >= step.total) this.close();
  }

  /** Ends the line that is being redrawn. */
  close(): void {
    if (this.open) this.stream.write('\n');
    this.open = false;
    this.label = '';
  }

  private line(step: Step, time: number): string {
    const share = step.total > 0 ? Math.min(1, step.done / step.total) : 1;
    const rate = (step.done - this.startedFrom) / (time - this.startedAt);
    const eta = rate > 0 && step.done < step.total ? `ETA ${clock((step.total - step.done) / rate)}` : '';
    const count = `${step.done}/${step.total}${step.unit ? ` ${step.unit}` : ''}`;
    return [
      step.label,
      this.stream.isTTY ? this.bar(share) : '',
      `${Math.floor(100 * share)} %`,
      count,
      ...(step.values ?? []),
      eta,
    ]
      .filter(Boolean)
      .join('  ');
  }

  private bar(share: number): string {
    const filled = Math.round(20 * share);
    return '█'.repeat(filled) + '░'.repeat(20 - filled);
  }
}

/** A corpus that is being made. */
export function showCorpus(progress: Progress, { seconds, total }: { seconds: number; total: number }): void {
  progress.show({ label: 'corpus', done: Math.min(Math.round(seconds), total), total, unit: 's of speech' });
}

/** 75 -> 1:15, 4000 -> 1:06:40. */
export function clock(seconds: number): string {
  const s = Math.round(seconds);
  const two = (n: number) => String(n).padStart(2, '0');
  return s < 3600
    ? `${Math.floor(s / 60)}:${two(s % 60)}`
    : `${Math.floor(s / 3600)}:${two(Math.floor(s / 60) % 60)}:${two(s % 60)}`;
}
