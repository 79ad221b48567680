import * as fs from 'node:fs';
import * as os from 'node:os';
import * as path from 'node:path';
import { MissingPeer, Peer, startAll } from '../../bench/peers/peer';

/** A stand-in for python3: a shell script. */
function python(script: string): void {
  const file = path.join(folder, 'python');
  fs.writeFileSync(file, `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  process.env.HUBERTKIT_PYTHON = file;
}

const folder = fs.mkdtempSync(path.join(os.tmpdir(), 'hubertkit-python-'));
afterEach(() => {
  delete process.env.HUBERTKIT_PYTHON;
});
afterAll(() => fs.rmSync(folder, { recursive: true }));

test('without Python it says how to install it', async () => {
  process.env.HUBERTKIT_PYTHON = path.join(folder, 'none');
  await expect(Peer.start('step.py', [], 1)).rejects.toThrow(/apt-get install python3.*HUBERTKIT_PYTHON/);
});

test('a peer that is not installed is reported with the command that installs it, and the others start', async () => {
  python(`case $1 in
    *faiss*) echo '{"missing": "faiss", "reason": "No module named faiss"}' ;;
    *) echo '{"peer": "other", "version": "1.2"}'; cat > /dev/null ;;
  esac`);
  const missing: string[] = [];
  await using started = await startAll(['kmeans_faiss.py', 'kmeans_sklearn.py'], [], 1, (why) => missing.push(why));
  expect(started.peers.map((peer) => peer.name)).toEqual(['other 1.2']);
  expect(missing).toHaveLength(1);
  expect(missing[0]).toMatch(/No module named faiss: apt-get install python3-faiss, or .*pip install faiss-cpu/);
});

test('a peer answers each command, with as many threads as it was given', async () => {
  python(
    `echo '{"peer": "echo", "version": "1"}'; while read -r line; do echo "{\\"got\\": \\"$line\\", \\"threads\\": $OMP_NUM_THREADS}"; done`,
  );
  await using peer = await Peer.start('step.py', [], 3);
  expect(await peer.ask('run 2')).toEqual({ got: 'run 2', threads: 3 });
  expect(await peer.ask('run 5')).toEqual({ got: 'run 5', threads: 3 });
});

test('a peer that dies is an error with what it said', async () => {
  python(`echo 'out of memory' >&2; exit 1`);
  const start = Peer.start('step.py', [], 1);
  await expect(start).rejects.toThrow('out of memory');
  await expect(start).rejects.not.toBeInstanceOf(MissingPeer);
});
