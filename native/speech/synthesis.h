// Speech with exact phone and word times, from flite's four bundled voices (built with HK_FLITE only).
//
// Nothing here is safe to call from two threads of one process: the statistical voices (slt, rms, awb) draw the noise of their mixed
// excitation from the C library's rand(), which belongs to the whole process. synthesise() therefore calls srand() first, so that
// the same request always gives the same samples, and parallel synthesis takes several processes.
#pragma once
#include <string>
#include <vector>

namespace hk {

struct SpeechRequest {
  std::string voice;  // slt, rms, awb, kal16
  std::string text;   // printable ASCII, one sentence
  double f0;          // mean pitch of the result, Hz
  double f0_range;    // its standard deviation, Hz
  double stretch;     // duration factor of the result: 1.1 is slower
  double formant;     // all resonances of the vocal tract times this: 1.05 is a shorter tract
};

struct Speech {
  std::vector<float> waveform;  // 16 kHz, in [-1, 1)
  // Phone i lasts from phone_ends[i - 1] (0 for the first) to phone_ends[i], in seconds; the last one ends with the waveform.
  std::vector<std::string> phones;
  std::vector<double> phone_ends;
  // One entry for each whitespace-separated word of the text, without its punctuation.
  std::vector<std::string> words;
  std::vector<double> word_starts, word_ends;
};

// The voices that this build has. Throws HK_NOT_BUILT without flite, as synthesise() does.
std::vector<std::string> speech_voices();

// Throws HK_ARGUMENT for an unknown voice, HK_INTERNAL when flite's structures are not what they should be.
Speech synthesise(const SpeechRequest& request);

// Writes mono 16-bit FLAC of `rate` Hz. Throws HK_IO.
void write_flac(const std::string& path, const std::vector<float>& waveform, int rate = 16000);

}  // namespace hk
