/** The stable codes of {@link HubertkitError}. */
export type ErrorCode =
  | 'HK_ARGUMENT' // a value of the wrong type or out of range
  | 'HK_SHAPE' // tensors that do not fit each other
  | 'HK_DTYPE'
  | 'HK_PRECISION' // a precision that is unknown, or that this machine does not compute in
  | 'HK_NAME' // no such parameter, feed, op, layer
  | 'HK_DISPOSED' // used after dispose
  | 'HK_BUSY' // a program is already running
  | 'HK_MEMORY'
  | 'HK_NO_DEVICE'
  | 'HK_DEVICE' // the GPU failed
  | 'HK_LOAD' // the native addon is missing or does not load
  | 'HK_NOT_BUILT' // the addon was built without this part (flite)
  | 'HK_CONFIG' // a configuration that does not make sense
  | 'HK_CORPUS'
  | 'HK_AUDIO' // one audio file that cannot be used
  | 'HK_FORMAT' // a file that is not what it should be
  | 'HK_MISMATCH' // labels, centroids, checkpoints that do not belong together
  | 'HK_IO'
  | 'HK_INTERRUPTED'
  | 'HK_USAGE' // wrong use of the command line
  | 'HK_INTERNAL';

/**
 * The one error class of hubertkit. `code` is stable; `message` says what happened, what was expected and what was found,
 * and what to do about it.
 */
export class HubertkitError extends Error {
  readonly code: ErrorCode;

  constructor(code: ErrorCode, message: string, options?: { cause?: unknown }) {
    super(message, options);
    this.name = 'HubertkitError';
    this.code = code;
  }
}
