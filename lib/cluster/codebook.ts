/** Centroids with their origin: what turns features into labels, and how files say which centroids made them. */
import { wrappedAsync } from '../binding/index';
import { HubertkitError } from '../errors';
import { readSafetensors, writeSafetensors } from '../formats/safetensors';
import { sha256 } from '../formats/sha256';

/** What the centroids are centroids of. */
export interface FeatureKind {
  feature: 'mfcc' | 'layer';
  /** feature 'layer': 0 = transformer input, 1..L = block outputs. null for 'mfcc'. */
  layer: number | null;
}

export interface Assigned {
  /** Nearest centroid of each row; the lowest index wins ties. */
  labels: Int32Array;
  /** Squared Euclidean distance to it. */
  distances: Float32Array;
}

const formatVersion = '1';
const assignRows = 16384; // bounds the copy that the native side works on

/** First 16 hexadecimal digits of sha256(clusters, dim as little-endian u32; centroids as little-endian f32). */
export function fingerprintOf(centroids: Float32Array, clusters: number, dim: number): string {
  const hash = sha256().update(new Uint8Array(new Uint32Array([clusters, dim]).buffer));
  hash.update(new Uint8Array(centroids.buffer, centroids.byteOffset, centroids.byteLength));
  return hash.digest('hex').slice(0, 16);
}

/**
 * Centroids f32 [clusters, dim] and what they are centroids of: MFCC, or a layer's features. `assign` gives each row its nearest (squared
 * Euclidean), `save` and `load` are its file.
 */
export class Codebook implements FeatureKind {
  /** [clusters, dim], row-major. */
  readonly centroids: Float32Array;
  readonly clusters: number;
  readonly dim: number;
  readonly feature: 'mfcc' | 'layer';
  readonly layer: number | null;
  readonly seed: number;
  /** See {@link fingerprintOf}; labels carry it, so that labels of other centroids are refused. */
  readonly fingerprint: string;

  /** `fit`: what {@link fitKmeans} returns. Throws HK_SHAPE, HK_ARGUMENT. */
  constructor(fit: { centroids: Float32Array; clusters: number; dim: number; seed?: number }, kind: FeatureKind) {
    if (fit.centroids.length !== fit.clusters * fit.dim || fit.clusters < 1 || fit.dim < 1)
      throw new HubertkitError(
        'HK_SHAPE',
        `A codebook of ${fit.clusters} x ${fit.dim} needs ${fit.clusters * fit.dim} values, got ${fit.centroids.length}.`,
      );
    if ((kind.feature === 'layer') !== Number.isInteger(kind.layer))
      throw new HubertkitError(
        'HK_ARGUMENT',
        `A codebook of layer features needs its layer, one of MFCC features has none; got ${kind.feature}, layer ${kind.layer}.`,
      );
    this.centroids = fit.centroids;
    this.clusters = fit.clusters;
    this.dim = fit.dim;
    this.seed = fit.seed ?? 0;
    this.feature = kind.feature;
    this.layer = kind.layer;
    this.fingerprint = fingerprintOf(this.centroids, this.clusters, this.dim);
  }

  /** Labels of `rows` ([n, dim], row-major). Throws HK_SHAPE. */
  assign(rows: Float32Array): Promise<Assigned> {
    return assignClusters(rows, this);
  }

  /** Writes `file` (safetensors: `centroids` F32 [clusters, dim], the rest in the metadata), whole or not at all. Throws HK_IO. */
  async save(file: string): Promise<void> {
    const tensor = { dtype: 'F32' as const, shape: [this.clusters, this.dim], data: this.centroids };
    const metadata: Record<string, string> = {
      format: formatVersion,
      fingerprint: this.fingerprint,
      feature: this.feature,
      seed: String(this.seed),
    };
    if (this.layer !== null) metadata.layer = String(this.layer);
    await writeSafetensors(file, new Map([['centroids', tensor]]), metadata);
  }

  /** Reads what {@link save} wrote. Throws HK_IO, HK_FORMAT, and HK_MISMATCH when the centroids are not those of the fingerprint. */
  static async load(file: string): Promise<Codebook> {
    const { tensors, metadata } = await readSafetensors(file);
    const tensor = tensors.get('centroids');
    if (tensor?.dtype !== 'F32' || tensor.shape.length !== 2)
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}: a codebook holds "centroids", F32 of two dimensions; found ${tensor ? `${tensor.dtype} [${tensor.shape}]` : [...tensors.keys()].join(', ') || 'nothing'}.`,
      );
    if (metadata.format !== formatVersion)
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}: codebook format ${metadata.format ?? '(none)'}; this version reads ${formatVersion}.`,
      );
    const { feature, layer } = metadata;
    if (feature !== 'mfcc' && !(feature === 'layer' && /^\d+$/.test(layer ?? '')))
      throw new HubertkitError(
        'HK_FORMAT',
        `${file}: feature must be mfcc, or layer with its number; found ${feature}, layer ${layer}.`,
      );
    const [clusters, dim] = tensor.shape;
    const codebook = new Codebook(
      { centroids: tensor.data as Float32Array, clusters, dim, seed: Number(metadata.seed ?? 0) },
      { feature, layer: feature === 'layer' ? Number(layer) : null },
    );
    if (codebook.fingerprint !== metadata.fingerprint)
      throw new HubertkitError(
        'HK_MISMATCH',
        `${file}: the centroids have fingerprint ${codebook.fingerprint}, the file says ${metadata.fingerprint}. The file is damaged: make it again.`,
      );
    return codebook;
  }
}

/** The nearest centroid of each of `rows` ([n, dim], row-major). Throws HK_SHAPE. */
export async function assignClusters(
  rows: Float32Array,
  codebook: { centroids: Float32Array; dim: number },
): Promise<Assigned> {
  const { centroids, dim } = codebook;
  if (rows.length % dim !== 0)
    throw new HubertkitError('HK_SHAPE', `${rows.length} values are not whole rows of ${dim}.`);
  const count = rows.length / dim;
  const labels = new Int32Array(count);
  const distances = new Float32Array(count);
  // Two parts in flight: one is copied in while the other is computed.
  const running: Promise<void>[] = [];
  for (let begin = 0; begin < count; begin += assignRows) {
    const part = rows.subarray(begin * dim, Math.min(begin + assignRows, count) * dim);
    running.push(
      wrappedAsync((native) => native.kmeansAssign(part, centroids, dim)).then((result) => {
        labels.set(result.labels, begin);
        distances.set(result.distances, begin);
      }),
    );
    if (running.length > 1) await running.shift();
  }
  await Promise.all(running);
  return { labels, distances };
}
