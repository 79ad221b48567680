/**
 * ABX discrimination of phones (Schatz et al. 2013; libri-light's and ZeroSpeech's task): A and X are the same triphone, B differs
 * from it in its central phone only. The error is the share of triples in which X is nearer to B than to A; 0.5 is chance.
 * Within speaker: one speaker says all three; across: another one says X.
 *
 * Distances are dynamic time warping over angular distances of frames, arccos(cos(u, v)) / pi, summed along the best path and divided
 * by its length. Triples of one (context, speakers, A, B) are averaged, then contexts, then speakers, then pairs of phones, as
 * libri-light's eval_ABX.py does.
 */
import * as fs from 'node:fs';
import { setImmediate } from 'node:timers/promises';
import { framesWithin, isSilence } from '../data/alignments';
import { Philox } from '../data/philox';
import type { Segment, Utterance } from '../data/types';
import { HubertkitError } from '../errors';
import { ioError } from '../formats/atomic';
import type { PhonedUtterance } from './evaluation-set';
import { refuseWhenAborted } from './interrupt';
import type { FrameMatrix } from './layer-features';

/** A triphone somewhere in a corpus; times in seconds. */
export interface AbxItem {
  /** The utterance's id, or the last part of it. */
  file: string;
  start: number;
  end: number;
  /** The central phone. */
  phone: string;
  previous: string;
  next: string;
  speaker: string;
}

/** [from, to) of some features. */
interface Rows {
  from: number;
  to: number;
}

/** An item as rows of a set's features. */
export type AbxToken = Pick<AbxItem, 'phone' | 'previous' | 'next' | 'speaker'> & Rows;

/** A, B and X as places in a list of tokens, and what they are averaged by. */
export interface AbxTriple {
  a: number;
  b: number;
  x: number;
  /** Phones of A and B. */
  pair: string;
  /** Who says A and B, and who says X. */
  speakers: string;
  /** Phones before and after. */
  context: string;
}

export interface AbxOptions {
  /** At most about so many triples in all. Default 10000. */
  maxTriples?: number;
  /** Of the choice of triples. Default 1. */
  seed?: number;
}

/** Of one (context, speakers, pair) at most. */
const triplesOfCell = 10;

const header = ['#file', 'onset', 'offset', '#phone', 'prev-phone', 'next-phone', 'speaker'];

