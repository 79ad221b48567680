// One audio file -> 16 kHz mono float32 in +-1.
//   file -> (bounded reads) -> libsndfile -> mean of the channels -> soxr HQ -> samples
// The content decides the format, never the extension. Nothing a header says is trusted for allocation or length: what can be
// decoded is counted, and a file that holds less than it claims is refused rather than padded or silently shortened.
#pragma once
#include <stdint.h>

#include <string>
#include <vector>

namespace hk::audio {

constexpr int kRate = 16000;
constexpr int kMinSamples = 400;  // one frame of the model

struct SourceInfo {
  int64_t frames = -1;  // as the header says; -1: the header leaves it open
  int rate = 0;
  int channels = 0;
  std::string format;
};

struct Decoded {
  SourceInfo source;  // frames: what was decoded
  std::vector<float> samples;
  std::vector<std::string> warnings;
};

// Reads the header only. Throws HK_AUDIO.
SourceInfo probe(const std::string& path);

// Decodes, mixes down and resamples. Throws HK_AUDIO: unreadable, not audio, empty, shorter than kMinSamples, longer than
// max_seconds, fewer frames than the header claims, damaged, non-finite samples, absurd rate or channel count.
Decoded decode(const std::string& path, double max_seconds);

}  // namespace hk::audio
