/** Times k-means: the assignment of frames to centroids, one Lloyd iteration, 100 mini-batch steps with k-means++. */
import * as os from 'node:os';
import { wrappedAsync } from '../binding';
import { fitKmeans, type KmeansOptions } from '../cluster/kmeans';
import { compileOp } from '../nn/call';
import { median, pseudoRandom, round } from './median';

export interface KmeansBenchOptions {
  clusters: number;
  dim: number;
  frames: number;
  /** Where frames are assigned and centroids moved. Default 'cpu'. */
  device?: string;
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

/** Rows, and k-means on them, to be timed piece by piece. */
export interface KmeansWork extends AsyncDisposable {
  /** [frames, dim]; the first `clusters` rows are the centroids of `assign`. */
  rows: Float32Array;
  /** Seconds inside the op of one assignment of all frames. */
  assign(): Promise<number>;
  /** The labels that it gives. */
  labels(): Promise<Int32Array>;
  /** Seconds of each of `iterations` Lloyd iterations. */
  lloyd(iterations: number): Promise<number[]>;
  /** Seconds of one k-means++ seeding and 100 mini-batch steps. */
  minibatch(): Promise<number>;
}

export async function kmeansWork(options: KmeansBenchOptions): Promise<KmeansWork> {
  const { clusters, dim, frames, device, threads = os.availableParallelism() } = options;
  await wrappedAsync((n) => n.setThreads(threads));
  const random = pseudoRandom(1);
  const rows = new Float32Array(frames * dim);
  for (let i = 0; i < rows.length; i++) rows[i] = random() - 0.5;
  const centroids = rows.slice(0, clusters * dim);
  const inputs = [
    { shape: [frames, dim], data: rows },
    { shape: [clusters, dim], data: centroids },
  ];
  const outputs = [{ shape: [frames], dtype: 'i32' as const }, { shape: [frames] }];
  const program = await compileOp('kmeans_assign', inputs, {}, outputs, { device });
  const feeds = { 0: rows, 1: centroids };
  // Rows, k-means++ on a subsample, and room to spare: nothing is sampled away.
  const common = { clusters, dim, device, seed: 1, nInit: 1, tolerance: 0, memoryBytes: 8 * rows.byteLength + 2 ** 30 };
  return {
    rows,
    async assign() {
      await program.run(feeds, { profile: true }); // without the rows' way to the device
      return program.lastProfile[0].seconds;
    },
    async labels() {
      return (await program.run(feeds))[0] as Int32Array;
    },
    async lloyd(iterations) {
      return (await phaseSeconds(rows, { ...common, method: 'lloyd', maxIterations: iterations }, 'lloyd')).seconds;
    },
    async minibatch() {
      const batchSize = Math.min(10_000, frames);
      const passes = Math.ceil((100 * batchSize) / frames);
      const fit = { ...common, maxIterations: passes, batchSize, maxNoImprovement: 0 };
      const { seeding, seconds } = await phaseSeconds(rows, fit, 'minibatch');
      return seeding + seconds.slice(0, 100).reduce((sum, s) => sum + s, 0);
    },
    [Symbol.asyncDispose]: () => program[Symbol.asyncDispose](),
  };
}

export async function benchKmeans(options: KmeansBenchOptions): Promise<KmeansBenchResult> {
  const { clusters, dim, frames, device = 'cpu', threads = os.availableParallelism() } = options;
  await using work = await kmeansWork(options);
  const assignments: number[] = [];
  for (let i = 0; i < 6; i++) assignments.push(await work.assign());
  const seconds = median(assignments.slice(1).sort((a, b) => a - b));
  return {
    clusters,
    dim,
    frames,
    device,
    threads,
    assign_s: round(seconds, 5),
    assign_frames_per_s: Math.round(frames / seconds),
    gflops: round((2 * frames * clusters * dim) / seconds / 1e9, 1),
    lloyd_s: round(median((await work.lloyd(6)).sort((a, b) => a - b)), 5),
    minibatch_100_s: round(await work.minibatch(), 4),
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
