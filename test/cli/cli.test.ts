import { type ChildProcess, spawn, spawnSync } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { makeRun } from '../report/fixture';

const root = path.resolve(__dirname, '..', '..', '..');
const main = path.join(root, 'dist', 'lib', 'cli', 'main.js');

function hubertkit(args: string[], env: Record<string, string> = {}) {
  return spawnSync(process.execPath, [main, ...args], {
    encoding: 'utf8',
    cwd: os.tmpdir(),
    env: { ...process.env, ...env },
  });
}

/** Packages and addons that `code` loads. Start-up time is a matter of what is loaded. */
function loadedBy(code: string): string[] {
  const list = `process.on('exit', () => process.stderr.write(Object.keys(require.cache).join('\\n'))); ${code}`;
  const { stderr } = spawnSync(process.execPath, ['-e', list], { cwd: root, encoding: 'utf8' });
  const names = stderr.split('\n').map((file) => /node_modules\/([^/]+)/.exec(file)?.[1] ?? path.basename(file));
  return [...new Set(names)].filter((name) => !name.endsWith('.js'));
}

describe('hubertkit', () => {
  test('--help lists every command and exits with 0', () => {
    const { status, stdout } = hubertkit(['--help']);
    expect(status).toBe(0);
    for (const name of [
      'corpus',
      'pretrain',
      'kmeans',
      'analyze',
      'finetune',
      'reset-sweep',
      'experiment',
      'report',
      'selftest',
      'doctor',
      'demo',
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${name} `, 'm'));
    }
  });

  test('bench without a part measures the device and what steps use of it', () => {
    const work = ['--presets', 'nano', '--precision', 'f32', '--batch', '1', '--seconds', '1'];
    const { status, stdout } = hubertkit(['bench', ...work, '--json']);
    expect(status).toBe(0);
    const { roofline, steps } = JSON.parse(stdout.trim().split('\n').at(-1)!);
    expect(roofline.f32_gflops).toBeGreaterThan(0);
    expect(roofline.read_gbytes_per_s).toBeGreaterThan(0);
    expect(steps).toHaveLength(1);
    expect(steps[0].utilisation).toBeCloseTo(steps[0].gflops / roofline.f32_gflops, 3);
    expect(steps[0].profile.map(({ kind }: { kind: string }) => kind)).toContain('attention_grad');
  });

  test('bench on a GPU that is not there says what is missing', () => {
    const { status, stderr } = hubertkit(['bench', '--device', 'cuda:63']);
    expect(status).toBe(1);
    expect(stderr).toContain('HK_NO_DEVICE');
  });

  test('experiment lists the questions, and suggests the nearest name for a wrong one', () => {
    const { stdout } = hubertkit(['experiment']);
    expect(stdout).toMatch(/^layer-reset +Does fine-tuning gain/m);
    const { status, stderr } = hubertkit(['experiment', 'layer-rest', '--dry-run']);
    expect(status).toBe(1);
    expect(stderr).toContain('Did you mean "layer-reset"?');
  });

  test.each([
    'experiment',
    'corpus',
    'pretrain',
    'kmeans',
    'analyze',
    'finetune',
    'reset-sweep',
    'report',
    'selftest',
    'doctor',
    'demo',
  ])('%s --help exits with 0', (name) => {
    expect(hubertkit([name, '--help']).status).toBe(0);
  });

  test('--version prints the version of package.json', () => {
    const { version } = JSON.parse(fs.readFileSync(path.join(root, 'package.json'), 'utf8'));
    expect(hubertkit(['--version']).stdout.trim()).toBe(version);
  });

  test('an unknown command is wrong usage and names the nearest one', () => {
    const { status, stderr } = hubertkit(['pretrian']);
    expect(status).toBe(2);
    expect(stderr).toContain('Did you mean pretrain?');
  });

  test('an unknown option is wrong usage and names the nearest one', () => {
    const { status, stderr } = hubertkit(['doctor', '--jsno']);
    expect(status).toBe(2);
    expect(stderr).toContain('Did you mean --json?');
  });

  test('a missing argument is wrong usage', () => {
    expect(hubertkit(['report']).status).toBe(2);
  });

  test('no command at all prints the help and is wrong usage', () => {
    const { status, stderr } = hubertkit([]);
    expect(status).toBe(2);
    expect(stderr).toContain('Usage: hubertkit');
  });

  test('a failure prints code and message without a stack, and exits with 1', () => {
    const { status, stderr } = hubertkit(['report', '/no/such/run']);
    expect(status).toBe(1);
    expect(stderr).toMatch(/^HK_IO: There is no run folder at \/no\/such\/run/);
    expect(stderr).not.toMatch(/^\s+at /m);
  });

  test('HUBERTKIT_DEBUG=1 adds the stack', () => {
    expect(hubertkit(['report', '/no/such/run'], { HUBERTKIT_DEBUG: '1' }).stderr).toMatch(/^\s+at /m);
  });

  test('report prints the summary and, last, the path of the page', () => {
    const folder = makeRun();
    const { status, stdout } = hubertkit(['report', folder]);
    expect(status).toBe(0);
    expect(stdout).toContain('Phone information (PNMI');
    expect(stdout.trim().split('\n').at(-1)).toBe(path.join(folder, 'report.html'));
  });

  test('output that nobody reads to the end is no error', () => {
    const { status } = spawnSync('bash', ['-c', `set -o pipefail; '${process.execPath}' '${main}' --help | head -1`]);
    expect(status).toBe(0);
  });

  test('--help loads commander and nothing else from outside', () => {
    const code = `process.argv = [process.execPath, 'hubertkit', '--help']; require(${JSON.stringify(main)})`;
    expect(loadedBy(code)).toEqual(['commander']);
  });

  test("require('hubertkit') loads neither packages nor the addon", () => {
    expect(loadedBy("require('hubertkit')")).toEqual([]);
  });
});

describe('hubertkit analyze', () => {
  test('a metric that is none is refused with the nearest one', () => {
    const { status, stderr } = hubertkit(['analyze', '/some/run', '--metrics', 'clusters,pwca']);
    expect(status).toBe(1);
    expect(stderr).toContain('HK_ARGUMENT: There is no metric "pwca"; did you mean "pwcca"?');
  });

  test('--help lists the metrics', () => {
    const { stdout } = hubertkit(['analyze', '--help']);
    for (const name of ['clusters', 'svcca', 'speaker-probe', 'drift', 'abx']) {
      expect(stdout).toMatch(new RegExp(`^  ${name} +\\w`, 'm'));
    }
  });
});

describe('hubertkit pretrain', () => {
  const given = ['--corpus', '/some/where', '--model', 'nano', '--out', '/some/run'];

  test('--print-config writes out every default, and what --set changes', () => {
    const { status, stdout } = hubertkit(['pretrain', ...given, '--set', 'mask.probability=.65', '--print-config']);
    expect(status).toBe(0);
    expect(stdout).toMatch(/^corpus: \/some\/where$/m);
    expect(stdout).toMatch(/^ {2}probability: 0.65$/m);
    expect(stdout).toMatch(/^ {2}- teacher: mfcc$/m);
  });

  test('what --print-config prints is a configuration that gives the same', () => {
    const first = hubertkit(['pretrain', ...given, '--print-config']).stdout;
    const file = path.join(fs.mkdtempSync(path.join(os.tmpdir(), 'hk-cli-')), 'run.yaml');
    fs.writeFileSync(file, first);
    expect(hubertkit(['pretrain', file, '--print-config']).stdout).toBe(first);
  });

  test('an unknown key is wrong usage and names the nearest one', () => {
    const { status, stderr } = hubertkit(['pretrain', ...given, '--set', 'maskk.length=3']);
    expect(status).toBe(2);
    expect(stderr).toContain('HK_CONFIG: Unknown key "maskk". Did you mean "mask"?');
  });

  test('a configuration file that is not there is a failure', () => {
    expect(hubertkit(['pretrain', '/no/such.yaml'])).toMatchObject({
      status: 1,
      stderr: expect.stringContaining('HK_IO'),
    });
  });
});

test('values that are no numbers are wrong usage', () => {
  expect(hubertkit(['finetune', '/no/such', '--reset-top', 'two']).status).toBe(2);
  expect(hubertkit(['demo', '--budget', 'soon']).status).toBe(2);
  expect(hubertkit(['kmeans', '/no/such', '--layer', '3']).status).toBe(2);
});

describe('hubertkit doctor', () => {
  test('prints what was found, and what to do about what was not', () => {
    const { stdout } = hubertkit(['doctor']);
    for (const name of ['Node.js', 'processor', 'memory', 'native addon', 'NVIDIA GPU']) expect(stdout).toContain(name);
    expect(stdout).not.toContain('\x1b[');
  });

  test('--json is one line; exit code 1 exactly when something is missing', () => {
    const { status, stdout } = hubertkit(['doctor', '--json']);
    const { ok, checks } = JSON.parse(stdout);
    expect(status).toBe(ok ? 0 : 1);
    expect(ok).toBe(checks.every((check: { status: string }) => check.status !== 'missing'));
    expect(checks[0]).toMatchObject({ name: 'Node.js', status: 'ok', found: expect.stringContaining(process.version) });
  });

  test('an addon that does not load is missing, with its reason', () => {
    const { status, stdout } = hubertkit(['doctor'], { HUBERTKIT_NATIVE: '/no/such/hubertkit.node' });
    expect(status).toBe(1);
    expect(stdout).toMatch(/MISSING {2}native addon +Cannot find module '\/no\/such\/hubertkit.node'/);
    expect(stdout).toContain('npm run build:native');
  });
});

describe('Ctrl-C', () => {
  /** A process that runs a command body which waits to be aborted; `deaf`: one that never looks. */
  function waiting(deaf: boolean): ChildProcess {
    const command = JSON.stringify(path.join(root, 'dist', 'lib', 'cli', 'command.js'));
    const body = deaf
      ? 'new Promise(() => {})'
      : "new Promise((_, no) => signal.addEventListener('abort', () => { console.log('saved'); no(signal.reason); }))";
    return spawn(process.execPath, [
      '-e',
      `require(${command}).run(({ signal }) => { setInterval(() => {}, 50).unref(); const stay = setTimeout(() => {}, 20000); console.log('ready'); return ${body}.finally(() => clearTimeout(stay)); })`,
    ]);
  }

  async function signalled(child: ChildProcess, count: number): Promise<{ code: number | null; out: string }> {
    let out = '';
    let sent = 0;
    const send = () => {
      sent++;
      child.kill('SIGINT');
    };
    child.stdout!.on('data', (data) => {
      out += data;
      if (sent === 0) send();
    });
    child.stderr!.on('data', () => {
      if (sent < count) send();
    });
    const code = await new Promise<number | null>((resolve) => child.on('close', resolve));
    return { code, out };
  }

  test('the first one lets the command save, then the exit code is 130', async () => {
    const { code, out } = await signalled(waiting(false), 1);
    expect(out).toContain('saved');
    expect(code).toBe(130);
  });

  test('the second one ends a command that does not listen', async () => {
    expect((await signalled(waiting(true), 2)).code).toBe(130);
  });
});
