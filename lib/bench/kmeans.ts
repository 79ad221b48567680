/** Times k-means: the assignment of frames to centroids, one Lloyd iteration, 100 mini-batch steps with k-means++. */
import * as os from 'node:os';
import { wrappedAsync } from '../binding';
import { fitKmeans, type KmeansOptions } from '../cluster/kmeans';
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
  /** Seconds of one Lloyd iteration: assignment and new centroids. */
  lloyd_s: number;
  /** Seconds of one k-means++ seeding and 100 mini-batch steps of 10000 rows (all rows where there are fewer). */
  minibatch_100_s: number;
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
    ...(await benchFits(rows, clusters, dim)),
  };
}

async function benchFits(rows: Float32Array, clusters: number, dim: number) {
  const frames = rows.length / dim;
  const batch = Math.min(10_000, frames);
  // Rows, k-means++ on a subsample, and room to spare: nothing is sampled away.
  const common = { clusters, dim, seed: 1, nInit: 1, tolerance: 0, memoryBytes: 8 * rows.byteLength + 2 ** 30 };
  const iterations = await phaseSeconds(rows, { ...common, method: 'lloyd', maxIterations: 6 }, 'lloyd');
  const passes = Math.floor((100 * batch) / frames) + 1;
  const fit = { ...common, maxIterations: passes, batchSize: batch, maxNoImprovement: 0 };
  const steps = await phaseSeconds(rows, fit, 'minibatch');
  return {
    lloyd_s: round(median(iterations.seconds.sort((a, b) => a - b)), 5),
    minibatch_100_s: round(steps.seeding + steps.seconds.slice(0, 100).reduce((sum, s) => sum + s, 0), 4),
  };
}

/** Seconds of the seeding and of each iteration of a fit. */
async function phaseSeconds(rows: Float32Array, options: KmeansOptions, phase: 'lloyd' | 'minibatch') {
  const seconds: number[] = [];
  let seeding = 0;
  let before = 0;
  let iteration = 0;
  await fitKmeans([rows], {
    ...options,
    onProgress: (progress) => {
      const now = performance.now();
      const passed = (now - before) / 1000;
      if (progress.phase === 'seeding') seeding += passed;
      else if (progress.phase === phase && progress.iteration === 0)
        seeding += passed; // the last of the seeding
      else if (progress.phase !== 'reading' && progress.iteration > iteration) {
        seconds.push(passed);
        iteration = progress.iteration;
      }
      before = now;
    },
  });
  return { seeding, seconds };
}
