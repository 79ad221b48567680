/** Times the assignment of frames to centroids. */
import * as os from 'node:os';
import { wrappedAsync } from '../binding';
import { compileOp } from '../nn/call';
import { median, pseudoRandom, round, timed } from './median';

export interface KmeansBenchOptions {
  clusters: number;
  dim: number;
  frames: number;
  /** Default: all cores. */
  threads?: number;
}

export interface KmeansBenchResult extends Required<KmeansBenchOptions> {
  /** Median seconds inside the op, of one assignment of all frames. */
  assign_s: number;
  assign_frames_per_s: number;
  gflops: number;
}

export async function benchKmeans(options: KmeansBenchOptions): Promise<KmeansBenchResult> {
  const { clusters, dim, frames, threads = os.availableParallelism() } = options;
  await wrappedAsync((n) => n.setThreads(threads));
  const random = pseudoRandom(1);
  const rows = Float32Array.from({ length: frames * dim }, () => random() - 0.5);
  const centroids = rows.slice(0, clusters * dim);
  const inputs = [
    { shape: [frames, dim], data: rows },
    { shape: [clusters, dim], data: centroids },
  ];
  await using program = await compileOp('kmeans_assign', inputs, {}, [
    { shape: [frames], dtype: 'i32' },
    { shape: [frames] },
  ]);
  const inside: number[] = [];
  await timed(
    async () => {
      await program.run({ 0: rows, 1: centroids });
      inside.push(program.lastSeconds);
    },
    5,
    1,
  );
  const seconds = median(inside.slice(1).sort((a, b) => a - b));
  return {
    clusters,
    dim,
    frames,
    threads,
    assign_s: round(seconds, 5),
    assign_frames_per_s: Math.round(frames / seconds),
    gflops: round((2 * frames * clusters * dim) / seconds / 1e9, 1),
  };
}
