/** Files of a run or an experiment; one that is not there is no error. */
import * as fs from 'node:fs/promises';
import { HubertkitError } from '../errors';

/** The content, or undefined when there is no such file. */
export async function text(file: string): Promise<string | undefined> {
  return fs.readFile(file, 'utf8').catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT' || error.code === 'ENOTDIR') return undefined;
    throw new HubertkitError('HK_IO', `Cannot read ${file}: ${error.message}`, { cause: error });
  });
}

/** What is in a folder, sorted; nothing when there is no such folder. */
export async function list(folder: string): Promise<string[]> {
  return (await fs.readdir(folder).catch(() => [])).sort();
}

/** A file of JSON, or `fallback` when it is not there. */
export async function json<T>(file: string, fallback: T): Promise<T> {
  const content = await text(file);
  if (content === undefined) return fallback;
  try {
    return JSON.parse(content) as T;
  } catch (error) {
    throw new HubertkitError('HK_FORMAT', `${file} is not JSON: ${(error as Error).message}`, { cause: error });
  }
}

/** The lines of a .jsonl file. A last line that a running process has half written is left out. */
export async function jsonLines(file: string): Promise<Record<string, unknown>[]> {
  const lines = ((await text(file)) ?? '').split('\n').filter((line) => line.trim());
  return lines.flatMap((line, index) => {
    try {
      return [JSON.parse(line)];
    } catch (error) {
      if (index === lines.length - 1) return [];
      throw new HubertkitError('HK_FORMAT', `${file}, line ${index + 1}, is not JSON`, { cause: error });
    }
  });
}
