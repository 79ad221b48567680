// Convolution of a one-channel waveform, channels in the vector lanes: the inner loops of conv0_norm_gelu and of conv1d with one
// input channel. A frame's window of K samples meets sixteen channels at a time, whose K weights stay in registers (K = 10, the only
// kernel that HuBERT uses; any other K takes the loop with K read at run time).
//
//   wave      padded so that reads past the last window stay inside (kWavePad samples)
//   weights   [K, lanes]: channel-minor, `lanes` = channels rounded up to 16, zero where there is no channel
#pragma once
#include "cpu/simd.h"

namespace hk {
namespace HK_ISA {

const int64_t kWavePad = 16;

static inline int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

// [C, K] (Hugging Face's [C, 1, K]) -> [K, lanes].
static inline void pack_wave_weights(const float* w, int64_t channels, int64_t k, float* packed) {
  const int64_t lanes = round16(channels);
  for (int64_t j = 0; j < k; j++)
    for (int64_t c = 0; c < lanes; c++) packed[j * lanes + c] = c < channels ? w[c * k + j] : 0.0f;
}

static inline void store_lanes(float* p, v16 v, int64_t channels_left) {
  if (channels_left >= 16) store(p, v);
  else store_n(p, v, (int)channels_left);
}
static inline v16 load_lanes(const float* p, int64_t channels_left) {
  return channels_left >= 16 ? load(p) : load_n(p, (int)channels_left);
}

// Frames at a time whose activations stay in the first-level cache.
static inline int64_t wave_block(int64_t channels) {
  const int64_t frames = 8192 / (channels ? channels : 1);
  return frames < 16 ? 16 : frames > 256 ? 256 : frames;
}

template <int K>
struct WaveTaps {  // the weights of sixteen channels
  v16 w[K];
  WaveTaps(const float* weights, int64_t lanes, int64_t) {
    for (int j = 0; j < K; j++) w[j] = load(weights + j * lanes);
  }
  v16 operator()(const float* window, v16 start) const {
    v16 z = start;
    for (int j = 0; j < K; j++) z += w[j] * window[j];
    return z;
  }
};
template <>
struct WaveTaps<0> {
  const float* w;
  int64_t lanes, k;
  WaveTaps(const float* weights, int64_t lanes_, int64_t k_) : w(weights), lanes(lanes_), k(k_) {}
  v16 operator()(const float* window, v16 start) const {
    v16 z = start;
    for (int64_t j = 0; j < k; j++) z += load(w + j * lanes) * window[j];
    return z;
  }
};

// visit(t, c, z) for every frame t in [begin, end) and every sixteen channels from c: z = bias + weights . window(t).
template <int K, class Visit>
static inline void wave_conv(const float* wave, int64_t stride, int64_t begin, int64_t end, const float* weights, const float* bias,
                             int64_t channels, int64_t k, const Visit& visit) {
  const int64_t lanes = round16(channels), block = wave_block(channels);
  for (int64_t t0 = begin; t0 < end; t0 += block) {
    const int64_t t1 = t0 + block < end ? t0 + block : end;
    for (int64_t c = 0; c < lanes; c += 16) {
      const WaveTaps<K> taps(weights + c, lanes, k);
      const v16 b = load(bias + c);
      for (int64_t t = t0; t < t1; t++) visit(t, c, taps(wave + t * stride, b));
    }
  }
}

// sums[j, c] += sum over the frames of g(t, c, z) * window(t)[j] for j < K, and sums[K, c] += sum of g. The gradient of weights and
// bias when g is the gradient that reaches z.
template <int K, class Gradient>
static inline void wave_conv_grad(const float* wave, int64_t stride, int64_t begin, int64_t end, const float* weights,
                                  const float* bias, int64_t channels, int64_t k, float* sums, const Gradient& gradient) {
  const int64_t lanes = round16(channels), block = wave_block(channels);
  for (int64_t t0 = begin; t0 < end; t0 += block) {
    const int64_t t1 = t0 + block < end ? t0 + block : end;
    for (int64_t c = 0; c < lanes; c += 16) {
      const WaveTaps<K> taps(weights + c, lanes, k);
      const v16 b = load(bias + c);
      v16 total = load(sums + k * lanes + c);
      if (K > 0) {
        v16 a[K > 0 ? K : 1];
        for (int j = 0; j < K; j++) a[j] = load(sums + j * lanes + c);
        for (int64_t t = t0; t < t1; t++) {
          const float* window = wave + t * stride;
          const v16 g = gradient(t, c, taps(window, b));
          total += g;
          for (int j = 0; j < K; j++) a[j] += g * window[j];
        }
        for (int j = 0; j < K; j++) store(sums + j * lanes + c, a[j]);
      } else {
        for (int64_t t = t0; t < t1; t++) {
          const float* window = wave + t * stride;
          const v16 g = gradient(t, c, taps(window, b));
          total += g;
          for (int64_t j = 0; j < k; j++) store(sums + j * lanes + c, load(sums + j * lanes + c) + g * window[j]);
        }
      }
      store(sums + k * lanes + c, total);
    }
  }
}

}  // namespace HK_ISA
}  // namespace hk
