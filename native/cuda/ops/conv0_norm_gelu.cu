// conv0 + GroupNorm + GELU of the waveform feature extractor: the contract and the algebra are in ops/conv0_norm_gelu.h.
// A block sums the moments of kChunk windows, one block a row adds them in order; one thread for each row and channel folds the
// normalisation into weights and bias; then one pass over the output. A thread of it keeps the weights of kSide channels in registers
// (K = 10, the only kernel that HuBERT uses; others read them from memory) and walks over the frames of a chunk: all threads of a warp
// read the same window, neighbouring threads write neighbouring channels. The gradient walks in the same way, with the sums of kTaps
// taps in registers; chunks, then rows, are added in order.
#include "cuda/gelu.cuh"
#include "cuda/reduce.cuh"
#include "ops/conv0_norm_gelu.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kChunk = 128;  // frames; few, so that the blocks of the last wave are soon done
const int kThreads = 128, kSide = 4;  // channels first, first + kThreads, ... of a thread
const int kTaps = 10;

struct Sizes : ConvNormSizes {
  int64_t chunks;
  explicit Sizes(const hk_call* call) : ConvNormSizes(call), chunks(blocks_for(frames, kChunk)) {}
  HK_ANYWHERE int64_t end_of(int64_t chunk) const { return (chunk + 1) * kChunk < frames ? (chunk + 1) * kChunk : frames; }
};

// Scratch of both directions.
struct Layout {
  double* moments;  // [B, K + K*K]: mean minus shift; covariance
  float*  shift;    // [B]
  float*  weights;  // [B, K, C]: gamma rs w
  float*  bias;     // [B, C]: beta - (gamma rs w) . (m - shift)
  Layout(Scratch& scratch, const Sizes& s)
      : moments(scratch.take<double>(s.batch * s.moments)),
        shift(scratch.take<float>(s.batch)),
        weights(scratch.take<float>(s.batch * s.kernel * s.channels)),
        bias(scratch.take<float>(s.batch * s.channels)) {}
};

struct Forward : Layout {
  double* sums;  // [B, chunks, K + K*K]: of x_t and of x_t x_t'
  Forward(Scratch& scratch, const Sizes& s) : Layout(scratch, s), sums(scratch.take<double>(s.batch * s.chunks * s.moments)) {}
};

struct Backward : Layout {
  float*  chunks;  // [B, chunks, K + 1, C]: sum of g (x_t - shift), of g
  double* rows;    // [B, K + 2, C]: the same of a row; then what it adds to dw, dbeta and dgamma
  Backward(Scratch& scratch, const Sizes& s)
      : Layout(scratch, s),
        chunks(scratch.take<float>(s.batch * s.chunks * (s.kernel + 1) * s.channels)),
        rows(scratch.take<double>(s.batch * (s.kernel + 2) * s.channels)) {}
};

// ---- moments ----

// grid batch x chunks
__global__ void moment_chunks(Sizes s, const float* wave, double* sums) {
  const int64_t chunk = blockIdx.x % s.chunks, end = s.end_of(chunk);
  const float* row = wave + blockIdx.x / s.chunks * s.samples;
  for (int64_t e = threadIdx.x; e < s.moments; e += kThreads) {
    const bool first = e < s.kernel;
    const int64_t i = first ? e : (e - s.kernel) / s.kernel, j = (e - s.kernel) % s.kernel;
    double sum = 0;
    for (int64_t t = chunk * kChunk; t < end; t++) sum += first ? row[t * s.stride + i] : (double)row[t * s.stride + i] * row[t * s.stride + j];
    sums[blockIdx.x * s.moments + e] = sum;
  }
}

__device__ double mean_of_chunks(const Sizes& s, const double* sums, int64_t e) {
  double total = 0;
  for (int64_t c = 0; c < s.chunks; c++) total += sums[c * s.moments + e];
  return total / (double)s.frames;
}

