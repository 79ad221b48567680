/** The same work in other people's programs: Python scripts beside this file, each a process that answers one JSON line to each line. */
import { type ChildProcessWithoutNullStreams, spawn } from 'node:child_process';
import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { packageRoot } from '../../lib/binding';

/** How Debian installs the modules that the scripts import; elsewhere `pip install` has them under the last name. */
const packages: Record<string, [debian: string, pip: string]> = {
  numpy: ['python3-numpy', 'numpy'],
  torch: ['python3-torch libopenblas0-openmp', 'torch'],
  torchaudio: ['python3-torchaudio', 'torchaudio'],
  sklearn: ['python3-sklearn', 'scikit-learn'],
  faiss: ['python3-faiss', 'faiss-cpu'],
  librosa: ['python3-librosa', 'librosa'],
};

/** The Python that has the peers. */
const python = process.env.HUBERTKIT_PYTHON ?? 'python3';

/** A peer that is not here; the message says how to install it. */
export class MissingPeer extends Error {}

/** What makes them fastest: one OpenMP thread per core, memory kept between steps, huge pages. */
const settings = (threads: number) => ({
  OMP_NUM_THREADS: String(threads),
  MALLOC_MMAP_THRESHOLD_: String(2 ** 33),
  MALLOC_TRIM_THRESHOLD_: String(2 ** 34),
  MALLOC_TOP_PAD_: String(2 ** 28),
  THP_MEM_ALLOC_ENABLE: '1',
});

export class Peer implements AsyncDisposable {
  private readonly answers: AsyncIterator<string>;
  private readonly lines: Interface;
  private errors = '';
  /** Name and version, once started. */
  name = '';

  private constructor(private readonly child: ChildProcessWithoutNullStreams) {
    this.lines = createInterface({ input: child.stdout });
    this.answers = this.lines[Symbol.asyncIterator]();
    child.stderr.on('data', (text) => {
      this.errors = `${this.errors}${text}`.slice(-2000);
    });
    child.stdin.on('error', () => {}); // it has ended: the next answer says so
  }

  /** Starts `bench/peers/SCRIPT`. Throws MissingPeer where Python or a module of it is not installed. */
  static async start(
    script: string,
    parameters: (string | number)[],
    threads: number,
    environment: NodeJS.ProcessEnv = {},
  ): Promise<Peer> {
    const file = path.join(packageRoot, 'bench', 'peers', script);
    const env = { ...process.env, ...settings(threads), ...environment };
    const child = spawn(python, [file, ...parameters.map(String)], { env });
    await new Promise<void>((resolve, reject) => {
      child.once('spawn', resolve);
      child.once('error', () =>
        reject(new MissingPeer(`no ${python}: apt-get install python3, or set HUBERTKIT_PYTHON`)),
      );
    });
    const peer = new Peer(child);
    const ready = (await peer.answer()) as { missing?: string; reason?: string; peer: string; version: string };
    if (ready.missing) {
      const [debian, pip] = packages[ready.missing.split('.')[0]];
      throw new MissingPeer(`${ready.reason}: apt-get install ${debian}, or ${python} -m pip install ${pip}`);
    }
    peer.name = `${ready.peer} ${ready.version}`;
    return peer;
  }

  /** Sends a command and waits for its answer. */
  async ask<T>(command: string): Promise<T> {
    this.child.stdin.write(`${command}\n`);
    return (await this.answer()) as T;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.lines.close();
    this.child.kill();
  }

  private async answer(): Promise<unknown> {
    const { value, done } = await this.answers.next();
    if (done) throw new Error(`The peer ended: ${this.errors}`);
    return JSON.parse(value);
  }
}

/** Starts those of `scripts` whose modules are installed; `missing` is told of the others. */
export async function startAll(
  scripts: string[],
  parameters: (string | number)[],
  threads: number,
  missing: (why: string) => void,
): Promise<{ peers: Peer[] } & AsyncDisposable> {
  const peers: Peer[] = [];
  for (const script of scripts)
    await Peer.start(script, parameters, threads).then(
      (peer) => peers.push(peer),
      (error) => {
        if (!(error instanceof MissingPeer)) throw error;
        missing(error.message);
      },
    );
  return {
    peers,
    async [Symbol.asyncDispose]() {
      for (const peer of peers) await peer[Symbol.asyncDispose]();
    },
  };
}

/** Where the peers read weights and inputs. */
export async function inTemporaryFolder<T>(use: (folder: string) => Promise<T>): Promise<T> {
  const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-peer-'));
  try {
    return await use(folder);
  } finally {
    fs.rmSync(folder, { recursive: true });
  }
}
