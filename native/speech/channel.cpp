#include "speech/channel.h"

#include <algorithm>
#include <cmath>

#include "hubertkit/philox.h"

namespace hk {

namespace {

constexpr double kRate = 16000, kPi = 3.14159265358979323846;
constexpr double kLevel = 0.0501187;  // -26 dB
constexpr float kPeak = 0.98f;
constexpr uint32_t kEchoStream = 1, kNoiseStream = 2;

double decibels(double db) { return std::pow(10.0, db / 20); }

void tilt(std::vector<float>& x, float a) {
  float before = 0;
  for (float& sample : x) {
    const float now = sample;
    sample = now - a * before;
    before = now;
  }
}

// The peaking equaliser of R. Bristow-Johnson's cookbook, transposed direct form II.
void resonance(std::vector<float>& x, double hz, double db, double q) {
  const double amplitude = std::pow(10.0, db / 40), w = 2 * kPi * hz / kRate;
  const double alpha = std::sin(w) / (2 * q), a0 = 1 + alpha / amplitude;
  const double b0 = (1 + alpha * amplitude) / a0, b2 = (1 - alpha * amplitude) / a0;
  const double ab1 = -2 * std::cos(w) / a0, a2 = (1 - alpha / amplitude) / a0;
  double s1 = 0, s2 = 0;
  for (float& sample : x) {
    const double in = sample, out = b0 * in + s1;
    s1 = ab1 * (in - out) + s2;
    s2 = b2 * in - a2 * out;
    sample = (float)out;
  }
}

struct Echo {
  int delay;  // samples
  float gain;
};

// Velvet noise: one pulse of random sign at a random place of every 8 samples (2000 a second), falling by 60 dB in `seconds`, its
// energy `db` relative to the direct sound. As dense as an ear (or a 25 ms window) can tell, and 8 times cheaper than a dense tail.
std::vector<Echo> echoes(double seconds, double db, uint64_t seed, uint64_t draw) {
  constexpr int kGrid = 8, kFirst = 32;  // the first echo comes after 2 ms
  const int count = (int)(seconds * kRate / kGrid);
  std::vector<Echo> list(count);
  double energy = 0;
  for (int i = 0; i < count; i++) {
    const uint32_t word = philox(seed, draw, kEchoStream, i).word[0];
    const int delay = i * kGrid + (int)(word & (kGrid - 1));
    const double gain = std::pow(10.0, -3 * delay / (seconds * kRate)) * (word >> 31 ? 1 : -1);
    list[i] = {kFirst + delay, (float)gain};
    energy += gain * gain;
  }
  const float scale = energy > 0 ? (float)(decibels(db) / std::sqrt(energy)) : 0.0f;
  for (Echo& echo : list) echo.gain *= scale;
  return list;
}

// In blocks that stay in the first-level cache: every echo reads a shifted piece of x and adds to the same piece of y.
std::vector<float> reverberate(const std::vector<float>& x, const std::vector<Echo>& list) {
  constexpr int kBlock = 2048;
  std::vector<float> y = x;
  const int n = (int)x.size();
  for (int begin = 0; begin < n; begin += kBlock) {
    const int end = std::min(n, begin + kBlock);
    for (const Echo& echo : list) {
      const int from = std::max(begin, echo.delay);
      const float* in = x.data() - echo.delay;
      for (int t = from; t < end; t++) y[t] += echo.gain * in[t];
    }
  }
  return y;
}

// Near-normal numbers (the sum of four uniform ones) through a one-pole filter, scaled to the given power.
std::vector<float> noise(size_t length, double colour, double power, uint64_t seed, uint64_t draw) {
  std::vector<float> n(length);
  float before = 0;
  double energy = 0;
  for (size_t t = 0; t < length; t += 2) {
    const Philox4 random = philox(seed, draw, kNoiseStream, (uint32_t)(t / 2));
    for (size_t i = 0; i < 2 && t + i < length; i++) {
      const uint32_t a = random.word[2 * i], b = random.word[2 * i + 1];
      const float white = (float)((int)(a & 0xFFFF) + (int)(a >> 16) + (int)(b & 0xFFFF) + (int)(b >> 16) - 131070);
      before = white + (float)colour * before;
      n[t + i] = before;
      energy += (double)before * before;
    }
  }
  const float scale = energy > 0 ? (float)std::sqrt(power * length / energy) : 0.0f;
  for (float& sample : n) sample *= scale;
  return n;
}

void limit(std::vector<float>& x) {
  float peak = 0;
  for (float sample : x) peak = std::max(peak, std::fabs(sample));
  if (peak <= kPeak) return;
  for (float& sample : x) sample *= kPeak / peak;
}

}  // namespace

double active_power(const std::vector<float>& waveform) {
  constexpr size_t kFrame = 320;
  std::vector<double> powers;
  for (size_t begin = 0; begin + kFrame <= waveform.size(); begin += kFrame) {
    double sum = 0;
    for (size_t t = begin; t < begin + kFrame; t++) sum += (double)waveform[t] * waveform[t];
    powers.push_back(sum / kFrame);
  }
  const double loudest = powers.empty() ? 0 : *std::max_element(powers.begin(), powers.end());
  double sum = 0;
  size_t active = 0;
  for (double power : powers)
    if (power > 0 && power >= loudest * 1e-3) sum += power, active++;
  return active ? sum / active : 0;
}

std::vector<float> level(const std::vector<float>& waveform) {
  std::vector<float> y = waveform;
  const double power = active_power(y);
  const float scale = power > 0 ? (float)(kLevel / std::sqrt(power)) : 1.0f;
  for (float& sample : y) sample *= scale;
  limit(y);
  return y;
}

std::vector<float> apply_channel(const std::vector<float>& waveform, const Channel& c) {
  std::vector<float> y = waveform;
  tilt(y, (float)c.tilt);
  resonance(y, c.resonance_hz, c.resonance_db, c.resonance_q);
  y = reverberate(y, echoes(c.reverb_seconds, c.reverb_db, c.seed, c.draw));
  const double power = active_power(y), target = kLevel * decibels(c.gain_db);
  const float scale = power > 0 ? (float)(target / std::sqrt(power)) : 1.0f;
  const double noise_power = target * target / std::pow(10.0, c.snr_db / 10);
  const std::vector<float> n = noise(y.size(), c.noise_colour, noise_power, c.seed, c.draw);
  for (size_t t = 0; t < y.size(); t++) y[t] = y[t] * scale + n[t];
  limit(y);
  return y;
}

}  // namespace hk
