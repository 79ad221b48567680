/**
 * SpecAugment-like masks of fine-tuning (wav2vec 2.0, 2006.11477, section 4.3 and appendix B): spans of frames get the mask
 * embedding, spans of channels become 0. Drawn from counters: a function of (seed, update, row) alone.
 */
import { Philox } from '../data/philox';

export interface SpanMask {
  /** Expected share of starts times the span length: n = floor(probability * size / length + U) spans. 0: no mask. */
  probability: number;
  /** Frames or channels of a span. */
  length: number;
}

const timeStream = 0x7100_0000;
const channelStream = 0x7200_0000;

/**
 * Distinct starts, spans may overlap (fairseq compute_mask_indices, mask_type static, no minimal space): 1 where masked.
 */
export function spanMask(size: number, { probability, length }: SpanMask, random: Philox): Uint8Array {
  const mask = new Uint8Array(size);
  const starts = size - length;
  if (probability <= 0 || starts < 1) return mask;
  const spans = Math.min(starts, Math.floor((probability * size) / length + random.uniform()));
  const chosen = new Set<number>();
  while (chosen.size < spans) {
    const start = random.below(starts);
    if (chosen.has(start)) continue;
    chosen.add(start);
    mask.fill(1, start, start + length);
  }
  return mask;
}

/** Time mask of a batch, u8 [B, T]: each row masked within its own length. */
export function timeMasks(
  frameLengths: Int32Array,
  frames: number,
  o: SpanMask,
  seed: number,
  update: number,
): Uint8Array {
  const masks = new Uint8Array(frameLengths.length * frames);
  frameLengths.forEach((length, row) => {
    masks.set(spanMask(length, o, new Philox(seed, update, timeStream + row)), row * frames);
  });
  return masks;
}

/** Channel mask of a batch, u8 [B, D]. */
export function channelMasks(rows: number, channels: number, o: SpanMask, seed: number, update: number): Uint8Array {
  const masks = new Uint8Array(rows * channels);
  for (let row = 0; row < rows; row++) {
    masks.set(spanMask(channels, o, new Philox(seed, update, channelStream + row)), row * channels);
  }
  return masks;
}
