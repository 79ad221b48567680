/** What native/addon/speech.cpp exports. */
// biome-ignore lint/suspicious/noEmptyInterface: filled by the part that needs it
export interface SpeechNative {}
