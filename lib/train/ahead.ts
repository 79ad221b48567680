/** Loads items in order, each while the one before is being used. */
export async function* ahead<T, U>(items: Iterable<T>, load: (item: T) => Promise<U>): AsyncGenerator<U, void> {
  let waiting: Promise<U> | undefined;
  for (const item of items) {
    const next = load(item);
    next.catch(() => {}); // reported when its turn comes
    if (waiting) yield await waiting;
    waiting = next;
  }
  if (waiting) yield await waiting;
}
