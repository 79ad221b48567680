/**
 * The masks of pretraining (HuBERT, 2106.07447, section III-B; fairseq compute_mask_indices, mask_type static): spans of frames
 * that the model has to predict from what is left. Drawn from counters: a function of (seed, draw, row) alone.
 */
import { Philox, type Seed } from '../data/philox';

export interface MaskOptions {
  /** Share of the frames that would be masked if spans did not overlap. */
  probability: number;
  /** Frames of a span. */
  length: number;
}

const maskStream = 0x6d00_0000;

/**
 * The masks of a batch, u8 [rows * frames], 1 where masked. A row gets n = max(2, floor(probability * frames / length + U))
 * spans with distinct starts in 0 .. frames - length - 1, so that its last frame is never masked; spans may overlap. Rows are
 * then thinned at random to the number of masked frames of the smallest. Rows of length + 1 frames or fewer are not masked.
 */
export function pretrainingMasks(
  rows: number,
  frames: number,
  { probability, length }: MaskOptions,
  seed: Seed,
  draw: Seed,
): Uint8Array {
  const masks = new Uint8Array(rows * frames);
  const starts = frames - length;
  if (starts < 1) return masks;
  const chosen: number[][] = [];
  for (let row = 0; row < rows; row++) {
    const random = new Philox(seed, draw, maskStream + row);
    const spans = Math.min(starts, Math.max(2, Math.floor((probability * frames) / length + random.uniform())));
    const mask = masks.subarray(row * frames, (row + 1) * frames);
    for (const start of distinct(spans, starts, random)) mask.fill(1, start, start + length);
    chosen.push(random.shuffle(masked(mask)));
  }
  const smallest = Math.min(...chosen.map((list) => list.length));
  chosen.forEach((list, row) => {
    for (const frame of list.slice(smallest)) masks[row * frames + frame] = 0;
  });
  return masks;
}

/** `count` distinct numbers below `limit`. */
function distinct(count: number, limit: number, random: Philox): Set<number> {
  const numbers = new Set<number>();
  while (numbers.size < count) numbers.add(random.below(limit));
  return numbers;
}

function masked(mask: Uint8Array): number[] {
  const frames: number[] = [];
  mask.forEach((value, frame) => {
    if (value) frames.push(frame);
  });
  return frames;
}
