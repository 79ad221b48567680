/** A labelled stretch of time, in seconds from the start of the utterance. */
export interface Segment {
  label: string;
  start: number;
  end: number;
}

export interface Utterance {
  /** Path below the corpus root without the extension, with `/` between folders: unique in a corpus. */
  id: string;
  /** The audio file. */
  path: string;
  speaker: string;
  /** `train`, `valid` and `test`, or what the corpus says (LibriSpeech: the folder, `train-clean-100`). */
  split: string;
  /** Length at 16 kHz, as the header says it: the decoded waveform may differ by a few samples of resampling. */
  samples: number;
  transcript?: string;
  phones?: Segment[];
  words?: Segment[];
}

/** A file that cannot be used, and why. */
export interface Skipped {
  path: string;
  reason: string;
  /** The code of the error: HK_AUDIO, HK_CORPUS, HK_IO. */
  code: string;
}

export interface Corpus {
  name: string;
  /** The folder that relative paths start from. */
  root: string;
  /** Ordered by id. */
  utterances: Utterance[];
  /** Grows when a file turns out bad at decode time. */
  skipped: Skipped[];
}

/** Everything works at this rate; other rates are resampled. */
export const sampleRate = 16000;

/** The receptive field of one frame and the distance between two, in samples: 25 ms and 20 ms. */
export const frameSamples = 400;
export const frameStride = 320;

/** Number of 20 ms frames of a waveform: floor((samples - 400) / 320) + 1, 0 when it is shorter than one frame. */
export function frameCount(samples: number): number {
  return samples < frameSamples ? 0 : Math.floor((samples - frameSamples) / frameStride) + 1;
}
