/** What all commands share: exit codes, Ctrl-C, printed errors. */
import { HubertkitError } from '../errors';

/** What a command's body gets besides its arguments. */
export interface Context {
  /** Aborted by the first Ctrl-C (SIGINT) or SIGTERM; the second ends the process at once. */
  signal: AbortSignal;
}

/** Exit codes: 0 done, 1 failed, 2 wrong usage, 130 interrupted. */
export const EXIT = { done: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** What several commands have: flags, meaning, default. */
export const jsonOption = ['--json', 'print one JSON line'] as const;
export const deviceOption = ['--device <device>', 'cpu, cuda, cuda:N or auto', 'cpu'] as const;

/** What a corpus is named by. */
export const corpusForms = "'librispeech:DIR', 'folder:DIR', 'manifest:DIR', 'embedded:DIR' or DIR";

/** Runs a command's body and sets the exit code. */
export async function run(body: (context: Context) => Promise<unknown>): Promise<void> {
  const controller = new AbortController();
  const onSignal = () => {
    if (controller.signal.aborted) process.exit(EXIT.interrupted);
    process.stderr.write('\nInterrupted: finishing the current step and saving (again to stop at once).\n');
    controller.abort(new HubertkitError('HK_INTERRUPTED', 'Interrupted.'));
  };
  process.on('SIGINT', onSignal).on('SIGTERM', onSignal);
  try {
    await body({ signal: controller.signal });
    if (controller.signal.aborted) process.exitCode = EXIT.interrupted;
  } catch (error) {
    process.exitCode = controller.signal.aborted ? EXIT.interrupted : printError(error);
    if (controller.signal.aborted && (error as HubertkitError).code !== 'HK_INTERRUPTED') printError(error);
  } finally {
    process.off('SIGINT', onSignal).off('SIGTERM', onSignal);
  }
}

/** Prints an error as `HK_CODE: message`, with its stack when HUBERTKIT_DEBUG is set, and returns the exit code. */
export function printError(error: unknown): number {
  const { code, message, stack, cause } = error as HubertkitError;
  const known = typeof code === 'string' && code.startsWith('HK_');
  process.stderr.write(`${red(known ? code : 'HK_INTERNAL')}: ${message ?? String(error)}\n`);
  if (process.env.HUBERTKIT_DEBUG) {
    process.stderr.write(`${stack}\n${cause instanceof Error ? `cause: ${cause.stack}\n` : ''}`);
  } else if (!known) {
    process.stderr.write('This is a defect of hubertkit. HUBERTKIT_DEBUG=1 shows where it happened.\n');
  }
  if (code === 'HK_INTERRUPTED') return EXIT.interrupted;
  return code === 'HK_USAGE' || code === 'HK_CONFIG' ? EXIT.usage : EXIT.failed;
}

/** Colours on a terminal, unless NO_COLOR is set (https://no-color.org). */
export function colours(stream: { isTTY?: boolean }): boolean {
  return stream.isTTY === true && !process.env.NO_COLOR && process.env.TERM !== 'dumb';
}

function red(text: string): string {
  return colours(process.stderr) ? `\x1b[1;31m${text}\x1b[0m` : text;
}

export function print(text: string): void {
  process.stdout.write(`${text}\n`);
}

/** The one line that scripts read: the last line of standard output. */
export function printJson(value: unknown): void {
  print(JSON.stringify(value));
}

/** Rows as aligned columns; numbers to the right. */
export function columns(rows: (string | number)[][]): string {
  const widths = rows[0].map((_, column) => Math.max(...rows.map((row) => String(row[column]).length)));
  const aligned = (value: string | number, column: number) =>
    typeof value === 'number' ? String(value).padStart(widths[column]) : value.padEnd(widths[column]);
  return rows.map((row) => row.map(aligned).join('  ').trimEnd()).join('\n');
}

/** A whole number of an option; a value that is not one is wrong usage. */
export function integer(name: string, text: string, low = 0, high = Number.MAX_SAFE_INTEGER): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value < low || value > high) {
    const range =
      high === Number.MAX_SAFE_INTEGER ? `a whole number >= ${low}` : `a whole number from ${low} to ${high}`;
    throw new HubertkitError('HK_USAGE', `${name} takes ${range}, got "${text}".`);
  }
  return value;
}

/** A duration such as 90s, 10m or 2h (minutes when there is no unit), in seconds. */
export function seconds(name: string, text: string): number {
  const match = /^(\d+(?:\.\d+)?)(s|m|h)?$/.exec(text);
  const value = match ? Number(match[1]) * { s: 1, m: 60, h: 3600 }[(match[2] ?? 'm') as 's' | 'm' | 'h'] : 0;
  if (!(value > 0))
    throw new HubertkitError('HK_USAGE', `${name} takes a duration such as 90s, 10m or 2h, got "${text}".`);
  return value;
}

/** The device of an option, found to be usable. Where 'auto' is the CPU, standard error says why. */
export function deviceOf(name: string): string {
  const { availableDevice } = require('../binding/device') as typeof import('../binding/device');
  const { device, note } = availableDevice(name);
  if (note) process.stderr.write(`${note}\n`);
  return device;
}

/** For options that may be given several times. */
export function collect(value: string, all: string[] = []): string[] {
  return [...all, value];
}

/** key=value assignments as an object; values are YAML. */
export function assign(assignments: string[] = []): Record<string, unknown> {
  const { parse } = require('yaml') as typeof import('yaml');
  return Object.fromEntries(
    assignments.map((assignment) => {
      const [, key, value] = /^([A-Za-z]+)=(.*)$/s.exec(assignment) ?? [];
      if (!key) throw new HubertkitError('HK_USAGE', `--set takes key=value (learningRate=5e-4), got "${assignment}".`);
      return [key, parse(value)];
    }),
  );
}