/** Reads an `.item` file of libri-light. @throws HK_IO, HK_FORMAT with the line */
export async function readItems(file: string): Promise<AbxItem[]> {
  const text = await fs.promises.readFile(file, 'utf8').catch((cause) => {
    throw ioError('read', file, cause);
  });
  const [first, ...lines] = text.split(/\r?\n/);
  if (first.trim().split(/\s+/).join(' ') !== header.join(' ')) {
    throw new HubertkitError(
      'HK_FORMAT',
      `${file}: the first line must be "${header.join(' ')}", it is "${first.slice(0, 80)}".`,
    );
  }
  return lines.flatMap((line, i) => {
    if (line.trim() === '') return [];
    const [name, onset, offset, phone, previous, next, speaker, ...rest] = line.trim().split(/\s+/);
    const [start, end] = [Number(onset), Number(offset)];
    if (speaker === undefined || rest.length > 0 || !(start >= 0 && end > start)) {
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}, line ${i + 2}: expected 7 columns with 0 <= onset < offset in seconds, got "${line.slice(0, 80)}".`,
      );
    }
    return [{ file: name, start, end, phone, previous, next, speaker }];
  });
}

/** All triphones without silence, from the onset of the phone before to the end of the phone after (as ZeroSpeech's items). */
export function itemsFromPhones(utterances: Iterable<Utterance>): AbxItem[] {
  return [...utterances].flatMap(({ id, speaker, phones = [] }) =>
    phones.slice(1, -1).flatMap((phone, i) => {
      const [previous, next] = [phones[i], phones[i + 2]];
      if ([previous, phone, next].some(({ label }) => isSilence(label))) return [];
      const labels = { phone: phone.label, previous: previous.label, next: next.label };
      return [{ file: id, start: previous.start, end: next.end, ...labels, speaker }];
    }),
  );
}

/** The items that have frames in a set, with their rows in its features. @param names the file of an item -> its utterance */
export function tokensOf(
  items: readonly AbxItem[],
  set: readonly PhonedUtterance[],
  named: (file: string) => Utterance | undefined,
): AbxToken[] {
  const starts = new Map<string, { start: number; frames: number }>();
  let start = 0;
  for (const { utterance, frames } of set) {
    starts.set(utterance.id, { start, frames });
    start += frames;
  }
  return items.flatMap((item) => {
    const place = starts.get(named(item.file)?.id ?? '');
    const [from, to] = place ? framesWithin(item as Pick<Segment, 'start' | 'end'>, place.frames) : [0, 0];
    if (!place || from === to) return [];
    const { phone, previous, next, speaker } = item;
    return [{ phone, previous, next, speaker, from: place.start + from, to: place.start + to }];
  });
}

/** A group of triples that are averaged together: candidates for A, B and X. */
interface Cell extends Pick<AbxTriple, 'pair' | 'speakers' | 'context'> {
  a: number[];
  b: number[];
  x: number[];
}

/** Chooses triples within or across speakers: up to 10 of a cell, cells in random order until there are enough. */
export function abxTriples(
  tokens: readonly AbxToken[],
  mode: 'within' | 'across',
  { maxTriples = 10_000, seed = 1 }: AbxOptions = {},
): AbxTriple[] {
  const random = new Philox(seed, mode === 'within' ? 0 : 1);
  const triples: AbxTriple[] = [];
  for (const cell of random.shuffle([...cells(tokens, mode)])) {
    if (triples.length >= maxTriples) break;
    triples.push(...triplesOf(cell, random));
  }
  return triples;
}

function* cells(tokens: readonly AbxToken[], mode: 'within' | 'across'): Generator<Cell> {
  for (const [context, inContext] of groupBy(tokens, [...tokens.keys()], (t) => `${t.previous} ${t.next}`)) {
    const bySpeaker = groupBy(tokens, inContext, (t) => t.speaker);
    const phonesOf = new Map([...bySpeaker].map(([s, members]) => [s, groupBy(tokens, members, (t) => t.phone)]));
    for (const [speaker, phones] of phonesOf) {
      for (const [other, otherPhones] of mode === 'within' ? [[speaker, phones] as const] : phonesOf) {
        if (mode === 'across' && other === speaker) continue;
        for (const [phone, a] of phones) {
          const x = otherPhones.get(phone) ?? [];
          if (x.length === 0 || (mode === 'within' && a.length < 2)) continue;
          for (const [otherPhone, b] of phones) {
            if (otherPhone === phone) continue;
            yield { a, b, x, context, speakers: `${speaker} ${other}`, pair: `${phone} ${otherPhone}` };
          }
        }
      }
    }
  }
}

function groupBy(
  tokens: readonly AbxToken[],
  members: readonly number[],
  key: (token: AbxToken) => string,
): Map<string, number[]> {
  const groups = new Map<string, number[]>();
  for (const member of members) {
    const name = key(tokens[member]);
    const group = groups.get(name);
    if (group) group.push(member);
    else groups.set(name, [member]);
  }
  return groups;
}

/** Some of a cell's triples with A and X different tokens, each once. */
function triplesOf({ a, b, x, ...by }: Cell, random: Philox): AbxTriple[] {
  const count = a.length * b.length * x.length;
  const order = count <= 4 * triplesOfCell ? random.shuffle([...Array(count).keys()]) : undefined;
  const chosen = new Map<number, AbxTriple>();
  for (let i = 0; i < Math.min(count, 4 * triplesOfCell) && chosen.size < triplesOfCell; i++) {
    const n = order ? order[i] : random.below(count);
    const triple = {
      a: a[n % a.length],
      b: b[Math.floor(n / a.length) % b.length],
      x: x[Math.floor(n / a.length / b.length)],
    };
    if (triple.a !== triple.x) chosen.set(n, { ...triple, ...by });
  }
  return [...chosen.values()];
}

/** The error of some triples, 0 to 1; undefined when there are none. */
export async function abxError(
  features: FrameMatrix,
  tokens: readonly AbxToken[],
  triples: readonly AbxTriple[],
  signal?: AbortSignal,
): Promise<number | undefined> {
  const rows = unitRows(features);
  const known = new Map<number, number>();
  const distance = (i: number, j: number) => {
    const key = Math.min(i, j) * tokens.length + Math.max(i, j);
    const found = known.get(key) ?? warpedDistance(rows, features.dimensions, tokens[i], tokens[j]);
    known.set(key, found);
    return found;
  };
  const scores: number[] = [];
  for (const { a, b, x } of triples) {
    if (scores.length % 256 === 0) await setImmediate();
    refuseWhenAborted(signal, 'The analysis');
    const [toA, toB] = [distance(a, x), distance(b, x)];
    scores.push(toA > toB ? 1 : toA === toB ? 0.5 : 0);
  }
  return averaged(triples, scores);
}

/** Over the triples of a cell, then contexts, then speakers, then pairs. */
function averaged(triples: readonly AbxTriple[], scores: readonly number[]): number | undefined {
  const levels: ((t: AbxTriple) => string)[] = [
    (t) => `${t.pair}|${t.speakers}|${t.context}`,
    (t) => `${t.pair}|${t.speakers}`,
    (t) => t.pair,
    () => '',
  ];
  let entries = triples.map((triple, i) => ({ triple, score: scores[i] }));
  for (const level of levels) {
    const groups = new Map<string, { triple: AbxTriple; score: number; count: number }>();
    for (const { triple, score } of entries) {
      const group = groups.get(level(triple)) ?? { triple, score: 0, count: 0 };
      groups.set(level(triple), { triple, score: group.score + score, count: group.count + 1 });
    }
    entries = [...groups.values()].map(({ triple, score, count }) => ({ triple, score: score / count }));
  }
  return entries[0]?.score;
}

/** Rows scaled to length 1; rows of zeros stay. */
function unitRows({ rows, dimensions, data }: FrameMatrix): Float32Array {
  const unit = new Float32Array(data.length);
  for (let row = 0; row < rows; row++) {
    let squares = 0;
    for (let p = row * dimensions; p < (row + 1) * dimensions; p++) squares += data[p] * data[p];
    const scale = squares > 0 ? 1 / Math.sqrt(squares) : 0;
    for (let p = row * dimensions; p < (row + 1) * dimensions; p++) unit[p] = data[p] * scale;
  }
  return unit;
}

/** Cost of the cheapest path through the angular distances of two ranges of unit rows, divided by the number of its cells. */
export function warpedDistance(rows: Float32Array, dimensions: number, a: Rows, b: Rows): number {
  const [n, m] = [a.to - a.from, b.to - b.from];
  const cost = new Float64Array(n * m);
  for (let i = 0; i < n; i++) {
    for (let j = 0; j < m; j++) {
      const here = angle(rows, (a.from + i) * dimensions, (b.from + j) * dimensions, dimensions);
      const before = Math.min(
        i > 0 && j > 0 ? cost[(i - 1) * m + j - 1] : Number.POSITIVE_INFINITY,
        i > 0 ? cost[(i - 1) * m + j] : Number.POSITIVE_INFINITY,
        j > 0 ? cost[i * m + j - 1] : Number.POSITIVE_INFINITY,
      );
      cost[i * m + j] = here + (i + j > 0 ? before : 0);
    }
  }
  return cost[n * m - 1] / pathLength(cost, n, m);
}

/** Cells of the cheapest path, traced back from the end; diagonal steps are preferred. */
function pathLength(cost: Float64Array, n: number, m: number): number {
  let [i, j, length] = [n - 1, m - 1, 1];
  for (; i > 0 && j > 0; length++) {
    const [diagonal, left, up] = [cost[(i - 1) * m + j - 1], cost[i * m + j - 1], cost[(i - 1) * m + j]];
    if (diagonal <= left && diagonal <= up) [i, j] = [i - 1, j - 1];
    else if (left <= up) j--;
    else i--;
  }
  return length + i + j;
}

/** arccos(u' v) / pi of two unit rows, 0 to 1. */
function angle(rows: Float32Array, u: number, v: number, dimensions: number): number {
  let dot = 0;
  for (let k = 0; k < dimensions; k++) dot += rows[u + k] * rows[v + k];
  return Math.acos(Math.min(1, Math.max(-1, dot))) / Math.PI;
}
