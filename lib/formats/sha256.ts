import type { Hash } from 'node:crypto';

/** A sha256 to update. node:crypto is loaded at the first call: it is a sixth of the time that requiring hubertkit takes. */
export function sha256(): Hash {
  return (require('node:crypto') as typeof import('node:crypto')).createHash('sha256');
}
