/** Finding run folders, and telling them apart by name. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import type { RunData } from './read';

const DEEPEST = 3;

/** The run folders among and below `folders`. A folder that has none stands for itself: reading it says what is wrong. */
export async function findRuns(folders: string[]): Promise<string[]> {
  const found = await Promise.all(
    folders.map(async (folder) => {
      const runs = await runsBelow(folder, DEEPEST);
      return runs.length ? runs : [folder];
    }),
  );
  return [...new Set(found.flat().map((folder) => path.resolve(folder)))];
}

async function runsBelow(folder: string, levels: number): Promise<string[]> {
  const entries = await fs.readdir(folder, { withFileTypes: true }).catch(() => []);
  const names = entries.map(({ name }) => name);
  if (['config.yaml', 'metrics.jsonl', 'analysis', 'finetune'].some((name) => names.includes(name))) return [folder];
  if (levels === 0) return [];
  const inner = entries.filter((entry) => entry.isDirectory()).map(({ name }) => path.join(folder, name));
  return (await Promise.all(inner.sort().map((name) => runsBelow(name, levels - 1)))).flat();
}

/** Runs by the last parts of their paths, as many as tell them apart. */
export function nameRuns(runs: RunData[]): RunData[] {
  const parts = runs.map(({ folder }) => folder.split(path.sep).filter(Boolean));
  const most = Math.max(...parts.map((names) => names.length));
  for (let count = 1; count <= most; count++) {
    const names = parts.map((all) => all.slice(-count).join('/'));
    if (new Set(names).size === names.length) return runs.map((run, index) => ({ ...run, name: names[index] }));
  }
  return runs;
}
