/**
 * HUBERTKIT_TRACE=file: every op of every run as one event of a Chrome trace (chrome://tracing, ui.perfetto.dev). The file is in the
 * "JSON array format" (Google's Trace Event Format), whose closing bracket may be missing: it can be read at any moment.
 */
import * as fs from 'node:fs';
import { ioError } from '../formats/atomic';
import type { OpProfile } from './program';

const begun = new Set<string>();

/** Where to write the trace; undefined: no trace. */
export const traceFile = (): string | undefined => process.env.HUBERTKIT_TRACE || undefined;

/** Adds the ops of one run, which follow each other from `began` (seconds). Those behind closed gates took no time. Throws HK_IO. */
export function traceRun(file: string, began: number, profile: OpProfile[]): void {
  let at = began;
  const lines = profile
    .filter(({ seconds }) => seconds > 0)
    .map(({ kind, label, seconds, flops, bytes }) => {
      const args = { label, flops, bytes, 'GFLOP/s': flops / seconds / 1e9, 'GB/s': bytes / seconds / 1e9 };
      const event = {
        name: kind,
        cat: 'op',
        ph: 'X',
        ts: 1e6 * at,
        dur: 1e6 * seconds,
        pid: process.pid,
        tid: 1,
        args,
      };
      at += seconds;
      return `${JSON.stringify(event)},\n`;
    });
  try {
    if (!begun.has(file)) fs.writeFileSync(file, '[\n');
    begun.add(file);
    fs.appendFileSync(file, lines.join(''));
  } catch (cause) {
    throw ioError('write', file, cause);
  }
}