// grid batch; `out`: the moments that are kept for the backward pass
__global__ void finish_moments(Sizes s, const double* sums, double* moments, float* shift, float* out) {
  __shared__ double mean[kMaxKernel];
  sums += blockIdx.x * s.chunks * s.moments;
  moments += blockIdx.x * s.moments;
  out += blockIdx.x * s.moments;
  if (threadIdx.x < s.kernel) mean[threadIdx.x] = mean_of_chunks(s, sums, threadIdx.x);
  __syncthreads();
  const float row_shift = (float)mean[0];
  for (int64_t e = threadIdx.x; e < s.moments; e += kThreads) {
    const bool first = e < s.kernel;
    const double value = first ? mean[e] : mean_of_chunks(s, sums, e) - mean[(e - s.kernel) / s.kernel] * mean[(e - s.kernel) % s.kernel];
    out[e] = (float)value;
    moments[e] = first ? value - row_shift : value;
  }
  if (threadIdx.x == 0) shift[blockIdx.x] = row_shift;
}

// Windows relative to the row's first moment; the moments themselves relative to the same.
__global__ void restore_moments(Sizes s, const float* saved, double* moments, float* shift) {
  const int64_t i = element_index(), b = i / s.moments, e = i % s.moments;
  if (i >= s.batch * s.moments) return;
  moments[i] = saved[i] - (e < s.kernel ? (double)saved[b * s.moments] : 0.0);
  if (e == 0) shift[b] = saved[i];
}

// ---- folding ----

__global__ void fold_kernel(Sizes s, const float* w, const float* gamma, const float* beta, Layout p) {
  const int64_t i = element_index(), b = i / s.channels, c = i % s.channels;
  if (i >= s.batch * s.channels) return;
  const ConvNormChannel channel = channel_of(s.kernel, s.eps, w + c * s.kernel, p.moments + b * s.moments);
  const double scale = gamma[c] * channel.rs;
  for (int64_t j = 0; j < s.kernel; j++) p.weights[(b * s.kernel + j) * s.channels + c] = (float)(scale * w[c * s.kernel + j]);
  p.bias[i] = (float)(beta[c] - scale * channel.mean);
}

void fold(hk_call* call, const Sizes& s, const Layout& p) {
  HK_LAUNCH(fold_kernel, element_grid(s.batch * s.channels), dim3(kBlock), 0, stream_of(call), s, f32(call->inputs[1]), f32(call->inputs[2]),
            f32(call->inputs[3]), p);
}

// ---- one pass over the output ----  grid (batch x chunks, channels / (kThreads kSide), taps / kTaps)

// z of a thread's channels; those that are not there have weight 0. K = 0: the kernel is known at run time only.
template <int K>
struct Channels {
  const float *weights, *wave;
  int64_t first, count, kernel, stride;
  float shift, bias[kSide], w[K > 0 ? K : 1][kSide];

  __device__ Channels(const Sizes& s, const Layout& p, const float* waves, int64_t b)
      : weights(p.weights + b * s.kernel * s.channels), wave(waves + b * s.samples), first((int64_t)blockIdx.y * kThreads * kSide + threadIdx.x),
        count(s.channels), kernel(K > 0 ? K : s.kernel), stride(s.stride), shift(p.shift[b]) {
#pragma unroll
    for (int i = 0; i < kSide; i++) bias[i] = real(i) ? p.bias[b * count + channel(i)] : 0.0f;
#pragma unroll
    for (int j = 0; j < K; j++)
#pragma unroll
      for (int i = 0; i < kSide; i++) w[j][i] = stored(j, i);
  }
  __device__ int64_t channel(int i) const { return first + i * kThreads; }
  __device__ bool real(int i) const { return channel(i) < count; }
  __device__ float stored(int64_t j, int i) const { return real(i) ? weights[j * count + channel(i)] : 0.0f; }
  __device__ float sample(int64_t t, int64_t j) const { return wave[t * stride + j] - shift; }

