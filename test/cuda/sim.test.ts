import { spawnSync } from 'node:child_process';
import * as path from 'node:path';

const build = path.resolve(__dirname, '..', '..', '..', 'build', 'cmake');

/** Builds a program of native/cuda/sim, and returns what it prints when run with a seed of the thread order. */
function runSim(target: string, seed: number) {
  const made = spawnSync('cmake', ['--build', build, '--target', target], { encoding: 'utf8' });
  expect(made.status === 0 ? '' : made.stdout + made.stderr).toBe('');
  return spawnSync(path.join(build, target), [String(seed)], { encoding: 'utf8' });
}

test('every CUDA kernel gives what the CPU op gives, in any order of threads', () => {
  for (const seed of [1, 2]) {
    const { status, stdout } = runSim('cuda_sim_test', seed);
    expect(stdout.split('\n').filter((line) => line.startsWith('FAIL'))).toEqual([]);
    expect(stdout).toContain('ok   adamw');
    expect(status).toBe(0);
  }
}, 600_000);

test('no CUDA kernel leaves its arrays (AddressSanitizer, UndefinedBehaviorSanitizer)', () => {
  const { status, stderr } = runSim('cuda_sim_test_sanitized', 3);
  expect(stderr).toBe('');
  expect(status).toBe(0);
}, 600_000);
