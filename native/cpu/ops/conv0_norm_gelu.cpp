// conv0 + GroupNorm (one channel a group) + GELU of the waveform feature extractor, in one pass over the output.
//
//   wave [B, N], w [C, 1, K], gamma [C], beta [C]  ->  y [B, T, C],  T = (N - K) / stride + 1;  moments [B, K + K*K]
//   y and its gradient may be bf16, the rest is f32
//
// The convolution is linear in the window x_t = wave[t*stride .. t*stride + K), so that its statistics over time need no pass over
// its output: with m and R the mean and the (biased) covariance of the windows of a row, channel c has mean w_c . m and variance
// w_c' R w_c. Normalisation then folds into the weights: z = (gamma rs w) . (x - m) + beta with rs = 1 / sqrt(var + eps), y = gelu(z).
// The un-normalised output is never stored. The backward pass recomputes z and reads dy once: with g = dy gelu'(z),
// A = sum_t g (x_t - m) and G = sum_t g,
//
//   dbeta = G     dgamma = rs w . A     dw = gamma rs (A - dgamma rs R w)
//
// Windows are taken relative to a constant near the row's mean, in float32; moments are summed in double.
#include "cpu/cast.h"
#include "cpu/gelu.h"
#include "cpu/op.h"
#include "cpu/wave_conv.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kMaxKernel = 64;
const int64_t kChunk = 1024;  // frames of one partial sum

struct Sizes {
  int64_t batch, samples, channels, kernel, stride, frames, lanes, padded, chunks, moments;
  double  eps;
};

Sizes sizes_of(const hk_call* call) {
  const hk_tensor &wave = call->inputs[0], &w = call->inputs[1];
  Sizes s;
  s.batch = wave.shape[0];
  s.samples = wave.shape[1];
  s.channels = w.shape[0];
  s.kernel = w.shape[2];
  s.stride = (int64_t)attribute(call, "stride", 5);
  s.eps = attribute(call, "eps", 1e-5);
  s.frames = (s.samples - s.kernel) / s.stride + 1;
  s.lanes = round16(s.channels);
  s.padded = round16(s.samples + kMaxKernel + kWavePad);
  s.chunks = (s.frames + kChunk - 1) / kChunk;
  s.moments = s.kernel + s.kernel * s.kernel;
  return s;
}

// Where things lie in scratch. `sums`: chunks of moments (forward, double) or of gradients (backward, float).
struct Scratch {
  float*  wave;     // [B, padded]: row minus its shift, zeros behind
  float*  weights;  // [B, K, lanes]: gamma rs w
  float*  bias;     // [B, lanes]: beta - (gamma rs w) . (m - shift)
  double* moments;  // [B, K + K*K]: mean minus shift; covariance
  float*  shift;    // [B]
  void*   sums;
  size_t  bytes;
};

Scratch layout(const Sizes& s, void* base, size_t sums_bytes) {
  Scratch p;
  size_t at = 0;
  auto take = [&](int64_t bytes) {
    void* data = (char*)base + at;
    at += ((size_t)bytes + 63) / 64 * 64;
    return data;
  };
  p.wave = (float*)take(s.batch * s.padded * 4);
  p.weights = (float*)take(s.batch * s.kernel * s.lanes * 4);
  p.bias = (float*)take(s.batch * s.lanes * 4);
  p.moments = (double*)take(s.batch * s.moments * 8);
  p.shift = (float*)take(s.batch * 4);
  p.sums = take((int64_t)sums_bytes);
  p.bytes = at;
  return p;
}
size_t forward_sums(const Sizes& s) { return (size_t)(s.batch * s.chunks * (s.kernel + 1) * kMaxKernel) * sizeof(double); }
size_t backward_sums(const Sizes& s) { return (size_t)(s.batch * s.chunks * (s.kernel + 1) * s.lanes) * sizeof(float); }