  __device__ void convolve(int64_t t, float (&z)[kSide]) const {
#pragma unroll
    for (int i = 0; i < kSide; i++) z[i] = bias[i];
#pragma unroll
    for (int j = 0; j < (K > 0 ? K : (int)kernel); j++) {
      const float x = sample(t, j);
#pragma unroll
      for (int i = 0; i < kSide; i++) z[i] += x * (K > 0 ? w[j][i] : stored(j, i));
    }
  }
};

template <int K, class T>
__global__ void __launch_bounds__(128) convolve(Sizes s, Layout p, const float* wave, T* y) {
  const int64_t b = blockIdx.x / s.chunks, chunk = blockIdx.x % s.chunks, end = s.end_of(chunk);
  const Channels<K> channels(s, p, wave, b);
  for (int64_t t = chunk * kChunk; t < end; t++) {
    float z[kSide];
    channels.convolve(t, z);
#pragma unroll
    for (int i = 0; i < kSide; i++)
      if (channels.real(i)) y[(b * s.frames + t) * s.channels + channels.channel(i)] = gelu(z[i]);
  }
}

template <int K, class T>
__global__ void __launch_bounds__(128) convolve_grad(Sizes s, Layout p, const float* wave, const T* dy, float* chunks) {
  const int64_t b = blockIdx.x / s.chunks, chunk = blockIdx.x % s.chunks, end = s.end_of(chunk), tap0 = K > 0 ? 0 : (int64_t)blockIdx.z * kTaps;
  const Channels<K> channels(s, p, wave, b);
  float sums[kTaps][kSide] = {}, total[kSide] = {};
  for (int64_t t = chunk * kChunk; t < end; t++) {
    float g[kSide], z[kSide];
#pragma unroll
    for (int i = 0; i < kSide; i++) g[i] = channels.real(i) ? (float)dy[(b * s.frames + t) * s.channels + channels.channel(i)] : 0.0f;
    channels.convolve(t, z);
#pragma unroll
    for (int i = 0; i < kSide; i++) total[i] += g[i] *= gelu_derivative(z[i]);
#pragma unroll
    for (int j = 0; j < kTaps; j++) {
      const float x = tap0 + j < channels.kernel ? channels.sample(t, tap0 + j) : 0.0f;
#pragma unroll
      for (int i = 0; i < kSide; i++) sums[j][i] += g[i] * x;
    }
  }
  float* out = chunks + blockIdx.x * (s.kernel + 1) * s.channels;
#pragma unroll
  for (int i = 0; i < kSide; i++) {
    if (!channels.real(i)) continue;
#pragma unroll
    for (int j = 0; j < kTaps; j++)
      if (tap0 + j < channels.kernel) out[(tap0 + j) * s.channels + channels.channel(i)] = sums[j][i];
    if (tap0 == 0) out[s.kernel * s.channels + channels.channel(i)] = total[i];
  }
}

// ---- from sums to gradients ----

// [B, chunks, K + 1, C] -> [B, K + 2, C], of which the last is left out
__global__ void add_chunks(Sizes s, const float* chunks, double* rows) {
  const int64_t i = element_index(), size = (s.kernel + 1) * s.channels, b = i / size;
  if (i >= s.batch * size) return;
  double total = 0;
  for (int64_t c = 0; c < s.chunks; c++) total += chunks[(b * s.chunks + c) * size + i % size];
  rows[i + b * s.channels] = total;
}

// One thread for each row and channel: its sums -> what it adds to the gradients.
__global__ void row_gradients(Sizes s, const float* weights, const float* gammas, const double* moments, double* rows) {
  const int64_t i = element_index(), b = i / s.channels, c = i % s.channels;
  if (i >= s.batch * s.channels) return;
  const float* w = weights + c * s.kernel;
  double* sums = rows + b * (s.kernel + 2) * s.channels + c;
  moments += b * s.moments;
  const ConvNormChannel channel = channel_of(s.kernel, s.eps, w, moments);
  const double total = sums[s.kernel * s.channels];
  double along = 0;
  for (int64_t j = 0; j < s.kernel; j++) along += w[j] * (sums[j * s.channels] - total * moments[j]);
  along *= channel.rs;
  for (int64_t j = 0; j < s.kernel; j++)
    sums[j * s.channels] = gammas[c] * channel.rs * (sums[j * s.channels] - total * moments[j] - along * channel.rs * scatter_of(s.kernel, w, moments, j));
  sums[(s.kernel + 1) * s.channels] = along;
}

