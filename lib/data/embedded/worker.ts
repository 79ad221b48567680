/** The process that renders streams: lib/data/embedded/pool.ts starts it and sends one stream at a time. */
import { toHubertkitError } from '../../binding';
import { type Recording, renderStream, type Stream, type StreamOptions } from './stream';

export type WorkerMessage =
  | { kind: 'recording'; recording: Recording }
  | { kind: 'done' }
  | { kind: 'failed'; code: string; message: string };

/** Resolves when the message is on its way: in between, the process notices that its parent has gone. */
function send(message: WorkerMessage): Promise<void> {
  return new Promise((resolve, reject) =>
    process.send!(message, (error: Error | null) => (error ? reject(error) : resolve())),
  );
}

process.on('message', async ({ stream, options }: { stream: Stream; options: StreamOptions }) => {
  try {
    await renderStream(stream, options, (recording) => send({ kind: 'recording', recording }));
    await send({ kind: 'done' });
  } catch (error) {
    const { code, message } = toHubertkitError(error);
    await send({ kind: 'failed', code, message }).catch(() => process.exit());
  }
});
process.on('disconnect', () => process.exit());
// Ctrl-C reaches the whole process group: it is the parent that decides when to stop.
process.on('SIGINT', () => {});
