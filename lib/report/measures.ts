/** The measures of a layer that the report knows by name. A number that is not in this table is shown under its own name. */
import type { LayerScores } from './read';

const NAMES: Record<string, string> = {
  pnmi: 'PNMI',
  ckaLayer0: 'CKA to layer 0',
  ckaLogMel: 'CKA to log-mel',
  phoneProbeAccuracy: 'Phone probe accuracy',
  wordProbeAccuracy: 'Word probe accuracy',
  speakerProbeAccuracy: 'Speaker probe accuracy',
  pwccaLayer0: 'PWCCA to layer 0',
  pwccaLogMel: 'PWCCA to log-mel',
  pwccaPhone: 'PWCCA to phones',
  pwccaWord: 'PWCCA to words',
  svccaLayer0: 'SVCCA to layer 0',
  svccaLogMel: 'SVCCA to log-mel',
  svccaPhone: 'SVCCA to phones',
  svccaWord: 'SVCCA to words',
  abxWithin: 'ABX error within speakers',
  abxAcross: 'ABX error across speakers',
  phoneInformation: 'Information on phones (nats)',
  wordInformation: 'Information on words (nats)',
  rankMe: 'RankMe',
  ckaPrevious: 'CKA to the checkpoint before',
  cosineDistancePrevious: 'Cosine distance to the checkpoint before',
  phonePurity: 'Phone purity',
  clusterPurity: 'Cluster purity',
  activeClusters: 'Active clusters',
  clusterPerplexity: 'Cluster perplexity',
  meanSegmentLength: 'Segment length (frames)',
};

export interface Measure {
  key: string;
  name: string;
}

/** The measures that these layers have, known ones first. */
export function presentMeasures(layers: LayerScores[]): Measure[] {
  const present = new Set<string>();
  for (const row of layers) {
    for (const [key, value] of Object.entries(row)) if (key !== 'layer' && typeof value === 'number') present.add(key);
  }
  const known = Object.keys(NAMES).filter((key) => present.has(key));
  const others = [...present].filter((key) => !(key in NAMES)).sort();
  return [...known, ...others].map((key) => ({ key, name: NAMES[key] ?? key }));
}
