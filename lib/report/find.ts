/** Finding the folders of runs and experiments, and telling runs apart by name. */
import * as fs from 'node:fs/promises';
import * as path from 'node:path';
import type { RunData } from './read';

const DEEPEST = 3;
const RUN_FILES = ['config.yaml', 'metrics.jsonl', 'analysis', 'finetune'];

export interface Subject {
  kind: 'run' | 'experiment';
  folder: string;
}

/** What is among and below `folders`. One that has nothing is taken for a run: reading it says what is wrong. */
export async function findSubjects(folders: string[]): Promise<Subject[]> {
  const found = await Promise.all(
    folders.map(async (folder): Promise<Subject[]> => {
      const below = await subjectsBelow(path.resolve(folder), DEEPEST);
      return below.length ? below : [{ kind: 'run', folder }];
    }),
  );
  return [...new Map(found.flat().map((subject) => [subject.folder, subject])).values()];
}

async function subjectsBelow(folder: string, levels: number): Promise<Subject[]> {
  const entries = await fs.readdir(folder, { withFileTypes: true }).catch(() => []);
  const names = entries.map(({ name }) => name);
  if (names.includes('results.jsonl')) return [{ kind: 'experiment', folder }];
  if (RUN_FILES.some((name) => names.includes(name))) return [{ kind: 'run', folder }];
  if (levels === 0) return [];
  const inner = entries.filter((entry) => entry.isDirectory()).map(({ name }) => path.join(folder, name));
  return (await Promise.all(inner.sort().map((name) => subjectsBelow(name, levels - 1)))).flat();
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
