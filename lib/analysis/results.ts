/** The files of analysis/: what was measured of one checkpoint. */
import type { AnalysisMetric } from './metrics';
import type { CommonSettings, MeasureSettings } from './settings';

/** One layer; 0 is the input of the transformer, l the output of block l. A measure that was not asked for is absent. */
export interface LayerAnalysis {
  layer: number;
  /** Clusters of frames against phones (see ClusteringMeasures). */
  pnmi?: number;
  phonePurity?: number;
  clusterPurity?: number;
  activeClusters?: number;
  clusterPerplexity?: number;
  /** Mean length of runs of the same cluster, in frames. */
  meanSegmentLength?: number;
  /** Mutual information of labels and clusters of mean-pooled segments, in nats. */
  phoneInformation?: number;
  wordInformation?: number;
  /** Linear CKA (debiased) with layer 0 and with 80 log-mel energies. */
  ckaLayer0?: number;
  ckaLogMel?: number;
  /** PWCCA and SVCCA with layer 0 and log-mel of frames, and with one-hot phones and words of mean-pooled segments. */
  pwccaLayer0?: number;
  pwccaLogMel?: number;
  pwccaPhone?: number;
  pwccaWord?: number;
  svccaLayer0?: number;
  svccaLogMel?: number;
  svccaPhone?: number;
  svccaWord?: number;
  /** Accuracy of linear probes: phones of frames, words of mean-pooled segments, speakers of frames of unheard utterances. */
  phoneProbeAccuracy?: number;
  wordProbeAccuracy?: number;
  speakerProbeAccuracy?: number;
  rankMe?: number;
  /** This layer against itself at the kept checkpoint before. */
  ckaPrevious?: number;
  cosineDistancePrevious?: number;
  /** ABX errors, 0 to 1; chance is 0.5. */
  abxWithin?: number;
  abxAcross?: number;
}

/** What independent labels come to; of probes, the accuracy of always guessing the most frequent label. */
export interface Chance {
  pnmi?: number;
  phoneInformation?: number;
  wordInformation?: number;
  phoneProbeAccuracy?: number;
  wordProbeAccuracy?: number;
  speakerProbeAccuracy?: number;
}

/** analysis/<iteration-N>-<step-NNNNNN>.json */
export interface CheckpointAnalysis {
  checkpoint: string;
  iteration: number;
  update: number;
  totalUpdates: number;
  audioSeconds: number;
  layers: LayerAnalysis[];
  /** Of ckaLayer0 (see autoencoderIndex), and of pwccaLayer0. */
  autoencoderIndex?: number;
  autoencoderIndexCca?: number;
  /** Of PNMI, and of pwccaPhone: what the top layer has lost against the best. */
  dropAtTop?: number;
  dropAtTopCca?: number;
  /** The same network before its first update, measured alike: the control. */
  random?: { layers: LayerAnalysis[] };
  /** k-means of the same K on 39 MFCCs, measured alike: the labels of the first iteration. */
  mfcc?: { pnmi: number; phonePurity: number; clusterPurity: number };
  chance?: Chance;
  /** K of the clusters of frames. */
  clusters: number;
  /** Test frames with a phone. */
  frames: number;
  phones: number;
  speakers: { fit: number; test: number; unseen: boolean };
  settings: CommonSettings;
  /** The measures that the file holds, each with the settings that decide it. */
  measured: Partial<Record<AnalysisMetric, Partial<MeasureSettings> & { previous?: string }>>;
}
