/**
 * Renders streams in several processes: the synthesiser keeps state that belongs to a whole process (native/speech/synthesis.h),
 * and should it ever end its process, only this one's child is gone.
 */
import { type ChildProcess, fork } from 'node:child_process';
import * as path from 'node:path';
import { type ErrorCode, HubertkitError } from '../../errors';
import type { Recording, Stream, StreamOptions } from './stream';
import type { WorkerMessage } from './worker';

/** All recordings, in the order of the streams. Throws the first error of any process, HK_INTERRUPTED when `signal` aborts. */
export async function renderStreams(
  streams: Stream[],
  options: StreamOptions & { processes: number; signal?: AbortSignal; onRecording?: (recording: Recording) => void },
): Promise<Recording[]> {
  const { processes, signal, onRecording, ...streamOptions } = options;
  const recordings: Recording[][] = streams.map(() => []);
  const queue = streams.map((_, i) => i).sort((a, b) => streams[b].seconds - streams[a].seconds || a - b);
  const children = Array.from({ length: Math.min(processes, streams.length) }, () =>
    fork(path.join(__dirname, 'worker.js'), { execArgv: [] }),
  );
  try {
    await Promise.all(
      children.map(async (child) => {
        for (let i = queue.shift(); i !== undefined; i = queue.shift()) {
          const mine = recordings[i];
          await renderIn(child, streams[i], streamOptions, signal, (recording) => {
            mine.push(recording);
            onRecording?.(recording);
          });
        }
      }),
    );
  } finally {
    await Promise.all(children.map(stop));
  }
  return recordings.flat();
}

/** Sends one stream to a child and waits until it is done. */
function renderIn(
  child: ChildProcess,
  stream: Stream,
  options: StreamOptions,
  signal: AbortSignal | undefined,
  onRecording: (recording: Recording) => void,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const settle = (error?: HubertkitError) => {
      child.off('message', onMessage).off('exit', onExit).off('error', onError);
      signal?.removeEventListener('abort', onAbort);
      if (error) reject(error);
      else resolve();
    };
    const onMessage = (message: WorkerMessage) => {
      if (message.kind === 'recording') onRecording(message.recording);
      else if (message.kind === 'done') settle();
      else settle(new HubertkitError(message.code as ErrorCode, message.message));
    };
    const onExit = (code: number | null, killed: string | null) =>
      settle(
        new HubertkitError('HK_INTERNAL', `The process that synthesises speech ended (${killed ?? `code ${code}`}).`),
      );
    const onError = (cause: Error) =>
      settle(new HubertkitError('HK_INTERNAL', `No process for speech synthesis: ${cause.message}`, { cause }));
    const onAbort = () => settle(new HubertkitError('HK_INTERRUPTED', 'Making the corpus was interrupted.'));
    child.on('message', onMessage).on('exit', onExit).on('error', onError);
    signal?.addEventListener('abort', onAbort);
    if (signal?.aborted) onAbort();
    else child.send({ stream, options }, (cause) => cause && onError(cause));
  });
}

/** Ends a child; resolves when it is gone, so that nothing writes to its folder any more. */
function stop(child: ChildProcess): Promise<void> {
  return new Promise((resolve) => {
    if (child.exitCode !== null || child.signalCode !== null || child.pid === undefined) return resolve();
    child.once('exit', () => resolve());
    child.kill('SIGKILL');
  });
}
