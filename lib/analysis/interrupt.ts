import { HubertkitError } from '../errors';

/** Throws HK_INTERRUPTED when the signal has been given. `what` was stopped: "The analysis". */
export function refuseWhenAborted(signal: AbortSignal | undefined, what: string): void {
  if (signal?.aborted) {
    throw new HubertkitError('HK_INTERRUPTED', `${what} was stopped. The same command goes on with what is missing.`, {
      cause: signal.reason,
    });
  }
}
