/**
 * Jobs in several processes of this program. The child's script calls `serve`; the parent hands it one job after the other and gets
 * events and a result back.
 */
import { type ChildProcess, fork } from 'node:child_process';
import { toHubertkitError } from './binding';
import { type ErrorCode, HubertkitError } from './errors';

type ToChild<J> = { kind: 'job'; job: J } | { kind: 'stop' };
type ToParent<E, R> =
  | { kind: 'event'; event: E }
  | { kind: 'result'; result: R }
  | { kind: 'failed'; code: string; message: string };

export interface ProcessOptions<E> {
  /** At most so many at a time. */
  processes: number;
  /** What the processes do, for the message when one ends by itself: "synthesises speech". */
  does: string;
  /** What happens to jobs under way when another one fails or `signal` aborts: ended at once, or asked to save and stop. */
  whenStopped: 'kill' | 'ask';
  signal?: AbortSignal;
  onEvent?: (index: number, event: E) => void;
}

/**
 * The results of all jobs, in their order; they start in that order too. When it returns or throws no process is left.
 *
 * @throws the first error of any job, HK_INTERRUPTED when `signal` aborts, HK_INTERNAL when a process ends by itself
 */
export async function inProcesses<J, E, R>(script: string, jobs: readonly J[], o: ProcessOptions<E>): Promise<R[]> {
  const results: R[] = new Array(jobs.length);
  const stop = new AbortController();
  const signal = o.signal ? AbortSignal.any([o.signal, stop.signal]) : stop.signal;
  let failure: unknown;
  let next = 0;
  const children = Array.from({ length: Math.min(o.processes, jobs.length) }, () =>
    fork(script, { execArgv: [], serialization: 'advanced' }),
  );
  const work = async (child: ChildProcess) => {
    while (next < jobs.length && !signal.aborted) {
      const index = next++;
      results[index] = await ask<J, E, R>(child, jobs[index], { ...o, signal }, (event) => o.onEvent?.(index, event));
    }
  };
  const guarded = (child: ChildProcess) =>
    work(child).catch((error) => {
      failure ??= error;
      stop.abort();
    });
  await Promise.all(children.map(guarded));
  await Promise.all(children.map(end));
  if (failure !== undefined) throw failure;
  if (signal.aborted) throw interrupted();
  return results;
}

const interrupted = () => new HubertkitError('HK_INTERRUPTED', 'Interrupted. The same command continues.');

/** Sends one job to a child and waits for its result. */
function ask<J, E, R>(
  child: ChildProcess,
  job: J,
  { does, whenStopped, signal }: ProcessOptions<E> & { signal: AbortSignal },
  onEvent: (event: E) => void,
): Promise<R> {
  return new Promise((resolve, reject) => {
    const settle = (done: () => void) => {
      child.off('message', onMessage).off('exit', onExit).off('error', onError);
      signal.removeEventListener('abort', onAbort);
      done();
    };
    const fail = (error: HubertkitError) => settle(() => reject(error));
    const onMessage = (message: ToParent<E, R>) => {
      if (message.kind === 'event') onEvent(message.event);
      else if (message.kind === 'result') settle(() => resolve(message.result));
      else fail(new HubertkitError(message.code as ErrorCode, message.message));
    };
    const onExit = (code: number | null, killed: string | null) =>
      fail(new HubertkitError('HK_INTERNAL', `The process that ${does} ended (${killed ?? `code ${code}`}).`));
    const onError = (cause: Error) =>
      fail(new HubertkitError('HK_INTERNAL', `No process that ${does}: ${cause.message}`, { cause }));
    const send = (message: ToChild<J>) => child.send(message, (cause) => cause && onError(cause));
    const onAbort = () => (whenStopped === 'kill' ? fail(interrupted()) : send({ kind: 'stop' }));
    child.on('message', onMessage).on('exit', onExit).on('error', onError);
    signal.addEventListener('abort', onAbort);
    send({ kind: 'job', job });
  });
}

/** Ends a child; resolves when it is gone, so that nothing writes to its folder any more. */
function end(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resolve();
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}

/**
 * The side of the child: `handle` does one job. Events are sent in order; awaiting `emit` lets the process notice that its parent has
 * gone, upon which it ends. `signal` aborts when the parent asks it to save and stop.
 */
export function serve<J, E, R>(
  handle: (job: J, emit: (event: E) => Promise<void>, signal: AbortSignal) => Promise<R>,
): void {
  const send = (message: ToParent<E, R>): Promise<void> =>
    new Promise((resolve, reject) =>
      process.send!(message, (error: Error | null) => (error ? reject(error) : resolve())),
    );
  let stop = new AbortController();
  process.on('message', async (message: ToChild<J>) => {
    if (message.kind === 'stop') return stop.abort();
    stop = new AbortController();
    try {
      const result = await handle(message.job, (event) => send({ kind: 'event', event }), stop.signal);
      await send({ kind: 'result', result });
    } catch (error) {
      const { code, message } = toHubertkitError(error);
      await send({ kind: 'failed', code, message }).catch(() => process.exit());
    }
  });
  process.on('disconnect', () => process.exit());
  // Ctrl-C reaches the whole process group: it is the parent that decides when to stop.
  process.on('SIGINT', () => {});
}

/** Whether there is a process with this number, of whichever user. */
export function isRunning(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM';
  }
}
