/** Finding utterances by the names that other files (alignments, items) call them. */
import type { Utterance } from './types';

/**
 * Utterances by their id, by its last parts where only one has them (`19-198-0000` or `198/19-198-0000` for
 * `train-clean-100/19/198/19-198-0000`), or by the id with further folders before it.
 */
export function utterancesByName(utterances: Iterable<Utterance>): (name: string) => Utterance | undefined {
  const ids = new Map<string, Utterance>();
  const endings = new Map<string, Utterance | undefined>();
  for (const utterance of utterances) {
    ids.set(utterance.id, utterance);
    for (const ending of shorter(utterance.id)) endings.set(ending, endings.has(ending) ? undefined : utterance);
  }
  return (name) => {
    const normal = name.normalize('NFC');
    const found = ids.get(normal) ?? endings.get(normal);
    if (found) return found;
    for (const ending of shorter(normal)) if (ids.has(ending)) return ids.get(ending);
    return undefined;
  };
}

/** a/b/c: b/c, c. */
function* shorter(id: string): Generator<string> {
  for (let slash = id.indexOf('/'); slash >= 0; slash = id.indexOf('/', slash + 1)) yield id.slice(slash + 1);
}
