/** Finding the audio files of a corpus and what is known about each, for every kind of corpus. Nothing is opened here but text. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { HubertkitError } from '../errors';
import { ioError } from '../formats/atomic';
import { readAlignments } from './alignments';
import type { Segment, Skipped } from './types';

/** An audio file that was found. */
export interface Found {
  id: string;
  path: string;
  /** undefined: not known. */
  speaker?: string;
  split?: string;
  transcript?: string;
  phones?: Segment[];
  words?: Segment[];
}

export interface Findings {
  root: string;
  found: Found[];
  skipped: Skipped[];
}

const audioExtensions = [
  '.wav',
  '.flac',
  '.ogg',
  '.oga',
  '.opus',
  '.mp3',
  '.aiff',
  '.aif',
  '.aifc',
  '.au',
  '.caf',
  '.w64',
];
const splitName = /^(train|valid|val|dev|test)([-_.].*)?$/;
const librispeechName = /^\d+-\d+-\d+\.flac$/;

const isAudio = (name: string) => audioExtensions.includes(path.extname(name).toLowerCase());
const withoutExtension = (name: string) => name.slice(0, name.length - path.extname(name).length);
const normal = (name: string) => name.normalize('NFC');

/** All files below `root` as relative paths with `/`, sorted; hidden ones left out, links followed once. */
export async function listFiles(root: string, skipped: Skipped[]): Promise<string[]> {
  const files: string[] = [];
  const seen = new Set<string>();
  const visit = async (relative: string): Promise<void> => {
    const folder = path.join(root, relative);
    try {
      const real = await fs.promises.realpath(folder);
      if (seen.has(real)) return;
      seen.add(real);
      for (const entry of await fs.promises.readdir(folder, { withFileTypes: true })) {
        if (entry.name.startsWith('.')) continue;
        const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
        const kind = entry.isSymbolicLink() ? await fs.promises.stat(path.join(root, name)).catch(() => entry) : entry;
        if (kind.isDirectory()) await visit(name);
        else files.push(name);
      }
    } catch (cause) {
      if (relative === '') throw ioError('read the corpus folder', folder, cause);
      skipped.push({ path: folder, reason: (cause as Error).message, code: 'HK_IO' });
    }
  };
  await visit('');
  return files.sort();
}

/**
 * Any folder of audio. The first folder below the root is the speaker, after a folder named as a split (`train`, `dev-clean`,
 * ...) if there is one; files without such a folder have no speaker. Two files that differ in the extension alone keep it in
 * their ids.
 */
export async function findInFolder(root: string): Promise<Findings> {
  const skipped: Skipped[] = [];
  const files = (await listFiles(root, skipped)).filter(isAudio);
  const times = new Map<string, number>();
  for (const file of files) times.set(withoutExtension(file), (times.get(withoutExtension(file)) ?? 0) + 1);
  const found = files.map((file) => {
    const folders = file.split('/').slice(0, -1);
    const split = folders.length > 0 && splitName.test(folders[0]) ? folders.shift() : undefined;
    const id = times.get(withoutExtension(file)) === 1 ? withoutExtension(file) : file;
    return { id: normal(id), path: path.join(root, file), speaker: folders[0], split };
  });
  return { root, found, skipped };
}

/** `<split>/<speaker>/<chapter>/<utterance>.flac` with `<speaker>-<chapter>.trans.txt`; the root may also be one split. */
export async function findLibrispeech(root: string): Promise<Findings> {
  const skipped: Skipped[] = [];
  const files = await listFiles(root, skipped);
  const transcripts = new Map<string, string>();
  for (const file of files.filter((name) => name.endsWith('.trans.txt'))) {
    for (const line of (await readText(path.join(root, file))).split(/\r?\n/)) {
      const space = line.indexOf(' ');
      if (space > 0) transcripts.set(line.slice(0, space), line.slice(space + 1).trim());
    }
  }
  const audio = files.filter((name) => librispeechName.test(path.posix.basename(name)));
  const found = audio.map((file) => {
    const folders = file.split('/').slice(0, -1);
    const utterance = withoutExtension(path.posix.basename(file));
    return {
      id: withoutExtension(file),
      path: path.join(root, file),
      speaker: utterance.split('-')[0],
      split: folders.length >= 3 ? folders[folders.length - 3] : path.basename(path.resolve(root)),
      transcript: transcripts.get(utterance),
    };
  });
  return { root, found, skipped };
}

