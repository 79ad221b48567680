// conv0 + GroupNorm + GELU: the contract and the algebra are in ops/conv0_norm_gelu.h.
#include "cpu/gelu.h"
#include "cpu/op.h"
#include "cpu/wave_conv.h"
#include "ops/conv0_norm_gelu.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kChunk = 1024;  // frames of one partial sum

struct Sizes : ConvNormSizes {
  int64_t lanes, padded, chunks;
  explicit Sizes(const hk_call* call) : ConvNormSizes(call) {
    lanes = round16(channels);
    padded = round16(samples + kMaxKernel + kWavePad);
    chunks = (frames + kChunk - 1) / kChunk;
  }
};

// Scratch of both directions.
struct Layout {
  float*  wave;     // [B, padded]: row minus its shift, zeros behind
  float*  weights;  // [B, K, lanes]: gamma rs w
  float*  bias;     // [B, lanes]: beta - (gamma rs w) . (m - shift)
  double* moments;  // [B, K + K*K]: mean minus shift; covariance
  float*  shift;    // [B]
  Layout(Scratch& scratch, const Sizes& s)
      : wave(scratch.take<float>(s.batch * s.padded)),
        weights(scratch.take<float>(s.batch * s.kernel * s.lanes)),
        bias(scratch.take<float>(s.batch * s.lanes)),
        moments(scratch.take<double>(s.batch * s.moments)),
        shift(scratch.take<float>(s.batch)) {}
};

struct Forward : Layout {
  double* chunks;  // moments of each
  Forward(Scratch& scratch, const Sizes& s) : Layout(scratch, s), chunks(scratch.take<double>(s.batch * s.chunks * (s.kernel + 1) * kMaxKernel)) {}
};

struct Backward : Layout {
  float* chunks;  // sums of the gradient of each
  Backward(Scratch& scratch, const Sizes& s) : Layout(scratch, s), chunks(scratch.take<float>(s.batch * s.chunks * (s.kernel + 1) * s.lanes)) {}
};

float row_mean(const float* x, int64_t n) {
  double total = 0;
  for (int64_t i = 0; i < n; i += 4096) {
    const int64_t end = i + 4096 < n ? i + 4096 : n;
    v16 part = {};
    int64_t j = i;
    for (; j + 16 <= end; j += 16) part += load(x + j);
    total += sum(part) + (j < end ? sum(load_n(x + j, (int)(end - j))) : 0.0f);
  }
  return (float)(total / (double)n);
}

void shift_row(const float* x, int64_t n, float shift, float* out, int64_t padded) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(out + i, load(x + i) - shift);
  for (; i < n; i++) out[i] = x[i] - shift;
  for (; i < padded; i++) out[i] = 0.0f;
}

// Sums of x_t (row 0) and of x_t x_t' (rows 1..K) over frames [begin, end), rows kMaxKernel apart: 64 frames in float, then double.
template <int K>
void chunk_moments(const float* wave, int64_t stride, int64_t begin, int64_t end, int64_t k, double* out) {
  const int64_t n = K ? K : k, vectors = (n + kLanes - 1) / kLanes;
  for (int64_t i = 0; i < (n + 1) * kMaxKernel; i++) out[i] = 0;
  for (int64_t t0 = begin; t0 < end; t0 += 64) {
    const int64_t t1 = t0 + 64 < end ? t0 + 64 : end;
    for (int64_t v = 0; v < vectors; v++) {
      vk first = {}, second[K ? K : kMaxKernel] = {};
      for (int64_t t = t0; t < t1; t++) {
        const float* window = wave + t * stride;
        const vk x = load_register(window + kLanes * v);
        first += x;
        for (int64_t j = 0; j < n; j++) second[j] += x * window[j];
      }
      for (int i = 0; i < kLanes; i++) out[kLanes * v + i] += first[i];
      for (int64_t j = 0; j < n; j++)
        for (int i = 0; i < kLanes; i++) out[(j + 1) * kMaxKernel + kLanes * v + i] += second[j][i];
    }
  }
}

