/** What this machine offers to hubertkit and what it lacks. */
import { execFile } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { promisify } from 'node:util';
import { native, packageRoot } from './binding';

export interface Check {
  name: string;
  /** ok; missing: something does not work without it; absent: it is optional and not there. */
  status: 'ok' | 'missing' | 'absent';
  found: string;
  /** What to do about it. */
  advice?: string;
}

const GIB = 2 ** 30;
const BOOTSTRAP = 'bash scripts/bootstrap.sh';

/** Looks at Node.js, CPU, memory, the native addon, build tools, libraries and GPUs. Changes nothing and never throws. */
export async function doctor(): Promise<Check[]> {
  return [node(), processor(), threads(), memory(), ...addon(), ...(await buildTools()), gpuDriver(), cudaBackend()];
}

function node(): Check {
  const good = Number.parseInt(process.versions.node, 10) >= 20;
  const found = `${process.version} on ${process.platform}-${process.arch}`;
  return good
    ? { name: 'Node.js', status: 'ok', found }
    : { name: 'Node.js', status: 'missing', found, advice: 'Install Node.js 20 or newer.' };
}

function processor(): Check {
  const flags = /^flags\s*:\s*(.*)$/m.exec(readText('/proc/cpuinfo'))?.[1].split(' ') ?? [];
  const known = ['avx2', 'fma', 'f16c', 'avx512f', 'avx512bw', 'avx512dq', 'avx512vl', 'avx512_bf16', 'amx_bf16'];
  const has = known.filter((flag) => flags.includes(flag));
  const found = `${os.cpus()[0]?.model ?? 'unknown'} (${has.join(' ') || 'no AVX2'})`;
  return has.includes('avx2')
    ? { name: 'processor', status: 'ok', found }
    : {
        name: 'processor',
        status: 'absent',
        found,
        advice: 'Without AVX2 the portable kernels run: correct, but several times slower.',
      };
}

function threads(): Check {
  const cores = os.availableParallelism();
  const quota = cgroupCpus();
  const limit = quota !== undefined && quota < cores ? `, limited to ${quota} by the container` : '';
  return { name: 'threads', status: 'ok', found: `${cores}${limit}` };
}

function memory(): Check {
  const total = os.totalmem();
  const available =
    Number(/^MemAvailable:\s+(\d+) kB/m.exec(readText('/proc/meminfo'))?.[1] ?? os.freemem() / 1024) * 1024;
  const limit = Number(readText('/sys/fs/cgroup/memory.max')) || Number.POSITIVE_INFINITY;
  const usable = Math.min(available, limit);
  const found = `${(usable / GIB).toFixed(1)} GiB usable of ${(total / GIB).toFixed(1)} GiB`;
  return usable >= 4 * GIB
    ? { name: 'memory', status: 'ok', found }
    : { name: 'memory', status: 'absent', found, advice: 'The demo is made to fit in 4 GiB.' };
}

function addon(): Check[] {
  try {
    const info = native().backendInfo();
    return [
      { name: 'native addon', status: 'ok', found: `${info.name}, ${info.variant} kernels, ${info.threads} threads` },
      { name: 'oneDNN', status: 'ok', found: info.dnnl },
      voices(),
    ];
  } catch (error) {
    const reason = /reason: (.*)/.exec((error as Error).message)?.[1] ?? (error as Error).message;
    const advice = `npm run build:native builds it; ${BOOTSTRAP} does that and installs what it needs.`;
    return [{ name: 'native addon', status: 'missing', found: reason, advice }];
  }
}

/** The embedded corpus needs Flite; everything else does without. */
function voices(): Check {
  try {
    return { name: 'Flite', status: 'ok', found: `voices ${native().speechVoices().join(', ')}` };
  } catch {
    const advice = `The embedded corpus and the demo need it: ${install('flite1-dev')}, then npm run build:native.`;
    return { name: 'Flite', status: 'missing', found: 'the addon was built without it', advice };
  }
}

/** What building needs. Once the addon is built these are optional. */
async function buildTools(): Promise<Check[]> {
  const built = fs.existsSync(path.join(packageRoot, 'build', 'cmake', 'Release', 'hubertkit.node'));
  const absent = built ? 'absent' : 'missing';
  const tool = async (name: string, packageName: string, argument = '--version'): Promise<Check> => {
    const out = await promisify(execFile)(name, [argument]).catch(() => undefined);
    const found = out?.stdout.split('\n')[0].trim();
    return found
      ? { name, status: 'ok', found }
      : { name, status: absent, found: 'not found', advice: install(packageName) };
  };
  const header = (name: string, file: string, packageName: string): Check => {
    const found = ['/usr/include', '/usr/local/include']
      .map((folder) => path.join(folder, file))
      .find((full) => fs.existsSync(full));
    return found
      ? { name, status: 'ok', found }
      : { name, status: absent, found: 'no headers', advice: install(packageName) };
  };
  return [
    ...(await Promise.all([
      tool('cmake', 'cmake'),
      tool('g++', 'g++'),
      tool('ninja', 'ninja-build'),
      tool('pkg-config', 'pkg-config'),
    ])),
    header('oneDNN headers', 'oneapi/dnnl/dnnl.h', 'libdnnl-dev'),
    header('libsndfile headers', 'sndfile.h', 'libsndfile1-dev'),
    header('libsoxr headers', 'soxr.h', 'libsoxr-dev'),
    header('Eigen headers', 'eigen3/Eigen/Dense', 'libeigen3-dev'),
    header('Flite headers', 'flite/flite.h', 'flite1-dev'),
  ];
}

function gpuDriver(): Check {
  const driver = /Kernel Module[\w ]*?\s([\d.]+)\s/.exec(readText('/proc/driver/nvidia/version'))?.[1];
  const devices = list('/dev').filter((name) => /^nvidia\d+$/.test(name)).length;
  return driver && devices > 0
    ? { name: 'NVIDIA GPU', status: 'ok', found: `${devices} device${devices > 1 ? 's' : ''}, driver ${driver}` }
    : {
        name: 'NVIDIA GPU',
        status: 'absent',
        found: driver ? `driver ${driver}, no device` : 'no driver',
        advice: 'Not needed: everything runs on the CPU.',
      };
}

/** Everything from the driver to the device code: the sentence says which half is missing. */
function cudaBackend(): Check {
  const name = 'CUDA back-end';
  try {
    const { variant, free, total } = native().deviceInfo('cuda');
    return {
      name,
      status: 'ok',
      found: `${variant}, ${(free / GIB).toFixed(1)} of ${(total / GIB).toFixed(1)} GiB free`,
    };
  } catch (error) {
    const [found] = (error as Error).message.split('\n');
    return { name, status: 'absent', found, advice: 'Not needed: everything runs on the CPU.' };
  }
}

function install(packageName: string): string {
  return `apt-get install ${packageName}, or ${BOOTSTRAP}`;
}

/** CPUs that a cgroup (v2) grants, where it limits them. */
function cgroupCpus(): number | undefined {
  const [quota, period] = readText('/sys/fs/cgroup/cpu.max').split(' ').map(Number);
  return quota > 0 && period > 0 ? quota / period : undefined;
}

function readText(file: string): string {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return '';
  }
}

function list(folder: string): string[] {
  try {
    return fs.readdirSync(folder);
  } catch {
    return [];
  }
}
