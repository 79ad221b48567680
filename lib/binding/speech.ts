/** What native/addon/speech.cpp exports. Without flite the first two throw HK_NOT_BUILT. */

/** A sentence and who says it. */
export interface NativeSpeechRequest {
  voice: string;
  /** 1 to 1000 printable ASCII characters. */
  text: string;
  /** Mean pitch and its standard deviation, Hz. */
  f0: number;
  f0Range: number;
  /** Factor on all durations. */
  stretch: number;
  /** Factor on all resonance frequencies. */
  formant: number;
}

/** The random channel of one utterance: native/speech/channel.h. */
export interface NativeChannel {
  tilt: number;
  resonanceHz: number;
  resonanceDb: number;
  resonanceQ: number;
  reverbSeconds: number;
  reverbDb: number;
  noiseColour: number;
  snrDb: number;
  gainDb: number;
  seed: number;
  draw: number;
}

/** Times in seconds. Phone i starts where phone i - 1 ends, the first at 0; the last ends with the audio. */
export interface NativeSpeech {
  samples: number;
  phones: string[];
  phoneEnds: number[];
  words: string[];
  wordStarts: number[];
  wordEnds: number[];
}

export interface SpeechNative {
  speechVoices(): string[];
  /**
   * Says the sentence, sends it through the channel (`null`: only levels it) and writes 16 kHz mono 16-bit FLAC. Calls srand():
   * not for two threads of one process.
   */
  renderSpeech(request: NativeSpeechRequest, channel: NativeChannel | null, path: string): NativeSpeech;
  /** Mono, 16 bit. Blocks the caller. */
  writeFlac(path: string, waveform: Float32Array, hz: number): void;
  speechChannel(waveform: Float32Array, channel: NativeChannel): Float32Array;
}
