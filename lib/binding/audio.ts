/** What native/addon/audio.cpp exports. All work on libuv workers; errors are HK_AUDIO and HK_ARGUMENT. */
export interface NativeAudioSource {
  /** At the source's own rate; -1: the header leaves the length open. */
  frames: number;
  sampleRate: number;
  channels: number;
  format: string;
}

export interface NativeDecoded extends NativeAudioSource {
  /** 16 kHz mono. */
  samples: Float32Array;
  warnings: string[];
}

export interface AudioNative {
  probeAudio(path: string): Promise<NativeAudioSource>;
  decodeAudio(path: string, maxSeconds: number): Promise<NativeDecoded>;
  /** [floor((samples - 400) / 160) + 1, 39], row-major. */
  mfcc(samples: Float32Array): Promise<Float32Array>;
  /** [floor((samples - 400) / shift) + 1, filters], row-major. */
  logMel(samples: Float32Array, filters: number, shift: number): Promise<Float32Array>;
}
