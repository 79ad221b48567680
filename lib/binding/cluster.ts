/** What native/addon/cluster.cpp exports. Fits are known by number; kmeansAdvance and kmeansAssign run on the compute thread. */
export interface NativeKMeansOptions {
  clusters: number;
  dim: number;
  seed: number;
  nInit: number;
  /** Passes over the sample. */
  maxIterations: number;
  /** Rows of a mini-batch. */
  batch: number;
  /** Mini-batches without improvement that end the fit; 0: never. */
  patience: number;
  /** Lloyd: squared centroid movement that ends the fit, as a share of the mean variance of the columns. */
  tolerance: number;
  memoryBytes: number;
  device: string;
  lloyd: boolean;
}

export interface NativeKMeansProgress {
  phase: 'seeding' | 'minibatch' | 'lloyd' | 'done';
  iteration: number;
  total: number;
  /** Mean squared distance to the nearest centroid, as last measured. */
  inertia: number;
  done: boolean;
}

export interface NativeKMeansResult {
  centroids: Float32Array;
  /** Sum of squared distances over the sample. */
  inertia: number;
  iterations: number;
  rowsSeen: number;
  rowsUsed: number;
  /** Rows that fit into the memory budget. */
  capacity: number;
}

export interface ClusterNative {
  kmeansCreate(options: NativeKMeansOptions): number;
  /** Returns the rows seen so far. */
  kmeansAppend(fit: number, rows: Float32Array): number;
  kmeansAdvance(fit: number): Promise<NativeKMeansProgress>;
  kmeansResult(fit: number): NativeKMeansResult;
  kmeansDispose(fit: number): void;
  kmeansAssign(
    rows: Float32Array,
    centroids: Float32Array,
    dim: number,
  ): Promise<{ labels: Int32Array; distances: Float32Array }>;
}
