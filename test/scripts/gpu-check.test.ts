import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';

const script = path.resolve(__dirname, '..', '..', '..', 'scripts', 'gpu-check.sh');
const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-gpu-check-'));
afterAll(() => fs.rmSync(folder, { recursive: true }));

/** Runs a copy of the script in a folder of its own, without any environment. */
function check(...parameters: string[]) {
  fs.copyFileSync(script, path.join(folder, 'gpu-check.sh'));
  return spawnSync('/bin/bash', [path.join(folder, 'gpu-check.sh'), ...parameters], { encoding: 'utf8', env: {} });
}

test('without a payload the check says what makes one', () => {
  const { status, stderr } = check('run');
  expect(status).toBe(1);
  expect(stderr).toContain('scripts/gpu-check.sh pack');
});

test('a payload that cannot be unpacked is a reason in the results file', () => {
  fs.writeFileSync(path.join(folder, 'payload.tar.xz'), 'not a tar file');
  const results = path.join(folder, 'out.json');
  expect(check('run', results).status).toBe(1);
  expect(JSON.parse(fs.readFileSync(results, 'utf8'))).toMatchObject({
    complete: false,
    reason: expect.stringContaining('could not be unpacked'),
  });
});

test('neither pack nor run is wrong usage', () => {
  const { status, stderr } = check('build');
  expect(status).toBe(1);
  expect(stderr).toContain('usage: gpu-check.sh pack, or gpu-check.sh run');
});
