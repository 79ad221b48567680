/** Which frames are hidden from the model (HuBERT 2106.07447, section II-C; wav2vec 2.0's span masks). */
import type { Philox } from './philox';

export interface MaskOptions {
  /** About this share of the frames would be masked if spans never overlapped. 0 masks nothing. Default 0.8, 0 to 1. */
  probability?: number;
  /** Frames of a span. Default 10. */
  length?: number;
}

/**
 * The mask of one utterance, u8 [frames], 1 = masked: n = max(2, floor(probability * frames / length + U)) distinct starts in
 * {0 .. frames - length - 1}, the union of their spans; so the last frame is never masked. An utterance of fewer than
 * length + 2 frames gets spans of half its frames.
 */
export function drawMask(frames: number, options: MaskOptions, random: Philox): Uint8Array {
  const { probability = 0.8 } = options;
  const mask = new Uint8Array(frames);
  if (probability <= 0 || frames < 2) return mask;
  const wished = options.length ?? 10;
  const length = frames >= wished + 2 ? wished : Math.max(1, Math.floor(frames / 2));
  const places = frames - length;
  const spans = Math.max(2, Math.floor((probability * frames) / length + random.uniform()));
  for (const start of drawDistinct(places, Math.min(spans, places), random)) mask.fill(1, start, start + length);
  return mask;
}

/** Unmasks frames at random until `keep` are left. */
export function thinMask(mask: Uint8Array, keep: number, random: Philox): void {
  const masked = Array.from(mask.keys()).filter((frame) => mask[frame] === 1);
  if (masked.length <= keep) return;
  for (const i of drawDistinct(masked.length, masked.length - keep, random)) mask[masked[i]] = 0;
}

/** `count` different numbers from {0 .. range - 1}. */
function drawDistinct(range: number, count: number, random: Philox): Int32Array {
  const numbers = Int32Array.from({ length: range }, (_, i) => i);
  for (let i = 0; i < count; i++) {
    const j = i + random.below(range - i);
    const swap = numbers[i];
    numbers[i] = numbers[j];
    numbers[j] = swap;
  }
  return numbers.subarray(0, count);
}
