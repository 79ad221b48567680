/** Devices by name, and the CUDA back-end as far as it can be tested without a GPU. */
import { execFileSync, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { native, packageRoot } from '../../lib/binding';
import { resolveDevice } from '../../lib/binding/device';

const built = path.join(packageRoot, 'build', 'cmake', 'Release');
const has = (tool: string) => spawnSync(tool, ['--version']).status === 0;
const root = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-device-'));
afterAll(() => fs.rmSync(root, { recursive: true }));

/** What deviceInfo says in another process whose addon lies in `folder`; `driver`: a folder with a libcuda.so.1 of its own. */
function refusal(folder: string, device: string, driver?: string): { code?: string; message?: string } {
  return thrown('deviceInfo(process.argv[2])', folder, device, driver);
}

/** What `call`, to an addon that lies in `folder`, throws in another process. */
function thrown(call: string, folder: string, device: string, driver?: string): { code?: string; message?: string } {
  const script = `try { require(process.argv[1]).${call}; console.log('{}'); }
    catch (e) { console.log(JSON.stringify({ code: e.code, message: e.message })); }`;
  const addon = path.join(folder, 'hubertkit.node');
  const env = { ...process.env, ...(driver && { LD_LIBRARY_PATH: driver }) };
  return JSON.parse(execFileSync(process.execPath, ['-e', script, addon, device], { encoding: 'utf8', env }));
}

/** A folder with a copy of the addon, and a back-end beside it where `library` names one. */
function folderWith(library?: string): string {
  const folder = fs.mkdtempSync(path.join(root, 'addon-'));
  fs.copyFileSync(path.join(built, 'hubertkit.node'), path.join(folder, 'hubertkit.node'));
  if (library) fs.copyFileSync(library, path.join(folder, 'libhubertkit_cuda.so'));
  return folder;
}

/** The file of a back-end without memory, whose device reports `report`. */
function backendWithoutMemory(report: string): string {
  const file = path.join(fs.mkdtempSync(path.join(root, 'backend-')), 'backend.so');
  const source = path.join(packageRoot, 'test', 'fixtures', 'backend.c');
  const options = ['-xc', '-shared', '-fPIC', `-I${path.join(packageRoot, 'native', 'include')}`];
  execFileSync('g++', [...options, `-DREPORT="${report}"`, '-o', file, source]);
  return file;
}

/** A folder with a stand-in for the NVIDIA driver: the CUDA version that it supports (13000: 13.0), and what its start answers. */
function driver(version: number, init: number): string {
  const folder = fs.mkdtempSync(path.join(root, 'driver-'));
  const source = path.join(packageRoot, 'test', 'fixtures', 'libcuda.c');
  const options = ['-xc', '-shared', '-fPIC', `-DVERSION=${version}`, `-DINIT=${init}`, '-Wl,-soname,libcuda.so.1'];
  execFileSync('g++', [...options, '-o', path.join(folder, 'libcuda.so.1'), source]);
  return folder;
}

describe('devices', () => {
  test('the CPU says what it is', () => {
    const { variant, total } = native().deviceInfo('cpu');
    expect(variant).toMatch(/^(portable|avx2|avx512|avx512_bf16)$/);
    expect(total).toBeGreaterThan(2 ** 28);
  });

  test.each(['gpu', 'cuda:', 'cuda:x', 'cuda:-1', 'cuda:9999', ''])("'%s' is not a device", (device) => {
    expect(refusal(built, device)).toMatchObject({
      code: 'HK_NO_DEVICE',
      message: expect.stringContaining("a device is 'cpu', 'cuda' or 'cuda:N'"),
    });
  });

  test('without the CUDA back-end the error says how to build it', () => {
    const { code, message } = refusal(folderWith(), 'cuda');
    expect(code).toBe('HK_NO_DEVICE');
    expect(message).toContain('npm run build:cuda');
  });

  test('a file that is not a back-end is refused', () => {
    const library = path.join(root, 'not-a-library');
    fs.writeFileSync(library, 'text');
    expect(refusal(folderWith(library), 'cuda')).toMatchObject({
      code: 'HK_NO_DEVICE',
      message: expect.stringContaining('does not load'),
    });
  });

  test.each([
    ['', 'HK_MEMORY', 'the parameters needs 0 MiB, which the device does not have (5 of 80 MiB are free)'],
    [
      'an illegal memory access was encountered',
      'HK_DEVICE',
      'making room for the parameters failed on cuda:0 (a test): an illegal memory access was encountered',
    ],
  ])('memory that a device does not give while it reports "%s" is %s', (report, code, sentence) => {
    const call = "createStore('cuda', [{ name: 'w', shape: [16] }])";
    expect(thrown(call, folderWith(backendWithoutMemory(report)), 'cuda')).toMatchObject({
      code,
      message: expect.stringContaining(sentence),
    });
  });

  test("'auto' is the CPU with the reason; any other name stands for itself", () => {
    expect(resolveDevice('cuda:7')).toEqual({ device: 'cuda:7' });
    const { device, note } = resolveDevice('auto');
    expect(device).toBe('cpu');
    expect(note).toMatch(/^Computing on the CPU: .+/);
  });
});

(has('nvcc') ? describe : describe.skip)('the CUDA back-end', () => {
  const library = path.join(root, 'cuda', 'libhubertkit_cuda.so');

  beforeAll(() => {
    const configure = ['-S', 'native/cuda', '-B', 'build/cuda-test', '-G', 'Ninja', '-DHK_CUDA_ARCHITECTURES=all'];
    for (const step of [
      [...configure, `-DCMAKE_LIBRARY_OUTPUT_DIRECTORY=${path.dirname(library)}`],
      ['--build', 'build/cuda-test'],
    ]) {
      const { status, stdout, stderr } = spawnSync('cmake', step, { cwd: packageRoot, encoding: 'utf8' });
      if (status !== 0) throw new Error(stdout + stderr);
    }
  }, 400_000);

  test('builds for every architecture with warnings and register spills as errors, and exports one symbol', () => {
    const symbols = execFileSync('nm', ['-D', '--defined-only', library], { encoding: 'utf8' }).trim().split('\n');
    expect(symbols).toEqual([expect.stringMatching(/ T hubertkit_cuda_backend$/)]);
  });

  const noDriver = !fs.existsSync('/proc/driver/nvidia/version');
  (noDriver ? test : test.skip)('loads without a driver and says that there is none', () => {
    expect(refusal(folderWith(library), 'cuda')).toMatchObject({
      code: 'HK_NO_DEVICE',
      message: expect.stringContaining('no NVIDIA driver is installed'),
    });
  });

  test.each([
    ['too old', 11040, 0, 'the NVIDIA driver is too old: it supports CUDA 11.4, and this build needs'],
    ['without a device', 99000, 100, 'the NVIDIA driver finds no GPU'],
    ['that does not start', 99000, 999, 'the NVIDIA driver does not start'],
  ])('a driver %s is named as what is missing', (_, version, init, sentence) => {
    expect(refusal(folderWith(library), 'cuda', driver(version, init))).toMatchObject({
      code: 'HK_NO_DEVICE',
      message: expect.stringContaining(sentence),
    });
  });
});
