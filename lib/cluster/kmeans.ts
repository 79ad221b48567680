/** k-means over a stream of rows, fitted natively under a memory budget. */
import type { NativeKMeansProgress } from '../binding/cluster';
import { wrapped, wrappedAsync } from '../binding/index';
import { HubertkitError } from '../errors';
import { fingerprintOf } from './codebook';

export interface KmeansProgress {
  /** reading: rows are taken in; seeding: k-means++; then the method; done: the inertia of the sample is known. */
  phase: 'reading' | NativeKMeansProgress['phase'];
  /** Rows read, centroids seeded, mini-batches, or Lloyd iterations so far. */
  iteration: number;
  /** The most that `iteration` can reach in this phase; 0 while reading. */
  total: number;
  /** Mean squared distance to the nearest centroid, as last measured. */
  inertia: number;
}

export interface KmeansOptions {
  /** Number of centroids K. */
  clusters: number;
  /** Columns of a row. */
  dim: number;
  /** Whole number from 0; the result depends on it, on the rows and on these options alone. Default 0. */
  seed?: number;
  /** minibatch: scikit-learn's MiniBatchKMeans as HuBERT uses it; lloyd: full iterations. Default minibatch. */
  method?: 'minibatch' | 'lloyd';
  /** k-means++ seedings, of which the best is taken. Default 20. */
  nInit?: number;
  /** For the rows and everything beside them; more rows than fit are sampled uniformly. Default 1 GiB. */
  memoryBytes?: number;
  /** Passes over the sample. Default 100. */
  maxIterations?: number;
  /** Rows of a mini-batch. Default 10000. */
  batchSize?: number;
  /** Mini-batches without improvement of the smoothed inertia that end the fit; 0: never. Default 100. */
  maxNoImprovement?: number;
  /** Lloyd: squared centroid movement that ends the fit, as a share of the mean variance of the columns. Default 1e-4. */
  tolerance?: number;
  /** Where rows are assigned and centroids move; their seeding stays on the CPU. 'cpu', 'cuda' or 'cuda:N'. Default 'cpu'. */
  device?: string;
  onProgress?: (progress: KmeansProgress) => void;
  signal?: AbortSignal;
}

export interface KmeansFit {
  /** [clusters, dim], row-major. */
  centroids: Float32Array;
  clusters: number;
  dim: number;
  seed: number;
  /** Sum over the rows used of the squared distance to the nearest centroid. */
  inertia: number;
  /** Mini-batches or Lloyd iterations. */
  iterations: number;
  rowsSeen: number;
  /** Rows of the sample that the centroids were fitted on. */
  rowsUsed: number;
  /** See {@link Codebook.fingerprint}. */
  fingerprint: string;
}

/**
 * Fits `clusters` centroids to the rows of `source`, whose arrays hold whole rows of `dim` values each. How the rows are cut into
 * arrays makes no difference. The defaults are HuBERT's (arXiv 2106.07447, section IV.B, and fairseq's learn_kmeans.py): mini-batches
 * of 10000, k-means++, n_init 20, at most 100 passes, stop after 100 batches without improvement. Throws HK_ARGUMENT (fewer rows than
 * clusters, a value that is not finite, a setting out of range), HK_SHAPE (not whole rows), HK_MEMORY (the budget does not hold
 * `clusters` rows, or the device not the sample), HK_NO_DEVICE, HK_DEVICE, HK_INTERRUPTED (`signal`).
 */
export async function fitKmeans(
  source: AsyncIterable<Float32Array> | Iterable<Float32Array>,
  options: KmeansOptions,
): Promise<KmeansFit> {
  const { clusters, dim, seed = 0, onProgress, signal } = options;
  const fit = wrapped((native) =>
    native.kmeansCreate({
      clusters,
      dim,
      seed,
      nInit: options.nInit ?? 20,
      maxIterations: options.maxIterations ?? 100,
      batch: options.batchSize ?? 10000,
      patience: options.maxNoImprovement ?? 100,
      tolerance: options.tolerance ?? 1e-4,
      memoryBytes: options.memoryBytes ?? 2 ** 30,
      device: options.device ?? 'cpu',
      lloyd: options.method === 'lloyd',
    }),
  );
  try {
    for await (const rows of source) {
      checkSignal(signal);
      const seen = wrapped((native) => native.kmeansAppend(fit, rows));
      onProgress?.({ phase: 'reading', iteration: seen, total: 0, inertia: 0 });
    }
    for (let done = false; !done; ) {
      checkSignal(signal);
      const progress = await wrappedAsync((native) => native.kmeansAdvance(fit));
      done = progress.done;
      onProgress?.({ ...progress });
    }
    const { centroids, inertia, iterations, rowsSeen, rowsUsed } = wrapped((native) => native.kmeansResult(fit));
    const fingerprint = fingerprintOf(centroids, clusters, dim);
    return { centroids, clusters, dim, seed, inertia, iterations, rowsSeen, rowsUsed, fingerprint };
  } finally {
    wrapped((native) => native.kmeansDispose(fit));
  }
}

function checkSignal(signal?: AbortSignal): void {
  if (signal?.aborted)
    throw new HubertkitError('HK_INTERRUPTED', 'The k-means fit was interrupted.', { cause: signal.reason });
}
