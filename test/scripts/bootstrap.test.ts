import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

const script = path.resolve(__dirname, '..', '..', '..', 'scripts', 'bootstrap.sh');

/** Runs bootstrap.sh on a machine that has nothing but these programs. */
function bootstrapWith(programs: string[], options: string[] = []) {
  const bin = fs.mkdtempSync(path.join(os.tmpdir(), 'hk-bin-'));
  for (const name of programs) {
    const found = spawnSync('bash', ['-c', `command -v ${name}`], { encoding: 'utf8' }).stdout.trim();
    fs.symlinkSync(found, path.join(bin, name));
  }
  return spawnSync('/bin/bash', [script, ...options], { encoding: 'utf8', env: { PATH: bin, HOME: os.tmpdir() } });
}

test('where nothing can be installed, it lists what to install and exits with 1', () => {
  const { status, stderr } = bootstrapWith(['node', 'npm', 'dirname', 'id']);
  expect(status).toBe(1);
  expect(stderr).toMatch(/apt-get install cmake g\+\+ ninja-build pkg-config .*libsndfile1-dev libsoxr-dev/);
  expect(stderr).toContain('cannot be installed from here');
});

test('the browser for the tests is installed only when the tests ask for it', () => {
  const programs = ['node', 'npm', 'dirname', 'id'];
  expect(bootstrapWith(programs).stderr).not.toContain('chromium');
  expect(bootstrapWith(programs, ['--tests']).stderr).toMatch(/apt-get install .* chromium$/m);
});

test('an option that it does not know is refused', () => {
  const { status, stderr } = bootstrapWith(['node', 'npm', 'dirname', 'id'], ['--test']);
  expect(status).toBe(1);
  expect(stderr).toContain('--test is no option');
});

test('without Node.js it says so', () => {
  const { status, stderr } = bootstrapWith(['dirname', 'id']);
  expect(status).toBe(1);
  expect(stderr).toContain('Node.js >= 20');
});
