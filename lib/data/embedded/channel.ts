import type { NativeChannel } from '../../binding/speech';
import { Philox } from '../philox';

/**
 * The ranges that a channel is drawn from, each uniformly: a change of tilt and one resonance (microphone), an exponentially
 * falling echo (room), coloured noise, level. What each field means: native/speech/channel.h.
 */
export const channelRanges = {
  tilt: [-0.4, 0.6],
  resonanceHz: [300, 3500],
  resonanceDb: [-9, 9],
  resonanceQ: [0.7, 3],
  reverbSeconds: [0.1, 0.35],
  reverbDb: [-14, -3],
  noiseColour: [-0.3, 0.95],
  snrDb: [8, 22],
  gainDb: [-6, 6],
} as const;

/** The channel of one utterance, a function of the corpus seed and the utterance's number only. */
export function drawChannel(seed: number, utterance: number): NativeChannel {
  const random = new Philox(seed, utterance);
  const drawn = Object.entries(channelRanges).map(([name, [low, high]]) => [
    name,
    low + (high - low) * random.uniform(),
  ]);
  return { ...(Object.fromEntries(drawn) as Record<keyof typeof channelRanges, number>), seed, draw: utterance };
}
