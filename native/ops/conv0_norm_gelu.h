// conv0_norm_gelu: what every back-end's op file shares: the contract, its checks, the cost and the algebra of one channel.
// conv0 + GroupNorm (one channel a group) + GELU of the waveform feature extractor, in one pass over the output.
//
//   wave [B, N], w [C, 1, K], gamma [C], beta [C]  ->  y [B, T, C],  T = (N - K) / stride + 1;  moments [B, K + K*K]
//
// The convolution is linear in the window x_t = wave[t*stride .. t*stride + K), so that its statistics over time need no pass over
// its output: with m and R the mean and the (biased) covariance of the windows of a row (`moments`), channel c has mean w_c . m and
// variance w_c' R w_c. Normalisation then folds into the weights: z = (gamma rs w) . (x - m) + beta with rs = 1 / sqrt(var + eps),
// y = gelu(z). The un-normalised output is never stored. The backward pass recomputes z and reads dy once: with g = dy gelu'(z),
// A = sum_t g (x_t - m) and G = sum_t g,
//
//   dbeta = G     dgamma = rs w . A     dw = gamma rs (A - dgamma rs R w)
//
// y and its gradient may be bf16, the rest is f32.
//
// Windows are taken relative to a constant near the row's mean (`shift`), in float32; moments are summed in double.
#pragma once
#include "hubertkit/op.h"
#include "hubertkit/scratch.h"

namespace hk {
namespace HK_ISA {

const int64_t kMaxKernel = 64;

struct ConvNormSizes {
  int64_t batch, samples, channels, kernel, stride, frames;
  int64_t moments;  // of a row: K + K*K
  double  eps;
  explicit ConvNormSizes(const hk_call* call) {
    const hk_tensor &wave = call->inputs[0], &w = call->inputs[1];
    batch = wave.shape[0];
    samples = wave.shape[1];
    channels = w.shape[0];
    kernel = w.shape[2];
    stride = (int64_t)attribute(call, "stride", 5);
    frames = (samples - kernel) / stride + 1;
    moments = kernel + kernel * kernel;
    eps = attribute(call, "eps", 1e-5);
  }
};

// What both directions need.
static inline int expect_conv_norm(hk_call* call, const char* op) {
  const hk_tensor &wave = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (wave.rank != 2 || wave.dtype != HK_F32 || wave.shape[0] < 1) return fail(call, "%s: wave must be f32[B, N], got %s", op, describe(wave, text));
  if (w.rank != 3 || w.dtype != HK_F32 || w.shape[0] < 1 || w.shape[1] != 1 || w.shape[2] < 1 || w.shape[2] > kMaxKernel)
    return fail(call, "%s: the weight must be f32[C, 1, K] with K from 1 to %d, got %s", op, (int)kMaxKernel, describe(w, text));
  if (expect_integer(call, op, "stride", 5, 1, 4096)) return 1;
  const double eps = attribute(call, "eps", 1e-5);
  if (!(eps > 0 && eps < 1)) return fail(call, "%s: eps must lie between 0 and 1, got %g", op, eps);
  if (wave.shape[1] < w.shape[2])
    return fail(call, "%s: a row of %lld samples is shorter than the kernel (%lld)", op, (long long)wave.shape[1], (long long)w.shape[2]);
  return expect(call, op, "gamma", call->inputs[2], HK_F32, {w.shape[0]}) || expect(call, op, "beta", call->inputs[3], HK_F32, {w.shape[0]});
}

template <class Sizes, class Layout>
static inline size_t layout_bytes(const hk_call* call) {
  Scratch scratch(nullptr);
  Layout(scratch, Sizes(call));
  return scratch.bytes();
}

// `prepare`. Sizes are ConvNormSizes or more, a Layout is made from (Scratch&, const Sizes&).
template <class Sizes, class Layout>
static inline int conv_norm_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "conv0_norm_gelu";
  if (expect_counts(call, op, 4, 2) || expect_conv_norm(call, op)) return 1;
  const ConvNormSizes s(call);
  if (expect(call, op, "y", call->outputs[0], dtype_of(call->outputs[0]), {s.batch, s.frames, s.channels}) ||
      expect(call, op, "moments", call->outputs[1], HK_F32, {s.batch, s.moments}))
    return 1;
  *scratch_bytes = layout_bytes<Sizes, Layout>(call);
  return 0;
}

template <class Sizes, class Layout>
static inline int conv_norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "conv0_norm_gelu_grad";
  if (expect_counts(call, op, 6, 3) || expect_conv_norm(call, op)) return 1;
  const ConvNormSizes s(call);
  if (expect(call, op, "moments", call->inputs[4], HK_F32, {s.batch, s.moments}) ||
      expect(call, op, "dy", call->inputs[5], dtype_of(call->inputs[5]), {s.batch, s.frames, s.channels}) ||
      expect(call, op, "dw", call->outputs[0], HK_F32, {s.channels, 1, s.kernel}) ||
      expect(call, op, "dgamma", call->outputs[1], HK_F32, {s.channels}) || expect(call, op, "dbeta", call->outputs[2], HK_F32, {s.channels}))
    return 1;
  *scratch_bytes = layout_bytes<Sizes, Layout>(call);
  return 0;
}

// (R w)[j]; `moments`: a row's.
HK_ANYWHERE static inline double scatter_of(int64_t kernel, const float* w, const double* moments, int64_t j) {
  double sum = 0;
  for (int64_t i = 0; i < kernel; i++) sum += moments[kernel + j * kernel + i] * w[i];
  return sum;
}

struct ConvNormChannel { double rs, mean; };  // 1 / std, w . m

HK_ANYWHERE static inline ConvNormChannel channel_of(int64_t kernel, double eps, const float* w, const double* moments) {
  double variance = 0, mean = 0;
  for (int64_t j = 0; j < kernel; j++) {
    variance += scatter_of(kernel, w, moments, j) * w[j];
    mean += moments[j] * w[j];
  }
  const double rs = variance != variance ? variance : 1.0 / sqrt((variance > 0 ? variance : 0) + eps);
  return {rs, mean};
}

static inline hk_cost conv_norm_cost(const hk_call* call) {
  const ConvNormSizes s(call);
  const double outputs = (double)s.batch * s.frames * s.channels;
  return {2.0 * outputs * s.kernel, element_bytes(call->n_inputs == 6 ? call->inputs[5] : call->outputs[0]) * outputs + 4.0 * s.batch * s.samples};
}
static inline hk_cost conv_norm_grad_cost(const hk_call* call) {
  const hk_cost once = conv_norm_cost(call);
  return {2.0 * once.flops, once.bytes};
}

}  // namespace HK_ISA
}  // namespace hk
