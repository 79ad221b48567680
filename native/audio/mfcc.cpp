// How it is fast: eight frames at a time, one in each lane of a vector, so that every step (window, FFT, power, filters) is the
// scalar algorithm on vectors of eight floats and needs no shuffles. The 512 real samples of a frame are transformed as 256
// complex ones (four radix-4 passes in place, 16 KB: stays in L1), then untangled into the power spectrum.
// Tables are computed in double precision once per process.
#include "audio/mfcc.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <algorithm>
#include <array>
#include <map>
#include <mutex>
#include <vector>

namespace hk::audio {
namespace {

constexpr int kLanes = 8;
constexpr int kPoints = 256;  // complex points = spectral lines used
constexpr float kFloor = 1.1920928955078125e-7f;
constexpr double kPi = 3.14159265358979323846;

typedef float Vec __attribute__((vector_size(kLanes * sizeof(float))));
struct Complex { float re, im; };

struct Tables {
  float window[kWindow];
  int place[kPoints];            // base-4 digit reversal
  Complex twiddle[4][64][3];     // [pass][j][power - 1]: exp(-2 pi i j power / (4 m)), m = 1, 4, 16, 64
  Complex half[kPoints];         // exp(-2 pi i k / 512)
  float cepstrum[kMfccs][kMfccFilters];  // orthonormal DCT-II times the lifter

  Tables() {
    for (int n = 0; n < kWindow; n++) window[n] = (float)pow(0.5 - 0.5 * cos(2 * kPi * n / (kWindow - 1)), 0.85);
    for (int k = 0; k < kPoints; k++) place[k] = (k & 3) << 6 | (k & 12) << 2 | (k & 48) >> 2 | (k & 192) >> 6;
    for (int pass = 0, m = 1; pass < 4; pass++, m *= 4)
      for (int j = 0; j < m; j++)
        for (int power = 1; power <= 3; power++) twiddle[pass][j][power - 1] = unit(-2 * kPi * j * power / (4 * m));
    for (int k = 0; k < kPoints; k++) half[k] = unit(-2 * kPi * k / (2 * kPoints));
    for (int c = 0; c < kMfccs; c++) {
      const double scale = sqrt((c == 0 ? 1.0 : 2.0) / kMfccFilters), lifter = 1 + 0.5 * 22 * sin(kPi * c / 22);
      for (int f = 0; f < kMfccFilters; f++) cepstrum[c][f] = (float)(scale * lifter * cos(kPi / kMfccFilters * (f + 0.5) * c));
    }
  }
  static Complex unit(double angle) { return {(float)cos(angle), (float)sin(angle)}; }
};

const Tables& tables() {
  static const Tables t;
  return t;
}

// Triangular filters, equally spaced in mel = 1127 ln(1 + hz / 700): filter f weighs lines first[f] .. first[f] + count[f].
struct FilterBank {
  std::vector<int> first, count, offset;
  std::vector<float> weights;