// The chunks of one row, in order -> mean (less the shift) and covariance.
void finish_moments(const Sizes& s, const double* chunks, double* moments) {
  const int64_t k = s.kernel, size = (k + 1) * kMaxKernel;
  for (int64_t i = 0; i < k; i++) {
    double total = 0;
    for (int64_t c = 0; c < s.chunks; c++) total += chunks[c * size + i];
    moments[i] = total / (double)s.frames;
  }
  for (int64_t j = 0; j < k; j++)
    for (int64_t i = 0; i < k; i++) {
      double total = 0;
      for (int64_t c = 0; c < s.chunks; c++) total += chunks[c * size + (j + 1) * kMaxKernel + i];
      moments[k + j * k + i] = total / (double)s.frames - moments[i] * moments[j];
    }
}

void fold(const hk_call* call, const Sizes& s, const Layout& p) {
  const float *w = f32(call->inputs[1]), *gamma = f32(call->inputs[2]), *beta = f32(call->inputs[3]);
  parallel_chunks(s.batch * s.lanes, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / s.lanes, c = i % s.lanes;
      float* weights = p.weights + b * s.kernel * s.lanes + c;
      const bool real = c < s.channels;
      const ConvNormChannel channel = real ? channel_of(s.kernel, s.eps, w + c * s.kernel, p.moments + b * s.moments) : ConvNormChannel{};
      const double scale = real ? gamma[c] * channel.rs : 0.0;
      for (int64_t j = 0; j < s.kernel; j++) weights[j * s.lanes] = real ? (float)(scale * w[c * s.kernel + j]) : 0.0f;
      p.bias[i] = real ? (float)(beta[c] - scale * channel.mean) : 0.0f;
    }
  });
}

template <int K>
void find_moments(const hk_call* call, const Sizes& s, const Forward& p) {
  const int64_t size = (s.kernel + 1) * kMaxKernel;
  parallel_chunks(s.batch, 1, [&](int64_t b, int64_t, int64_t) {
    const float* row = f32(call->inputs[0]) + b * s.samples;
    p.shift[b] = row_mean(row, s.samples);
    shift_row(row, s.samples, p.shift[b], p.wave + b * s.padded, s.padded);
  });
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t = i % s.chunks * kChunk, end = t + kChunk < s.frames ? t + kChunk : s.frames;
    chunk_moments<K>(p.wave + b * s.padded, s.stride, t, end, s.kernel, p.chunks + i * size);
  });
  for (int64_t b = 0; b < s.batch; b++) {
    double* moments = p.moments + b * s.moments;
    finish_moments(s, p.chunks + b * s.chunks * size, moments);
    float* out = f32(call->outputs[1]) + b * s.moments;
    for (int64_t i = 0; i < s.moments; i++) out[i] = (float)(moments[i] + (i < s.kernel ? p.shift[b] : 0.0));
  }
}

template <int K, class T>
void forward(const hk_call* call) {
  const Sizes s(call);
  Scratch scratch(call->scratch);
  const Forward p(scratch, s);
  find_moments<K>(call, s, p);
  fold(call, s, p);
  const int64_t ahead = wave_block(s.channels) * s.channels;
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t = i % s.chunks * kChunk, end = t + kChunk < s.frames ? t + kChunk : s.frames;
    T* y = data<T>(call->outputs[0]) + b * s.frames * s.channels;
    wave_conv<K>(p.wave + b * s.padded, s.stride, t, end, p.weights + b * s.kernel * s.lanes, p.bias + b * s.lanes, s.channels, s.kernel,
                 [&](int64_t t, int64_t c, vk z) {
                   T* at = y + t * s.channels + c;
                   __builtin_prefetch(at + ahead, 1);
                   store_channels(at, gelu_register(z), s.channels - c);
                 });
  });
}

template <class T>
int run_as(hk_call* call) {
  if (ConvNormSizes(call).kernel == 10) forward<10, T>(call);
  else forward<0, T>(call);
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->outputs[0], run_as, call); }

