/** What native/addon/audio.cpp exports. */
// biome-ignore lint/suspicious/noEmptyInterface: filled by the part that needs it
export interface AudioNative {}
