/** k-means beside faiss and scikit-learn, MFCC beside librosa and torchaudio. */
import * as os from 'node:os';
import * as path from 'node:path';
import { type KmeansBenchOptions, kmeansWork } from '../../lib/bench/kmeans';
import { noise } from '../../lib/bench/mfcc';
import { mfcc } from '../../lib/data/audio';
import { float32Tensor, writeSafetensors } from '../../lib/formats/safetensors';
import { type Comparison, interleaved, repeated } from './compare';
import { inTemporaryFolder, type Peer, startAll } from './peer';

const turnOf = (peer: Peer, command: string) => ({
  name: peer.name,
  turn: async () => (await peer.ask<{ seconds: number[] }>(command)).seconds,
});

/** Assignment, one Lloyd iteration, k-means++ and 100 mini-batch steps (faiss has none). `missing` is told of peers that are not here. */
export async function compareKmeans(
  options: KmeansBenchOptions,
  rounds: number,
  missing: (why: string) => void,
): Promise<Comparison[]> {
  const { clusters, dim, frames, threads = os.availableParallelism() } = options;
  return inTemporaryFolder(async (folder) => {
    await using work = await kmeansWork(options);
    const rows = { rows: float32Tensor([frames, dim], work.rows) };
    await writeSafetensors(path.join(folder, 'rows.safetensors'), rows);
    const scripts = ['kmeans_sklearn.py', 'kmeans_faiss.py'];
    await using started = await startAll(scripts, [folder, clusters, threads], threads, missing);
    const { peers } = started;
    const sklearn = peers.filter((peer) => peer.name.startsWith('scikit-learn'));
    const size = `K=${clusters}, d=${dim}, ${frames} frames`;
    const results: Comparison[] = [];
    const compare = async (name: string, command: string, turn: () => Promise<number[]>, against = peers) => {
      if (!against.length) return;
      const sides = against.map((peer) => turnOf(peer, command));
      results.push(await interleaved(`k-means ${name}, ${size}`, { name: 'hubertkit', turn }, sides, rounds));
    };
    await compare('assignment', 'assign', () => one(work.assign()));
    await compare('Lloyd iteration', 'lloyd', () => work.lloyd(3));
    await compare('++ and 100 mini-batch steps', 'minibatch', () => one(work.minibatch()), sklearn);
    return results;
  });
}

const one = async (seconds: Promise<number>) => [await seconds];

/** One minute of noise. Ours runs on one thread, whatever `threads` the peers may use. */
export async function compareMfcc(rounds: number, missing: (why: string) => void): Promise<Comparison[]> {
  const threads = os.availableParallelism();
  return inTemporaryFolder(async (folder) => {
    const samples = noise();
    await writeSafetensors(path.join(folder, 'samples.safetensors'), {
      samples: float32Tensor([samples.length], samples),
    });
    await using started = await startAll(
      ['mfcc_librosa.py', 'mfcc_torchaudio.py'],
      [folder, threads],
      threads,
      missing,
    );
    if (!started.peers.length) return [];
    const ours = { name: 'hubertkit', turn: () => repeated(3, () => mfcc(samples)) };
    const peers = started.peers.map((peer) => turnOf(peer, 'run 3'));
    return [await interleaved('MFCC with deltas, 60 s', ours, peers, rounds)];
  });
}