// Windows relative to the row's first moment; the moments themselves relative to the same.
void restore_moments(const hk_call* call, const Sizes& s, const Layout& p) {
  parallel_chunks(s.batch, 1, [&](int64_t b, int64_t, int64_t) {
    const float* saved = f32(call->inputs[4]) + b * s.moments;
    const float shift = saved[0];
    for (int64_t i = 0; i < s.moments; i++) p.moments[b * s.moments + i] = saved[i] - (i < s.kernel ? (double)shift : 0.0);
    shift_row(f32(call->inputs[0]) + b * s.samples, s.samples, shift, p.wave + b * s.padded, s.padded);
  });
}

// From A' = sum_t g (x_t - shift) and G of each row to the gradients of one channel; rows in order.
void finish_channel(const hk_call* call, const Sizes& s, const Backward& p, int64_t c) {
  const float *w = f32(call->inputs[1]) + c * s.kernel, gamma = f32(call->inputs[2])[c];
  double dw[kMaxKernel] = {}, dgamma = 0, dbeta = 0;
  for (int64_t b = 0; b < s.batch; b++) {
    const double* moments = p.moments + b * s.moments;
    const ConvNormChannel channel = channel_of(s.kernel, s.eps, w, moments);
    double sums[kMaxKernel + 1] = {}, along = 0;
    for (int64_t i = 0; i < s.chunks; i++)
      for (int64_t j = 0; j <= s.kernel; j++) sums[j] += p.chunks[((b * s.chunks + i) * (s.kernel + 1) + j) * s.lanes + c];
    const double total = sums[s.kernel];
    for (int64_t j = 0; j < s.kernel; j++) {
      sums[j] -= total * moments[j];
      along += w[j] * sums[j];
    }
    along *= channel.rs;
    dgamma += along;
    dbeta += total;
    for (int64_t j = 0; j < s.kernel; j++) dw[j] += gamma * channel.rs * (sums[j] - along * channel.rs * scatter_of(s.kernel, w, moments, j));
  }
  for (int64_t j = 0; j < s.kernel; j++) f32(call->outputs[0])[c * s.kernel + j] += (float)dw[j];
  f32(call->outputs[1])[c] += (float)dgamma;
  f32(call->outputs[2])[c] += (float)dbeta;
}

template <int K, class T>
void backward(const hk_call* call) {
  const Sizes s(call);
  Scratch scratch(call->scratch);
  const Backward p(scratch, s);
  restore_moments(call, s, p);
  fold(call, s, p);
  const int64_t size = (s.kernel + 1) * s.lanes, ahead = wave_block(s.channels) * s.channels;
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t = i % s.chunks * kChunk, end = t + kChunk < s.frames ? t + kChunk : s.frames;
    const T* dy = data<T>(call->inputs[5]) + b * s.frames * s.channels;
    float* sums = p.chunks + i * size;
    memset(sums, 0, (size_t)size * sizeof(float));
    wave_conv_grad<K>(p.wave + b * s.padded, s.stride, t, end, p.weights + b * s.kernel * s.lanes, p.bias + b * s.lanes, s.channels, s.kernel, sums,
                      [&](int64_t t, int64_t c, vk z) {
                        const T* at = dy + t * s.channels + c;
                        __builtin_prefetch(at + ahead);
                        return load_channels(at, s.channels - c) * gelu_derivative_register(z);
                      });
  });
  parallel_chunks(s.channels, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) finish_channel(call, s, p, c);
  });
}

template <class T>
int run_grad_as(hk_call* call) {
  if (ConvNormSizes(call).kernel == 10) backward<10, T>(call);
  else backward<0, T>(call);
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[5], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv0_norm_gelu, {"conv0_norm_gelu", (conv_norm_prepare<Sizes, Forward>), run, nullptr, conv_norm_cost},
            {"conv0_norm_gelu_grad", (conv_norm_grad_prepare<Sizes, Backward>), run_grad, nullptr, conv_norm_grad_cost})
