// Convolution of a one-channel waveform, channels in the vector lanes: the inner loops of conv0_norm_gelu and of conv1d with one
// input channel. A frame's window of K samples meets one machine register of channels at a time, whose K weights stay in registers (K = 10, the only
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

// One machine register of channels; the last one may have fewer than kLanes left.
static inline vk load_register(const float* p) { return *(const vku*)p; }
static inline void store_register(float* p, vk v) { *(vku*)p = v; }
static inline vk load_register(const bf16* p) {
#if defined(__AVX512F__)
  return load(p);
#else
  vk v;
  for (int i = 0; i < kLanes; i++) v[i] = p[i];
  return v;
#endif
}
static inline void store_register(bf16* p, vk v) {
#if defined(__AVX512F__)
  store(p, v);
#else
  for (int i = 0; i < kLanes; i++) p[i] = v[i];
#endif
}
template <class T>
static inline vk load_channels(const T* p, int64_t left) {
  if (left >= kLanes) return load_register(p);
  vk v = {};
  for (int64_t i = 0; i < left; i++) v[i] = p[i];
  return v;
}
template <class T>
static inline void store_channels(T* p, vk v, int64_t left) {
  if (left >= kLanes) store_register(p, v);
  else
    for (int64_t i = 0; i < left; i++) p[i] = v[i];
}

// Frames at a time whose activations stay in the first-level cache.
const int64_t kMostWaveBlock = 256;
static inline int64_t wave_block(int64_t channels) {
  const int64_t frames = 8192 / (channels ? channels : 1);
  return frames < 16 ? 16 : frames > kMostWaveBlock ? kMostWaveBlock : frames;
}

// Frames that go through the loops side by side: their chains of multiply-adds are independent, one alone would wait for itself.
const int kWaveFrames = 4;

template <int K>
struct WaveTaps {  // the weights of kLanes channels
  vk w[K];
  WaveTaps(const float* weights, int64_t lanes, int64_t) {
    for (int j = 0; j < K; j++) w[j] = load_register(weights + j * lanes);
  }
  template <int FRAMES>
  void operator()(const float* window, int64_t stride, vk start, vk (&z)[FRAMES]) const {
    for (int f = 0; f < FRAMES; f++) z[f] = start;
    for (int j = 0; j < K; j++)
      for (int f = 0; f < FRAMES; f++) z[f] += w[j] * window[f * stride + j];
  }
};
template <>
struct WaveTaps<0> {
  const float* w;
  int64_t lanes, k;
  WaveTaps(const float* weights, int64_t lanes_, int64_t k_) : w(weights), lanes(lanes_), k(k_) {}
  template <int FRAMES>
  void operator()(const float* window, int64_t stride, vk start, vk (&z)[FRAMES]) const {
    for (int f = 0; f < FRAMES; f++) z[f] = start;
    for (int64_t j = 0; j < k; j++)
      for (int f = 0; f < FRAMES; f++) z[f] += load_register(w + j * lanes) * window[f * stride + j];
  }
};

// step(t, width) over [begin, end): whole groups of kWaveFrames frames, then single ones; `width` is a constant of its type.
template <int N> struct Width { static const int value = N; };
template <class Step>
static inline void wave_frames(int64_t begin, int64_t end, const Step& step) {
  int64_t t = begin;
  for (; t + kWaveFrames <= end; t += kWaveFrames) step(t, Width<kWaveFrames>());
  for (; t < end; t++) step(t, Width<1>());
}

// visit(t, c, z) for every frame t in [begin, end) and every kLanes channels from c: z = bias + weights . window(t).
template <int K, class Visit>
static inline void wave_conv(const float* wave, int64_t stride, int64_t begin, int64_t end, const float* weights, const float* bias,
                             int64_t channels, int64_t k, const Visit& visit) {
  const int64_t lanes = round16(channels), block = wave_block(channels);
  for (int64_t t0 = begin; t0 < end; t0 += block) {
    const int64_t t1 = t0 + block < end ? t0 + block : end;
    for (int64_t c = 0; c < lanes; c += kLanes) {
      const WaveTaps<K> taps(weights + c, lanes, k);
      const vk b = load_register(bias + c);
      wave_frames(t0, t1, [&](int64_t t, auto width) {
        vk z[width.value];
        taps(wave + t * stride, stride, b, z);
#pragma GCC unroll 4
        for (int f = 0; f < width.value; f++) visit(t + f, c, z[f]);
      });
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
    for (int64_t c = 0; c < lanes; c += kLanes) {
      const WaveTaps<K> taps(weights + c, lanes, k);
      const vk b = load_register(bias + c);
      vk g[kMostWaveBlock];  // of the block's frames: the sums follow in a loop of their own, whose registers hold no weights
      wave_frames(t0, t1, [&](int64_t t, auto width) {
        vk z[width.value];
        taps(wave + t * stride, stride, b, z);
#pragma GCC unroll 4
        for (int f = 0; f < width.value; f++) g[t - t0 + f] = gradient(t + f, c, z[f]);
      });
      vk total = load_register(sums + k * lanes + c);
      vk a[K > 0 ? K : 1];
      for (int j = 0; j < K; j++) a[j] = load_register(sums + j * lanes + c);
      for (int64_t t = t0; t < t1; t++) {
        const float* window = wave + t * stride;
        total += g[t - t0];
        for (int j = 0; j < K; j++) a[j] += g[t - t0] * window[j];
        for (int64_t j = 0; K == 0 && j < k; j++) store_register(sums + j * lanes + c, load_register(sums + j * lanes + c) + g[t - t0] * window[j]);
      }
      for (int j = 0; j < K; j++) store_register(sums + j * lanes + c, a[j]);
      store_register(sums + k * lanes + c, total);
    }
  }
}

}  // namespace HK_ISA
}  // namespace hk
