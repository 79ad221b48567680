/** How long a script waits before it can begin: node alone, require('hubertkit'), hubertkit --help; each in a process of its own. */
import { execFileSync } from 'node:child_process';
import * as path from 'node:path';
import { spread } from '../lib/bench/median';
import { packageRoot } from '../lib/binding';
import type { Measurement } from './measurement';

const commands: Record<string, string[]> = {
  'node alone': ['-e', '0'],
  "require('hubertkit')": ['-e', `require(${JSON.stringify(packageRoot)})`],
  'hubertkit --help': [path.join(packageRoot, 'dist', 'lib', 'cli', 'main.js'), '--help'],
};

/** In turn, 15 times each. */
export function benchStartup(): Measurement[] {
  const seconds = new Map(Object.keys(commands).map((name) => [name, [] as number[]]));
  for (let round = 0; round < 15; round++)
    for (const [name, parameters] of Object.entries(commands)) {
      const begin = performance.now();
      execFileSync(process.execPath, parameters, { stdio: 'ignore' });
      seconds.get(name)!.push((performance.now() - begin) / 1000);
    }
  return [...seconds].map(([name, times]) => ({ suite: 'startup', name, seconds: spread(times) }));
}
