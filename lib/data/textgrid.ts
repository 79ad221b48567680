/**
 * Praat's TextGrid files (https://www.fon.hum.uva.nl/praat/manual/TextGrid_file_formats.html), long and short form. As in Praat, what
 * counts are quoted strings, free-standing numbers and <flags>, in their order; everything else (`xmin =`, `item [1]:`) is decoration.
 */
import { HubertkitError } from '../errors';
import type { Segment } from './types';

export interface Tier {
  name: string;
  /** In the order of the file; empty labels included. */
  segments: Segment[];
}

/** The interval tiers of a TextGrid (point tiers are left out). @param where for messages: the file's path. @throws HK_FORMAT */
export function parseTextGrid(bytes: Uint8Array, where: string): Tier[] {
  const values = new Values(decoded(bytes), where);
  if (!values.text('"ooTextFile"').startsWith('ooTextFile') || values.text('"TextGrid"') !== 'TextGrid') {
    throw new HubertkitError('HK_FORMAT', `${where}: it is not a TextGrid in text form.`);
  }
  values.number('the start');
  values.number('the end');
  if (values.flag() !== '<exists>') return [];
  const tiers: Tier[] = [];
  for (let left = values.number('the number of tiers'); left > 0; left--) {
    const kind = values.text('the class of a tier');
    const name = values.text('the name of a tier');
    values.number(`the start of tier "${name}"`);
    values.number(`the end of tier "${name}"`);
    const segments: Segment[] = [];
    for (let count = values.number(`the size of tier "${name}"`); count > 0; count--) {
      const start = values.number('a time');
      const end = kind === 'IntervalTier' ? values.number('a time') : start;
      if (!(start >= 0 && end >= start)) {
        throw new HubertkitError(
          'HK_FORMAT',
          `${where}: tier "${name}" has an interval from ${start} to ${end} seconds.`,
        );
      }
      segments.push({ start, end, label: values.text('a label') });
    }
    if (kind === 'IntervalTier') tiers.push({ name, segments });
  }
  return tiers;
}

/** UTF-16 with a byte order mark, which Praat writes where ASCII is not enough, or UTF-8. */
function decoded(bytes: Uint8Array): string {
  const mark = (bytes[0] << 8) | bytes[1];
  return new TextDecoder(mark === 0xfeff ? 'utf-16be' : mark === 0xfffe ? 'utf-16le' : 'utf-8').decode(bytes);
}

/** Strings, numbers and flags of a file, one after the other. */
class Values {
  private readonly found: RegExpStringIterator<RegExpExecArray>;

  constructor(
    text: string,
    private readonly where: string,
  ) {
    this.found = text.matchAll(/"((?:[^"]|"")*)"|(<\w+>)|(?<!\S)([+-]?\d+(?:\.\d*)?(?:[eE][+-]?\d+)?)(?!\S)/g);
  }

  text(what: string): string {
    return this.next(what, 1).replaceAll('""', '"');
  }

  flag(): string {
    return this.next('<exists>', 2);
  }

  number(what: string): number {
    return Number(this.next(what, 3));
  }

  private next(what: string, group: 1 | 2 | 3): string {
    const { value: match } = this.found.next();
    const value = match?.[group];
    if (value !== undefined) return value;
    const found = match ? `found ${match[0].slice(0, 40)} at character ${match.index}` : 'the file ends';
    throw new HubertkitError('HK_FORMAT', `${this.where}: expected ${what}, ${found}.`);
  }
}
