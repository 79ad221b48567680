/** Finding utterances by the names that other files (alignments, items) call them. */
import type { Utterance } from './types';

/**
 * Utterances by their id, or by its last part (`19-198-0000` of `train-clean-100/19/198/19-198-0000`) where only one has it.
 */
export function utterancesByName(utterances: Iterable<Utterance>): (name: string) => Utterance | undefined {
  const known = new Map<string, Utterance | undefined>();
  const all = [...utterances];
  for (const utterance of all) {
    const last = utterance.id.slice(utterance.id.lastIndexOf('/') + 1);
    known.set(last, known.has(last) ? undefined : utterance);
  }
  for (const utterance of all) known.set(utterance.id, utterance);
  return (name) => known.get(name.normalize('NFC'));
}