int check(hk_call* call, const char* op, bool backward) {
  if (expect_counts(call, op, backward ? 6 : 4, backward ? 3 : 2)) return 1;
  const hk_tensor &wave = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (wave.rank != 2 || wave.dtype != HK_F32 || wave.shape[0] < 1) return fail(call, "%s: wave must be f32[B, N], got %s", op, describe(wave, text));
  if (w.rank != 3 || w.dtype != HK_F32 || w.shape[0] < 1 || w.shape[1] != 1 || w.shape[2] < 1 || w.shape[2] > kMaxKernel)
    return fail(call, "%s: the weight must be f32[C, 1, K] with K from 1 to %d, got %s", op, (int)kMaxKernel, describe(w, text));
  const double stride = attribute(call, "stride", 5), eps = attribute(call, "eps", 1e-5);
  if (!(stride >= 1 && stride <= 4096 && stride == (double)(int64_t)stride)) return fail(call, "%s: stride must be an integer from 1 to 4096, got %g", op, stride);
  if (!(eps > 0 && eps < 1)) return fail(call, "%s: eps must lie between 0 and 1, got %g", op, eps);
  if (wave.shape[1] < w.shape[2])
    return fail(call, "%s: a row of %lld samples is shorter than the kernel (%lld)", op, (long long)wave.shape[1], (long long)w.shape[2]);
  const Sizes s = sizes_of(call);
  if (expect(call, op, "gamma", call->inputs[2], HK_F32, {s.channels}) || expect(call, op, "beta", call->inputs[3], HK_F32, {s.channels})) return 1;
  if (!backward)
    return expect(call, op, "y", call->outputs[0], dtype_of(call->outputs[0]), {s.batch, s.frames, s.channels}) ||
           expect(call, op, "moments", call->outputs[1], HK_F32, {s.batch, s.moments});
  return expect(call, op, "moments", call->inputs[4], HK_F32, {s.batch, s.moments}) ||
         expect(call, op, "dy", call->inputs[5], dtype_of(call->inputs[5]), {s.batch, s.frames, s.channels}) ||
         expect(call, op, "dw", call->outputs[0], HK_F32, {s.channels, 1, s.kernel}) ||
         expect(call, op, "dgamma", call->outputs[1], HK_F32, {s.channels}) ||
         expect(call, op, "dbeta", call->outputs[2], HK_F32, {s.channels});
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (check(call, "conv0_norm_gelu", false)) return 1;
  const Sizes s = sizes_of(call);
  *scratch_bytes = layout(s, nullptr, forward_sums(s)).bytes;
  return 0;
}
int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  if (check(call, "conv0_norm_gelu_grad", true)) return 1;
  const Sizes s = sizes_of(call);
  *scratch_bytes = layout(s, nullptr, backward_sums(s)).bytes;
  return 0;
}

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

struct Channel { double rs, mean, scatter[kMaxKernel]; };  // 1 / std, w . m, R w

Channel channel_of(const Sizes& s, const float* w, const double* moments) {
  Channel c = {};
  double variance = 0;
  for (int64_t j = 0; j < s.kernel; j++) {
    for (int64_t i = 0; i < s.kernel; i++) c.scatter[j] += moments[s.kernel + j * s.kernel + i] * w[i];
    variance += c.scatter[j] * w[j];
    c.mean += moments[j] * w[j];
  }
  c.rs = 1.0 / __builtin_sqrt((variance > 0 ? variance : 0) + s.eps);
  if (variance != variance) c.rs = variance;
  return c;
}

void fold(const hk_call* call, const Sizes& s, const Scratch& p) {
  const float *w = f32(call->inputs[1]), *gamma = f32(call->inputs[2]), *beta = f32(call->inputs[3]);
  parallel_chunks(s.batch * s.lanes, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      const int64_t b = i / s.lanes, c = i % s.lanes;
      float* weights = p.weights + b * s.kernel * s.lanes + c;
      const bool real = c < s.channels;
      const Channel channel = real ? channel_of(s, w + c * s.kernel, p.moments + b * s.moments) : Channel{};
      const double scale = real ? gamma[c] * channel.rs : 0.0;
      for (int64_t j = 0; j < s.kernel; j++) weights[j * s.lanes] = real ? (float)(scale * w[c * s.kernel + j]) : 0.0f;
      p.bias[i] = real ? (float)(beta[c] - scale * channel.mean) : 0.0f;
    }
  });
}

template <int K>
void find_moments(const hk_call* call, const Sizes& s, const Scratch& p) {
  const int64_t size = (s.kernel + 1) * kMaxKernel;
  double* chunks = (double*)p.sums;
  parallel_chunks(s.batch, 1, [&](int64_t b, int64_t, int64_t) {
    const float* row = f32(call->inputs[0]) + b * s.samples;
    p.shift[b] = row_mean(row, s.samples);
    shift_row(row, s.samples, p.shift[b], p.wave + b * s.padded, s.padded);
  });
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t = i % s.chunks * kChunk, end = t + kChunk < s.frames ? t + kChunk : s.frames;
    chunk_moments<K>(p.wave + b * s.padded, s.stride, t, end, s.kernel, chunks + i * size);
  });
  for (int64_t b = 0; b < s.batch; b++) {
    double* moments = p.moments + b * s.moments;
    finish_moments(s, chunks + b * s.chunks * size, moments);
    float* out = f32(call->outputs[1]) + b * s.moments;
    for (int64_t i = 0; i < s.moments; i++) out[i] = (float)(moments[i] + (i < s.kernel ? p.shift[b] : 0.0));
  }
}

