// Log-mel energies and MFCCs exactly as Kaldi defines them (25 ms Povey windows, DC removed, pre-emphasis 0.97, 512-point power
// spectrum, triangular mel filters from 20 Hz to 8 kHz, no dither, snip edges), from 16 kHz samples in +-1.
#pragma once
#include <stddef.h>

namespace hk::audio {

constexpr int kWindow = 400;          // samples of a frame
constexpr int kFrameShift = 160;      // 10 ms: 100 frames a second
constexpr int kModelShift = 320;      // 20 ms: the frames of the model; frame i is MFCC frame 2i
constexpr int kMfccFilters = 23, kMfccs = 13, kMfccFeatures = 39;
constexpr int kMaxFilters = 128;      // more would leave filters without any spectral line

// floor((samples - 400) / shift) + 1, 0 for fewer than 400 samples.
size_t frame_count(size_t samples, int shift);

// features[frame_count(samples, shift), filters]: natural logarithm of the mel energies, floored at 2^-23 (float's epsilon).
void log_mel(const float* wave, size_t samples, int shift, int filters, float* features);

// features[frame_count(samples, 160), 39]: 13 liftered cepstra (C0 first), their deltas, and the deltas of those.
void mfcc39(const float* wave, size_t samples, float* features);

}  // namespace hk::audio
