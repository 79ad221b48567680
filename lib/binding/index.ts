/**
 * The one place that touches the native addon. `native()` loads it at first use (so that `require('hubertkit')` stays fast)
 * and returns the hand-written type below; `wrapped` turns native errors into HubertkitError.
 */
import * as path from 'node:path';
import { type ErrorCode, HubertkitError } from '../errors';
import type { AudioNative } from './audio';
import type { ClusterNative } from './cluster';
import type { CoreNative } from './core';
import type { LinalgNative } from './linalg';
import type { SpeechNative } from './speech';

export interface Native extends CoreNative, AudioNative, ClusterNative, SpeechNative, LinalgNative {}

let loaded: Native | undefined;

/** The repository (or package) root: the folder of package.json. */
export const packageRoot = path.resolve(__dirname, '..', '..', '..');

/** hubertkit.node: $HUBERTKIT_NATIVE, or build/cmake/Release/hubertkit.node of the package. */
export const addonFile = () =>
  process.env.HUBERTKIT_NATIVE ?? path.join(packageRoot, 'build', 'cmake', 'Release', 'hubertkit.node');

/** Loads the addon at the first call. */
export function native(): Native {
  if (loaded) return loaded;
  const file = addonFile();
  // A thread that waits for the others of a parallel loop spins a moment, then sleeps. libgomp's default spins for longer than a
  // time slice: one other busy process then slows a step down many times over. Read by libgomp when it is loaded.
  if (!process.env.GOMP_SPINCOUNT && !process.env.OMP_WAIT_POLICY) process.env.GOMP_SPINCOUNT = '1000';
  try {
    loaded = require(file) as Native;
  } catch (cause) {
    throw new HubertkitError(
      'HK_LOAD',
      `The native part of hubertkit could not be loaded on ${process.platform}-${process.arch} with Node ${process.version}.
  file:   ${file}
  reason: ${(cause as Error).message.split('\n')[0]}
What to do:
  1. Build it: npm run build:native (npm does not run install scripts of dependencies by itself).
  2. If a shared library is missing: bash scripts/bootstrap.sh, or
     apt-get install cmake g++ ninja-build libdnnl-dev libsndfile1-dev libsoxr-dev libeigen3-dev flite1-dev
  3. To use a build that lies elsewhere: HUBERTKIT_NATIVE=/path/to/hubertkit.node
  4. "hubertkit doctor" shows what this machine has and lacks.`,
      { cause },
    );
  }
  return loaded;
}

/** A native error (it carries a `code`) as a HubertkitError; anything else as HK_INTERNAL. */
export function toHubertkitError(error: unknown): HubertkitError {
  if (error instanceof HubertkitError) return error;
  const { code, message } = (error ?? {}) as { code?: string; message?: string };
  const known = typeof code === 'string' && code.startsWith('HK_');
  return new HubertkitError(known ? (code as ErrorCode) : 'HK_INTERNAL', message ?? String(error), { cause: error });
}

/** Calls a synchronous binding function. */
export function wrapped<T>(call: (n: Native) => T): T {
  const n = native();
  try {
    return call(n);
  } catch (error) {
    throw toHubertkitError(error);
  }
}

/** Calls a binding function that returns a promise. */
export async function wrappedAsync<T>(call: (n: Native) => Promise<T>): Promise<T> {
  const n = native();
  try {
    return await call(n);
  } catch (error) {
    throw toHubertkitError(error);
  }
}