template <int K, class T>
void forward(const hk_call* call, const Sizes& s, const Scratch& p) {
  find_moments<K>(call, s, p);
  fold(call, s, p);
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t = i % s.chunks * kChunk, end = t + kChunk < s.frames ? t + kChunk : s.frames;
    T* y = data<T>(call->outputs[0]) + b * s.frames * s.channels;
    wave_conv<K>(p.wave + b * s.padded, s.stride, t, end, p.weights + b * s.kernel * s.lanes, p.bias + b * s.lanes, s.channels, s.kernel,
                 [&](int64_t t, int64_t c, vk z) { store_channels(y + t * s.channels + c, gelu_register(z), s.channels - c); });
  });
}

template <class T>
int run_as(hk_call* call) {
  const Sizes s = sizes_of(call);
  const Scratch p = layout(s, call->scratch, forward_sums(s));
  if (s.kernel == 10) forward<10, T>(call, s, p);
  else forward<0, T>(call, s, p);
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->outputs[0], run_as, call); }

// Windows relative to the row's first moment; the moments themselves relative to the same.
void restore_moments(const hk_call* call, const Sizes& s, const Scratch& p) {
  parallel_chunks(s.batch, 1, [&](int64_t b, int64_t, int64_t) {
    const float* saved = f32(call->inputs[4]) + b * s.moments;
    const float shift = saved[0];
    for (int64_t i = 0; i < s.moments; i++) p.moments[b * s.moments + i] = saved[i] - (i < s.kernel ? (double)shift : 0.0);
    shift_row(f32(call->inputs[0]) + b * s.samples, s.samples, shift, p.wave + b * s.padded, s.padded);
  });
}

// From A' = sum_t g (x_t - shift) and G of each row to the gradients of one channel; rows in order.
void finish_channel(const hk_call* call, const Sizes& s, const Scratch& p, int64_t c) {
  const float *w = f32(call->inputs[1]) + c * s.kernel, gamma = f32(call->inputs[2])[c];
  double dw[kMaxKernel] = {}, dgamma = 0, dbeta = 0;
  for (int64_t b = 0; b < s.batch; b++) {
    const double* moments = p.moments + b * s.moments;
    const Channel channel = channel_of(s, w, moments);
    double sums[kMaxKernel + 1] = {}, along = 0;
    for (int64_t i = 0; i < s.chunks; i++)
      for (int64_t j = 0; j <= s.kernel; j++) sums[j] += ((float*)p.sums)[((b * s.chunks + i) * (s.kernel + 1) + j) * s.lanes + c];
    const double total = sums[s.kernel];
    for (int64_t j = 0; j < s.kernel; j++) {
      sums[j] -= total * moments[j];
      along += w[j] * sums[j];
    }
    along *= channel.rs;
    dgamma += along;
    dbeta += total;
    for (int64_t j = 0; j < s.kernel; j++) dw[j] += gamma * channel.rs * (sums[j] - along * channel.rs * channel.scatter[j]);
  }
  for (int64_t j = 0; j < s.kernel; j++) f32(call->outputs[0])[c * s.kernel + j] += (float)dw[j];
  f32(call->outputs[1])[c] += (float)dgamma;
  f32(call->outputs[2])[c] += (float)dbeta;
}

template <int K, class T>
void backward(const hk_call* call, const Sizes& s, const Scratch& p) {
  restore_moments(call, s, p);
  fold(call, s, p);
  const int64_t size = (s.kernel + 1) * s.lanes, ahead = wave_block(s.channels) * s.channels;
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t = i % s.chunks * kChunk, end = t + kChunk < s.frames ? t + kChunk : s.frames;
    const T* dy = data<T>(call->inputs[5]) + b * s.frames * s.channels;
    float* sums = (float*)p.sums + i * size;
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
  const Sizes s = sizes_of(call);
  const Scratch p = layout(s, call->scratch, backward_sums(s));
  if (s.kernel == 10) backward<10, T>(call, s, p);
  else backward<0, T>(call, s, p);
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[5], run_grad_as, call); }

hk_cost cost(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double outputs = (double)s.batch * s.frames * s.channels;
  return {2.0 * outputs * s.kernel, element_bytes(call->n_inputs == 6 ? call->inputs[5] : call->outputs[0]) * outputs + 4.0 * s.batch * s.samples};
}
hk_cost cost_grad(const hk_call* call) {
  const hk_cost once = cost(call);
  return {2.0 * once.flops, once.bytes};
}

}  // namespace

}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv0_norm_gelu, {"conv0_norm_gelu", prepare, run, nullptr, cost},
            {"conv0_norm_gelu_grad", prepare_grad, run_grad, nullptr, cost_grad})
