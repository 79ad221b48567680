/** Files appear whole or not at all: written under a temporary name, fsynced, renamed over the old one. */
import * as fs from 'node:fs';
import * as path from 'node:path';
import { HubertkitError } from '../errors';

let counter = 0;

/** What happened when the file system refuses, as HK_IO. */
export function ioError(action: string, file: string, cause: unknown): HubertkitError {
  if (cause instanceof HubertkitError) return cause;
  const { code, message } = (cause ?? {}) as NodeJS.ErrnoException;
  const reasons: Record<string, string> = {
    ENOENT: 'no such file or folder',
    EACCES: 'permission denied',
    EISDIR: 'it is a folder',
    ENOTDIR: 'a part of the path is not a folder',
    ENOSPC: 'the disk is full',
    EROFS: 'the file system is read-only',
    EMFILE: 'too many open files',
  };
  return new HubertkitError('HK_IO', `Cannot ${action} ${file}: ${reasons[code ?? ''] ?? message ?? String(cause)}.`, {
    cause,
  });
}

/** Flushes a folder's entries, so that a rename in it survives a power cut. File systems that cannot do it are left alone. */
export async function syncFolder(folder: string): Promise<void> {
  try {
    const handle = await fs.promises.open(folder, 'r');
    await handle.sync().finally(() => handle.close());
  } catch {
    // some network file systems refuse fsync on a folder; the file itself is already flushed
  }
}

/**
 * Hands `write` an open temporary file beside `file`, then flushes it and renames it. When `write` throws, the temporary
 * file is removed and an older `file` stays as it was. Folders on the way are created. Throws HK_IO.
 */
export async function writeAtomically(
  file: string,
  write: (handle: fs.promises.FileHandle) => Promise<void>,
): Promise<void> {
  const folder = path.dirname(file);
  const temporary = path.join(folder, `.${path.basename(file)}.${process.pid}-${counter++}.tmp`);
  try {
    await fs.promises.mkdir(folder, { recursive: true });
    const handle = await fs.promises.open(temporary, 'wx');
    try {
      await write(handle);
      await handle.sync();
    } finally {
      await handle.close();
    }
    await fs.promises.rename(temporary, file);
    await syncFolder(folder);
  } catch (cause) {
    await fs.promises.rm(temporary, { force: true });
    throw ioError('write', file, cause);
  }
}

/** Replaces `file` by `data` (text as UTF-8) in one step. Throws HK_IO. */
export async function writeFileAtomic(file: string, data: string | Uint8Array): Promise<void> {
  await writeAtomically(file, (handle) => handle.writeFile(data));
}

/** Replaces `file` by `value` as indented JSON with a final newline. Throws HK_IO. */
export async function writeJsonAtomic(file: string, value: unknown): Promise<void> {
  await writeFileAtomic(file, `${JSON.stringify(value, null, 2)}\n`);
}

/** Replaces `file` by one line of JSON for each value. Throws HK_IO. */
export async function writeJsonLines(file: string, values: Iterable<unknown>): Promise<void> {
  let text = '';
  for (const value of values) text += `${JSON.stringify(value)}\n`;
  await writeFileAtomic(file, text);
}

/** Appends one line of JSON, creating the file when it is absent. A line cut by a crash is closed first. Throws HK_IO. */
export async function appendJsonLine(file: string, value: unknown): Promise<void> {
  try {
    await fs.promises.mkdir(path.dirname(file), { recursive: true });
    const handle = await fs.promises.open(file, 'a+');
    try {
      const { size } = await handle.stat();
      const last = Buffer.alloc(1);
      if (size > 0) await handle.read(last, 0, 1, size - 1);
      const separator = size > 0 && last[0] !== 0x0a ? '\n' : '';
      await handle.appendFile(`${separator}${JSON.stringify(value)}\n`);
    } finally {
      await handle.close();
    }
  } catch (cause) {
    throw ioError('append to', file, cause);
  }
}

/**
 * Reads a file of JSON lines. A last line without a newline that does not parse was cut by a crash and is left out; any other
 * bad line throws HK_FORMAT with its number. An absent file gives [] when `optional`, else HK_IO.
 */
export async function readJsonLines<T = unknown>(file: string, options: { optional?: boolean } = {}): Promise<T[]> {
  let text: string;
  try {
    text = await fs.promises.readFile(file, 'utf8');
  } catch (cause) {
    if (options.optional && (cause as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw ioError('read', file, cause);
  }
  const lines = text.split('\n');
  const values: T[] = [];
  for (const [index, line] of lines.entries()) {
    if (line.trim() === '') continue;
    try {
      values.push(JSON.parse(line) as T);
    } catch (cause) {
      if (index === lines.length - 1) break;
      throw new HubertkitError('HK_FORMAT', `${file}: line ${index + 1} is not JSON: ${(cause as Error).message}`, {
        cause,
      });
    }
  }
  return values;
}

/** Parses a JSON file. Throws HK_IO when it cannot be read, HK_FORMAT when it is not JSON. */
export async function readJson<T = unknown>(file: string): Promise<T> {
  let text: string;
  try {
    text = await fs.promises.readFile(file, 'utf8');
  } catch (cause) {
    throw ioError('read', file, cause);
  }
  try {
    return JSON.parse(text) as T;
  } catch (cause) {
    throw new HubertkitError('HK_FORMAT', `${file} is not JSON: ${(cause as Error).message}`, { cause });
  }
}