__global__ void add_rows(Sizes s, const double* rows, float* dw, float* dgamma, float* dbeta) {
  const int64_t i = element_index(), size = (s.kernel + 2) * s.channels, j = i / s.channels, c = i % s.channels;
  if (i >= size) return;
  double total = 0;
  for (int64_t b = 0; b < s.batch; b++) total += rows[b * size + i];
  float* to = j < s.kernel ? dw + c * s.kernel + j : j == s.kernel ? dbeta + c : dgamma + c;
  *to += (float)total;
}

// ---- forward ----

template <class T>
int run_as(hk_call* call) {
  const Sizes s(call);
  Scratch scratch(call->scratch);
  const Forward p(scratch, s);
  const float* wave = f32(call->inputs[0]);
  const dim3 blocks((unsigned)(s.batch * s.chunks)), grid((unsigned)(s.batch * s.chunks), (unsigned)blocks_for(s.channels, kThreads * kSide));
  HK_LAUNCH(moment_chunks, blocks, dim3(kThreads), 0, stream_of(call), s, wave, p.sums);
  HK_LAUNCH(finish_moments, dim3((unsigned)s.batch), dim3(kThreads), 0, stream_of(call), s, p.sums, p.moments, p.shift, f32(call->outputs[1]));
  fold(call, s, p);
  const auto kernel = s.kernel == kTaps ? convolve<kTaps, T> : convolve<0, T>;
  HK_LAUNCH(kernel, grid, dim3(kThreads), 0, stream_of(call), s, p, wave, data<T>(call->outputs[0]));
  return launched(call);
}
int run(hk_call* call) { return HK_BY_TYPE(call->outputs[0], run_as, call); }

// ---- backward ----

template <class T>
int run_grad_as(hk_call* call) {
  const Sizes s(call);
  Scratch scratch(call->scratch);
  const Backward p(scratch, s);
  const float *wave = f32(call->inputs[0]), *w = f32(call->inputs[1]), *gamma = f32(call->inputs[2]);
  HK_LAUNCH(restore_moments, element_grid(s.batch * s.moments), dim3(kBlock), 0, stream_of(call), s, f32(call->inputs[4]), p.moments, p.shift);
  fold(call, s, p);
  const dim3 grid((unsigned)(s.batch * s.chunks), (unsigned)blocks_for(s.channels, kThreads * kSide), (unsigned)blocks_for(s.kernel, kTaps));
  const auto kernel = s.kernel == kTaps ? convolve_grad<kTaps, T> : convolve_grad<0, T>;
  HK_LAUNCH(kernel, grid, dim3(kThreads), 0, stream_of(call), s, p, wave, data<T>(call->inputs[5]), p.chunks);
  HK_LAUNCH(add_chunks, element_grid(s.batch * (s.kernel + 1) * s.channels), dim3(kBlock), 0, stream_of(call), s, p.chunks, p.rows);
  HK_LAUNCH(row_gradients, element_grid(s.batch * s.channels), dim3(kBlock), 0, stream_of(call), s, w, gamma, p.moments, p.rows);
  HK_LAUNCH(add_rows, element_grid((s.kernel + 2) * s.channels), dim3(kBlock), 0, stream_of(call), s, p.rows, f32(call->outputs[0]),
            f32(call->outputs[1]), f32(call->outputs[2]));
  return launched(call);
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[5], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv0_norm_gelu, {"conv0_norm_gelu", (conv_norm_prepare<Sizes, Forward>), run, nullptr, conv_norm_cost},
            {"conv0_norm_gelu_grad", (conv_norm_grad_prepare<Sizes, Backward>), run_grad, nullptr, conv_norm_grad_cost})
