/** k-means beside faiss, scikit-learn and, on a GPU, PyTorch; MFCC beside librosa and torchaudio. */
import * as os from 'node:os';
import * as path from 'node:path';
import { type KmeansBenchOptions, kmeansWork } from '../../lib/bench/kmeans';
import { noise } from '../../lib/bench/mfcc';
import { mfcc } from '../../lib/data/audio';
import { float32Tensor, writeSafetensors } from '../../lib/formats/safetensors';
import { type Comparison, interleaved, repeated } from './compare';
import { inTemporaryFolder, Peer, startAll } from './peer';

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

/** How near labels and inertia of an assignment must come to PyTorch's: rows between two centroids may fall to either side. */
const sameAssignment = { labels: 0.999, inertia: 1e-4 };

/** What `compareKmeansOnDevice` found. */
export interface KmeansOnDevice {
  peer: string;
  /** Share of the rows with the same label, and how far the inertia of ours lies from theirs, as a share of it. */
  sameLabels: number;
  inertiaError: number;
  /** Within `sameAssignment`; without that nothing is timed. */
  sameValues: boolean;
  comparisons: Comparison[];
}

/** Assignment and one Lloyd iteration beside PyTorch on the same device. */
export async function compareKmeansOnDevice(
  options: KmeansBenchOptions & { device: string },
  rounds: number,
  environment: NodeJS.ProcessEnv = {},
): Promise<KmeansOnDevice> {
  const { clusters, dim, frames, device, threads = os.availableParallelism() } = options;
  return inTemporaryFolder(async (folder) => {
    await using work = await kmeansWork(options);
    await writeSafetensors(path.join(folder, 'rows.safetensors'), {
      rows: float32Tensor([frames, dim], work.rows),
      labels: { dtype: 'I32', shape: [frames], data: await work.labels() },
    });
    const parameters = [folder, clusters, device.split(':')[0]];
    await using peer = await Peer.start('kmeans_torch.py', parameters, threads, environment);
    const check = await peer.ask<{ same_labels: number; inertia_ratio: number }>('check');
    const inertiaError = Math.abs(check.inertia_ratio - 1);
    const sameValues = check.same_labels >= sameAssignment.labels && inertiaError < sameAssignment.inertia;
    const size = `K=${clusters}, d=${dim}, ${frames} frames`;
    const compare = (name: string, command: string, turn: () => Promise<number[]>) =>
      interleaved(`k-means ${name}, ${size}`, { name: 'hubertkit', turn }, [turnOf(peer, command)], rounds);
    const comparisons = sameValues
      ? [
          await compare('assignment', 'assign', () => one(work.assign())),
          await compare('Lloyd iteration', 'lloyd', () => work.lloyd(4)),
        ]
      : [];
    return { peer: peer.name, sameLabels: check.same_labels, inertiaError, sameValues, comparisons };
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