  explicit FilterBank(int filters) {
    const double low = mel(20), step = (mel(8000) - low) / (filters + 1);
    for (int f = 0; f < filters; f++) {
      const double left = low + f * step, centre = left + step, right = centre + step;
      int begin = -1;
      offset.push_back((int)weights.size());
      for (int k = 0; k < kPoints; k++) {
        const double m = mel(k * 31.25);
        if (m <= left || m >= right) continue;
        if (begin < 0) begin = k;
        weights.push_back((float)(m <= centre ? (m - left) / step : (right - m) / step));
      }
      first.push_back(begin < 0 ? 0 : begin);
      count.push_back((int)weights.size() - offset.back());
    }
  }
  static double mel(double hz) { return 1127 * log(1 + hz / 700); }
};

const FilterBank& filter_bank(int filters) {
  static std::mutex mutex;
  static std::map<int, FilterBank> banks;
  std::lock_guard<std::mutex> lock(mutex);
  return banks.try_emplace(filters, filters).first->second;
}

#define HK_INLINE static inline __attribute__((always_inline))

struct alignas(64) Work {
  Vec line[kWindow];            // windowed samples
  Vec re[kPoints], im[kPoints];
  Vec power[kPoints];
};

// Lane l holds frame l: DC removed, pre-emphasised, windowed.
HK_INLINE void load_frames(const float* wave, int shift, int frames, Work& w, const Tables& t) {
  for (int l = 0; l < kLanes; l++) {
    const float* from = wave + (size_t)std::min(l, frames - 1) * shift;
    for (int n = 0; n < kWindow; n++) ((float*)&w.line[n])[l] = from[n];
  }
  Vec part[4] = {};
  for (int n = 0; n < kWindow; n += 4)
    for (int i = 0; i < 4; i++) part[i] += w.line[n + i];
  const Vec mean = ((part[0] + part[1]) + (part[2] + part[3])) * (1.0f / kWindow);
  for (int n = kWindow - 1; n > 0; n--) w.line[n] = ((w.line[n] - mean) - 0.97f * (w.line[n - 1] - mean)) * t.window[n];
  w.line[0] = ((w.line[0] - mean) - 0.97f * (w.line[0] - mean)) * t.window[0];
}

HK_INLINE void butterfly(Work& w, int at, int m, const Complex* t) {
  const Vec ar = w.re[at], ai = w.im[at];
  const Vec br = w.re[at + m] * t[0].re - w.im[at + m] * t[0].im, bi = w.re[at + m] * t[0].im + w.im[at + m] * t[0].re;
  const Vec cr = w.re[at + 2 * m] * t[1].re - w.im[at + 2 * m] * t[1].im, ci = w.re[at + 2 * m] * t[1].im + w.im[at + 2 * m] * t[1].re;
  const Vec dr = w.re[at + 3 * m] * t[2].re - w.im[at + 3 * m] * t[2].im, di = w.re[at + 3 * m] * t[2].im + w.im[at + 3 * m] * t[2].re;
  const Vec sr = ar + cr, si = ai + ci, ur = ar - cr, ui = ai - ci;
  const Vec vr = br + dr, vi = bi + di, xr = br - dr, xi = bi - di;
  w.re[at] = sr + vr;
  w.im[at] = si + vi;
  w.re[at + m] = ur + xi;
  w.im[at + m] = ui - xr;
  w.re[at + 2 * m] = sr - vr;
  w.im[at + 2 * m] = si - vi;
  w.re[at + 3 * m] = ur - xi;
  w.im[at + 3 * m] = ui + xr;
}

// Complex FFT of 256 points: sample pairs go in digit-reversed, the spectrum comes out in order.
HK_INLINE void transform(Work& w, const Tables& t) {
  for (int k = 0; k < kPoints; k++) {
    const int pair = t.place[k];
    w.re[k] = pair < kWindow / 2 ? w.line[2 * pair] : Vec{};
    w.im[k] = pair < kWindow / 2 ? w.line[2 * pair + 1] : Vec{};
  }
  for (int pass = 0, m = 1; pass < 4; pass++, m *= 4)
    for (int j = 0; j < m; j++)
      for (int at = j; at < kPoints; at += 4 * m) butterfly(w, at, m, t.twiddle[pass][j]);
}

// |X_k|^2 of the 512 real samples, from Z = FFT(even + i odd): X_k = E_k + w^k O_k.
HK_INLINE void power_spectrum(Work& w, const Tables& t) {
  for (int k = 0; k < kPoints; k++) {
    const int mirror = (kPoints - k) & (kPoints - 1);
    const Vec er = w.re[k] + w.re[mirror], ei = w.im[k] - w.im[mirror];
    const Vec orr = w.im[k] + w.im[mirror], oi = w.re[mirror] - w.re[k];
    const Vec xr = er + (orr * t.half[k].re - oi * t.half[k].im), xi = ei + (orr * t.half[k].im + oi * t.half[k].re);
    w.power[k] = (xr * xr + xi * xi) * 0.25f;
  }
}

HK_INLINE void log_mel_block(const float* wave, int shift, int frames, const FilterBank& bank, int filters, float* features, Work& w) {
  const Tables& t = tables();
  load_frames(wave, shift, frames, w, t);
  transform(w, t);
  power_spectrum(w, t);
  for (int f = 0; f < filters; f++) {
    Vec sum = {};
    const float* weight = bank.weights.data() + bank.offset[f];
    for (int k = 0; k < bank.count[f]; k++) sum += w.power[bank.first[f] + k] * weight[k];
    for (int l = 0; l < frames; l++) features[l * filters + f] = logf(std::max(sum[l], kFloor));
  }
}

HK_INLINE void log_mel_loop(const float* wave, size_t count, int shift, const FilterBank& bank, int filters, float* features) {
  Work w;
  for (size_t i = 0; i < count; i += kLanes)
    log_mel_block(wave + i * shift, shift, (int)std::min<size_t>(kLanes, count - i), bank, filters, features + i * filters, w);
}

void log_mel_portable(const float* wave, size_t count, int shift, const FilterBank& bank, int filters, float* features) {
  log_mel_loop(wave, count, shift, bank, filters, features);
}

#if defined(__x86_64__)
__attribute__((target("avx2,fma"))) void log_mel_avx2(const float* wave, size_t count, int shift, const FilterBank& bank, int filters,
                                                      float* features) {
  log_mel_loop(wave, count, shift, bank, filters, features);
}

bool use_avx2() {
  const char* wish = getenv("HUBERTKIT_ISA");
  return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && !(wish && strcmp(wish, "portable") == 0);
}
#endif

// Deltas of 13 columns of rows of 39: sum over n = 1, 2 of n (x[t + n] - x[t - n]) / 10, edges repeated.
void deltas(float* features, size_t frames, int from, int to) {
  const auto row = [&](ptrdiff_t t) { return features + std::clamp<ptrdiff_t>(t, 0, (ptrdiff_t)frames - 1) * kMfccFeatures; };
  for (ptrdiff_t t = 0; t < (ptrdiff_t)frames; t++) {
    const float *a = row(t - 2) + from, *b = row(t - 1) + from, *c = row(t + 1) + from, *d = row(t + 2) + from;
    float* out = row(t) + to;
    for (int i = 0; i < kMfccs; i++) out[i] = ((c[i] - b[i]) + 2 * (d[i] - a[i])) * 0.1f;
  }
}

}  // namespace

size_t frame_count(size_t samples, int shift) { return samples < (size_t)kWindow ? 0 : (samples - kWindow) / shift + 1; }

void log_mel(const float* wave, size_t samples, int shift, int filters, float* features) {
  const size_t count = frame_count(samples, shift);
  const FilterBank& bank = filter_bank(filters);
#if defined(__x86_64__)
  static const bool avx2 = use_avx2();
  if (avx2) return log_mel_avx2(wave, count, shift, bank, filters, features);
#endif
  log_mel_portable(wave, count, shift, bank, filters, features);
}

void mfcc39(const float* wave, size_t samples, float* features) {
  const size_t count = frame_count(samples, kFrameShift);
  std::vector<float> mel(count * kMfccFilters);
  log_mel(wave, samples, kFrameShift, kMfccFilters, mel.data());
  const Tables& t = tables();
  for (size_t i = 0; i < count; i++) {
    const float* m = mel.data() + i * kMfccFilters;
    for (int c = 0; c < kMfccs; c++) {
      float sum = 0;
      for (int f = 0; f < kMfccFilters; f++) sum += t.cepstrum[c][f] * m[f];
      features[i * kMfccFeatures + c] = sum;
    }
  }
  deltas(features, count, 0, kMfccs);
  deltas(features, count, kMfccs, 2 * kMfccs);
}

}  // namespace hk::audio