/** A table with named columns beside its audio: `manifest.tsv` (or `.jsonl`), and `alignments.jsonl` when it is there. */
export async function findInManifest(manifest: string): Promise<Findings> {
  const root = path.dirname(manifest);
  const skipped: Skipped[] = [];
  const rows = manifest.endsWith('.jsonl') ? await jsonRows(manifest, skipped) : await tableRows(manifest, skipped);
  const alignments = await readAlignments(path.join(root, 'alignments.jsonl'));
  const found: Found[] = [];
  for (const { line, row } of rows) {
    const file = text(row.path);
    if (file === undefined) {
      skipped.push({ path: `${manifest}:${line}`, reason: 'the row has no path', code: 'HK_CORPUS' });
      continue;
    }
    const id = normal(withoutExtension(file).split(path.sep).join('/'));
    found.push({
      id,
      path: path.resolve(root, file),
      speaker: text(row.speaker),
      split: text(row.split),
      transcript: text(row.transcript),
      ...alignments.get(id),
    });
  }
  return { root, found, skipped };
}

/** An empty cell is no value. */
function text(cell: unknown): string | undefined {
  if (typeof cell === 'number') return String(cell);
  return typeof cell === 'string' && cell.trim() !== '' ? cell.trim() : undefined;
}

interface Row {
  line: number;
  row: Record<string, unknown>;
}

async function tableRows(manifest: string, skipped: Skipped[]): Promise<Row[]> {
  const lines = (await readText(manifest)).replace(/^\ufeff/, '').split(/\r?\n/);
  const columns = lines[0].split('\t').map((name) => name.trim().toLowerCase());
  if (!columns.includes('path')) {
    throw new HubertkitError(
      'HK_CORPUS',
      `${manifest}: the first line has no column "path". It must name the columns, separated by tabs: path, and if known speaker, ` +
        `duration, transcript, split (any order). Found: ${JSON.stringify(lines[0].slice(0, 120))}.`,
    );
  }
  const rows: Row[] = [];
  for (let i = 1; i < lines.length; i++) {
    if (lines[i].trim() === '') continue;
    const cells = lines[i].split('\t');
    if (cells.length > columns.length) {
      const reason = `the row has ${cells.length} cells, the first line names ${columns.length} columns`;
      skipped.push({ path: `${manifest}:${i + 1}`, reason, code: 'HK_CORPUS' });
    } else rows.push({ line: i + 1, row: Object.fromEntries(columns.map((name, c) => [name, cells[c]])) });
  }
  return rows;
}

async function jsonRows(manifest: string, skipped: Skipped[]): Promise<Row[]> {
  const rows: Row[] = [];
  for (const [i, line] of (await readText(manifest)).split(/\r?\n/).entries()) {
    if (line.trim() === '') continue;
    try {
      rows.push({ line: i + 1, row: { ...JSON.parse(line) } });
    } catch {
      skipped.push({ path: `${manifest}:${i + 1}`, reason: 'the line is not JSON', code: 'HK_CORPUS' });
    }
  }
  return rows;
}

async function readText(file: string): Promise<string> {
  try {
    return await fs.promises.readFile(file, 'utf8');
  } catch (cause) {
    throw ioError('read', file, cause);
  }
}

/** What {@link findInFolder} looks for, for messages. */
export const audioExtensionList = audioExtensions.join(' ');
