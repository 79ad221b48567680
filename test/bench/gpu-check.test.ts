import { spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as path from 'node:path';
import { packageRoot } from '../../lib/binding';
import { alone, comparison, type Part, type PartResult, runPart, sameValues, withCurves } from '../../bench/gpu-check';

const shell = (script: string, more: Partial<Part> = {}): Part => ({
  name: 'part',
  command: ['/bin/sh', '-c', script],
  limit: 20,
  ...more,
});

const done = (name: string, result: unknown): PartResult => ({ name, command: '', status: 'ok', seconds: 1, result });

describe('a part of the GPU check', () => {
  test('keeps the JSON of its last line', async () => {
    const result = await runPart(shell(`echo words; echo '{"rate": 3}'`), 100, []);
    expect(result).toMatchObject({ status: 'ok', result: { rate: 3 } });
    expect(result.reason).toBeUndefined();
  });

  test('that fails says what the command said, and keeps what it measured', async () => {
    const result = await runPart(shell(`echo '{"passed": 2}'; echo 'HK_DEVICE: lost' >&2; exit 1`), 100, []);
    expect(result).toMatchObject({ status: 'failed', reason: 'HK_DEVICE: lost', result: { passed: 2 } });
  });

  test('gives its reason without the folders of this machine', async () => {
    const { reason } = await runPart(shell(`echo '${packageRoot}/build/x.so is missing' >&2; exit 1`), 100, []);
    expect(reason).toBe('build/x.so is missing');
  });

  test('that hangs is ended at its limit, with the processes that it started', async () => {
    const { status, reason } = await runPart(shell('sleep 70 & echo $!; sleep 70', { limit: 1 }), 100, []);
    expect(status).toBe('failed');
    const [, started] = /^not done after 1 s: (\d+)$/.exec(reason!)!;
    const runs = fs.existsSync(`/proc/${started}/cmdline`) && fs.readFileSync(`/proc/${started}/cmdline`, 'utf8');
    expect(runs).toBeFalsy(); // gone, or no more than an entry that its parent has not read
  });

  test('that crashes names the signal', async () => {
    expect(await runPart(shell('kill -SEGV $$'), 100, [])).toMatchObject({
      status: 'failed',
      reason: 'ended by SIGSEGV',
    });
  });

  test('whose command is not there says so', async () => {
    const result = await runPart(shell('', { command: ['no-such-tool', '--version'] }), 100, []);
    expect(result).toMatchObject({ status: 'failed', reason: 'no-such-tool is not on this machine' });
  });

  test('is left out when no time is left, or when what it needs failed', async () => {
    expect(await runPart(shell('exit 0'), 2, [])).toMatchObject({ status: 'left out' });
    const failed: PartResult = { ...done('ceilings', undefined), status: 'failed', reason: 'no PyTorch' };
    const result = await runPart(shell('exit 0', { needs: 'ceilings' }), 100, [failed]);
    expect(result).toMatchObject({ status: 'left out', reason: 'needs "ceilings": no PyTorch' });
  });
});

describe('a part that stands beside PyTorch', () => {
  const read = async (script: string) => runPart(shell(script, { read: sameValues }), 100, []);

  test('goes well where the values are the same', async () => {
    expect(await read(`echo '{"sameValues": true}'`)).toMatchObject({ status: 'ok', result: { sameValues: true } });
  });

  test('fails where they are not, and keeps what it measured', async () => {
    const { status, reason, result } = await read(`echo '{"sameValues": false, "outputError": 0.5}'`);
    expect({ status, reason }).toEqual({ status: 'failed', reason: 'the values are not those of PyTorch' });
    expect(result).toMatchObject({ outputError: 0.5 });
  });

  test('that ended early gives its own reason', async () => {
    expect((await read(`echo 'no module named torch' >&2; exit 1`)).reason).toBe('no module named torch');
  });
});

test.each([
  ['attention', ['cuda:63', '1', '10', '128', '2'], /HK_NO_DEVICE/],
  ['kmeans', ['cuda:63', '3', '4', '50'], /HK_NO_DEVICE/],
  ['curve', ['cuda:63', 'f32'], /HK_NO_DEVICE|bench:curves -- --prepare/],
  ['nothing', [], /There is no part "nothing"/],
])('the part %s says why it cannot run', (part, parameters, reason) => {
  const file = path.resolve(__dirname, '..', '..', 'bench', 'gpu-part.js');
  const { status, stderr } = spawnSync(process.execPath, [file, part, ...parameters], { encoding: 'utf8' });
  expect(status).toBe(1);
  expect(stderr).toMatch(reason);
});

test('the curves in the results are those of the CPU and of the parts, or why there are none', () => {
  const prepared = { preset: 'small', updates: 2, minutes: 1, bits: { 'cpu f32': [6, 5] }, missing: {} } as const;
  const f32 = done('curve f32', { bits: [6.0004, 5.0002] });
  const bf16: PartResult = { ...done('curve bf16', undefined), status: 'failed', reason: 'HK_DEVICE: lost' };
  const curves = withCurves({ ...prepared, bits: { 'cpu f32': [6, 5] } }, [f32, bf16])!;
  expect(curves.bits).toEqual({ 'cpu f32': [6, 5], 'cuda f32': [6.0004, 5.0002] });
  expect(curves.missing).toEqual({ 'cuda bf16': 'HK_DEVICE: lost' });
  expect(curves.f32Difference!.bits).toBeCloseTo(4e-4, 9);
});

describe('after a selftest', () => {
  const failed = (results: object[] | undefined, reason: string): PartResult => ({
    ...done('selftest f32', results && { results }),
    status: 'failed',
    reason,
  });
  const names = (result: PartResult) => alone(result).map(({ name }) => name);

  test('in which the device was lost, the ops that it was lost to are checked alone', () => {
    const results = [
      { op: 'add', passed: true },
      { op: 'ctc', passed: false, message: "HK_NAME: the cuda back-end has no op 'ctc'" },
      { op: 'gelu', passed: false, message: 'HK_DEVICE: an illegal memory access was encountered' },
      { op: 'linear', passed: false, message: 'HK_MEMORY: the parameters need 1 MiB' },
    ];
    expect(names(failed(results, '3 of 4'))).toEqual(['selftest f32, alone: gelu', 'selftest f32, alone: linear']);
  });

  test('that hung, all ops are checked alone; that had no device, none', () => {
    expect(names(failed(undefined, 'not done after 60 s')).length).toBeGreaterThan(15);
    expect(names(failed(undefined, "HK_NO_DEVICE: device 'cuda': no NVIDIA driver is installed here."))).toEqual([]);
  });
});

describe('the comparison with PyTorch', () => {
  const update = { loss: 5, gradientNorm: 2 };
  const step = done('step base bf16', { step_s: 0.02, audio_s_per_s: 8580, gflops: 394_000 });
  const eager = (loss: number) =>
    done('PyTorch eager base bf16', {
      step_s: { median: 0.05 },
      audio_s_per_s: 3432,
      updates: [{ loss, gradientNorm: 2 }],
    });
  const updates = done('updates base bf16', { updates: [update] });

  test('has a ratio where both compute the same', () => {
    expect(
      comparison('base', 'bf16', [step, updates, eager(5.001), done('ceilings', { bf16_tflops: 788 })]),
    ).toMatchObject({
      audio_s_per_s: 8580,
      shareOfMatmulCeiling: 0.5,
      eager: { audio_s_per_s: 3432, sameUpdates: true, timesAsFast: 2.5 },
    });
  });

  test('has none where they do not, or where that was not found out', () => {
    const parts = (...more: PartResult[]) => (comparison('base', 'bf16', [step, ...more]) as { eager: object }).eager;
    expect(parts(updates, eager(5.5))).toEqual({ audio_s_per_s: 3432, sameUpdates: false, timesAsFast: undefined });
    expect(parts(eager(5))).toMatchObject({ sameUpdates: 'not compared', timesAsFast: undefined });
  });
});
