import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';

const build = path.resolve(__dirname, '..', '..', '..', 'build', 'cmake');

test('products are described to cuBLASLt as it wants them', () => {
  const made = spawnSync('cmake', ['--build', build, '--target', 'cublaslt_products'], { encoding: 'utf8' });
  expect(made.status === 0 ? '' : made.stdout + made.stderr).toBe('');
  const model = [build, path.join(build, 'Release')].map((folder) => path.join(folder, 'libcublaslt_model.so'));
  const env = { ...process.env, HUBERTKIT_CUBLASLT: model.find((file) => fs.existsSync(file)) };
  const { status, stdout, stderr } = spawnSync(path.join(build, 'cublaslt_products'), { encoding: 'utf8', env });
  expect(stdout.split('\n').filter((line) => line.startsWith('FAIL'))).toEqual([]);
  expect(stderr).toBe('');
  expect(stdout).toContain('ok   linear');
  expect(status).toBe(0);
}, 120_000);
