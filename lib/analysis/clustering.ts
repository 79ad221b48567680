/**
 * How clusters and phones go together. p_ij = share of the frames with phone i and cluster j; p_i, p_j its margins; logarithms are
 * natural and 0 ln 0 = 0. Measures of HuBERT (arXiv 2106.07447, section IV.D).
 */
import { HubertkitError } from '../errors';

export interface ClusteringMeasures {
  /** Frames that have both a phone and a cluster. */
  frames: number;
  /** sum_j max_i p_ij: accuracy of the phone that each cluster stands for. */
  phonePurity: number;
  /** sum_i max_j p_ij: accuracy of the cluster that each phone stands for. Falls as clusters are added. */
  clusterPurity: number;
  /** MI = sum_ij p_ij ln(p_ij / (p_i p_j)), in nats. */
  mutualInformation: number;
  /** H(phone) = -sum_i p_i ln p_i, in nats. */
  phoneEntropy: number;
  /** H(cluster) = -sum_j p_j ln p_j, in nats. */
  clusterEntropy: number;
  /** PNMI = MI / H(phone): 1 when the cluster tells the phone, 0 when it says nothing. 0 when there is only one phone. */
  pnmi: number;
  /** What PNMI comes to for independent labels: (R - 1)(C - 1) / (2 N H(phone)), R phones and C clusters in use, at most 1. */
  chancePnmi: number;
  /** exp(H(cluster)): as many equally frequent clusters would have this entropy. */
  clusterPerplexity: number;
  /** Clusters with at least one frame. */
  activeClusters: number;
  activePhones: number;
}

/** Counts of (phone, cluster), filled utterance by utterance. */
export class Contingency {
  private readonly counts: Float64Array;

  constructor(
    readonly phones: number,
    readonly clusters: number,
  ) {
    if (!(Number.isInteger(phones) && Number.isInteger(clusters) && phones > 0 && clusters > 0))
      throw new HubertkitError('HK_ARGUMENT', `phones and clusters must be whole numbers from 1, got ${phones} and ${clusters}.`);
    this.counts = new Float64Array(phones * clusters);
  }

  /** Adds the frames of one utterance; a frame with a negative phone or cluster is left out. Throws HK_MISMATCH, HK_ARGUMENT. */
  add(phones: ArrayLike<number>, clusters: ArrayLike<number>): void {
    if (phones.length !== clusters.length)
      throw new HubertkitError('HK_MISMATCH', `${phones.length} frames with phones, ${clusters.length} with clusters.`);
    for (let t = 0; t < phones.length; t++) {
      const [i, j] = [phones[t], clusters[t]];
      if (i < 0 || j < 0) continue;
      if (!(i < this.phones && j < this.clusters))
        throw new HubertkitError('HK_ARGUMENT', `frame ${t}: phone ${i} of ${this.phones}, cluster ${j} of ${this.clusters}.`);
      this.counts[i * this.clusters + j]++;
    }
  }

  /** All measures of the frames added so far; all 0 when there are none. */
  measures(): ClusteringMeasures {
    const { counts, phones, clusters } = this;
    const byPhone = new Float64Array(phones);
    const byCluster = new Float64Array(clusters);
    const bestPhone = new Float64Array(clusters);
    let frames = 0;
    let clusterPurity = 0;
    for (let i = 0; i < phones; i++) {
      let best = 0;
      for (let j = 0; j < clusters; j++) {
        const n = counts[i * clusters + j];
        byPhone[i] += n;
        byCluster[j] += n;
        bestPhone[j] = Math.max(bestPhone[j], n);
        best = Math.max(best, n);
      }
      frames += byPhone[i];
      clusterPurity += best;
    }
    const total = Math.max(frames, 1);
    const phoneEntropy = entropy(byPhone);
    const clusterEntropy = entropy(byCluster);
    const mutualInformation = Math.max(0, phoneEntropy + clusterEntropy - entropy(counts));
    const activePhones = byPhone.filter((n) => n > 0).length;
    const activeClusters = byCluster.filter((n) => n > 0).length;
    const chance = ((activePhones - 1) * (activeClusters - 1)) / (2 * total * phoneEntropy);
    return {
      frames,
      phonePurity: bestPhone.reduce((sum, n) => sum + n, 0) / total,
      clusterPurity: clusterPurity / total,
      mutualInformation,
      phoneEntropy,
      clusterEntropy,
      pnmi: phoneEntropy > 0 ? Math.min(1, mutualInformation / phoneEntropy) : 0,
      chancePnmi: phoneEntropy > 0 ? Math.min(1, chance) : 0,
      clusterPerplexity: Math.exp(clusterEntropy),
      activeClusters,
      activePhones,
    };
  }
}

/** {@link Contingency} of one pair of label sequences. */
export function clusteringMeasures(
  phones: ArrayLike<number>,
  clusters: ArrayLike<number>,
  sizes: { phones: number; clusters: number },
): ClusteringMeasures {
  const contingency = new Contingency(sizes.phones, sizes.clusters);
  contingency.add(phones, clusters);
  return contingency.measures();
}

/** H = -sum (n / N) ln(n / N) of counts, in nats; 0 for no counts. */
export function entropy(counts: ArrayLike<number>): number {
  let total = 0;
  let sum = 0;
  for (let i = 0; i < counts.length; i++) {
    if (!(counts[i] > 0)) continue;
    total += counts[i];
    sum += counts[i] * Math.log(counts[i]);
  }
  return total > 0 ? Math.max(0, Math.log(total) - sum / total) : 0;
}

/** Mean length, in frames, of runs of the same label; runs end with their utterance. 0 when there are no frames. */
export function meanSegmentLength(utterances: Iterable<ArrayLike<number>>): number {
  let frames = 0;
  let segments = 0;
  for (const labels of utterances) {
    frames += labels.length;
    for (let t = 0; t < labels.length; t++) if (t === 0 || labels[t] !== labels[t - 1]) segments++;
  }
  return segments > 0 ? frames / segments : 0;
}
