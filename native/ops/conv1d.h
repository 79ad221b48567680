// conv1d: what every back-end's op file shares: the contract, its checks, the cost, and the products that it is made of.
//   x [B, T, Cin], w [Cout, Cin, k], bias [Cout]?  ->  z [B, T', Cout] = bias + sum_j x[t*stride + j] w[.., j],  y = gelu(z) (or z itself),
//   T' = (T - k) / stride + 1; no padding
//
// z, y and the gradients of x and z may be bf16 (then x is as well, except a waveform, which stays f32): weights are cast when repacked,
// products sum in f32 and round once for each group of taps.
//
// Channels last, `stride` adjacent taps of all frames are one dense matrix: row t begins at frame t*stride and holds stride*Cin numbers. The
// convolution is then ceil(k / stride) matrix products, each on such a view moved on by `stride` taps, accumulated (k = 3, stride 2: taps 0, 1
// with K = 2 Cin, then tap 2 with K = Cin). The same views serve both gradients: dx's rows of stride*Cin numbers get dz W of
// each group of taps, dw = dz' x of each group. Weights are repacked on every run to [Cout, k, Cin].
// Include it behind the back-end's gemm.h: `Gemm` is that back-end's.
#pragma once
#include <initializer_list>

#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

struct ConvSizes {
  int64_t batch, time, in, out, kernel, stride, frames;
  int64_t groups;  // of `stride` adjacent taps, the last one perhaps smaller
  int64_t width;   // a row of the packed weight, kernel * in
  int64_t taps(int64_t group) const {
    const int64_t left = kernel - group * stride;
    return left < stride ? left : stride;
  }
};

static inline ConvSizes conv_sizes(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  ConvSizes s = {x.shape[0], x.shape[1], x.shape[2], w.shape[0], w.shape[2], (int64_t)attribute(call, "stride", 1), 0, 0, 0};
  s.frames = (s.time - s.kernel) / s.stride + 1;
  s.groups = (s.kernel + s.stride - 1) / s.stride;
  s.width = s.kernel * s.in;
  return s;
}

// Products for the first group of taps, the whole groups after it and a smaller last one.
struct Products {
  Gemm *first = nullptr, *middle = nullptr, *last = nullptr;
  const Gemm* of(const ConvSizes& s, int64_t group) const {
    if (group == 0) return first;
    return s.taps(group) == s.stride ? middle : last;
  }
  size_t scratch_bytes() const {
    size_t most = 0;
    for (const Gemm* g : {first, middle, last})
      if (g && g->scratch_bytes() > most) most = g->scratch_bytes();
    return most;
  }
  ~Products() {
    delete first;
    delete middle;
    delete last;
  }
};

struct ConvProducts { Products forward, dx, dw_first_row, dw; };

// gemm(taps, accumulate) makes each of the three; false when it made none.
template <class Make>
static inline bool make_products(const ConvSizes& s, Products* p, const Make& gemm, bool accumulate_first) {
  p->first = gemm(s.taps(0), accumulate_first);
  if (!p->first) return false;
  const int64_t tail = s.taps(s.groups - 1);
  if (s.groups > 2 || (s.groups == 2 && tail == s.stride)) p->middle = gemm(s.stride, true);
  if (s.groups > 1 && tail < s.stride) p->last = gemm(tail, true);
  return s.groups < 2 || (p->of(s, 1) && p->of(s, s.groups - 1));
}

// One input channel: a waveform, whose products would have a tiny K. Back-ends take it another way and round once.
static inline bool is_direct(const ConvSizes& s) { return s.in == 1; }

// What both directions need; `output`: z, y or the gradient of z.
static inline int expect_conv(hk_call* call, const char* op, const hk_tensor& output) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (x.rank != 3 || !is_activation(x) || elements(x) < 1) return fail(call, "%s: x must be f32 or bf16 [B, T, Cin], got %s", op, describe(x, text));
  if (w.rank != 3 || w.dtype != HK_F32 || elements(w) < 1 || w.shape[1] != x.shape[2])
    return fail(call, "%s: the weight must be f32[Cout, %lld, k], got %s", op, (long long)x.shape[2], describe(w, text));
  if (expect_integer(call, op, "stride", 1, 1, 4096)) return 1;
  if (x.shape[1] < w.shape[2])
    return fail(call, "%s: %lld frames are fewer than the kernel (%lld)", op, (long long)x.shape[1], (long long)w.shape[2]);
  const ConvSizes s = conv_sizes(call);
  if (is_direct(s) && x.dtype != HK_F32) return fail(call, "%s: one channel must be f32, got %s", op, describe(x, text));
  return expect(call, op, "the output's side", output, is_direct(s) ? dtype_of(output) : x.dtype, {s.batch, s.frames, s.out});
}

// Of the forward pass alone: bias, gelu, z.
static inline int expect_conv_outputs(hk_call* call, const char* op) {
  const hk_tensor &bias = call->inputs[2], &z = call->outputs[1];
  if (present(bias) && expect(call, op, "bias", bias, HK_F32, {call->inputs[1].shape[0]})) return 1;
  if (expect_gelu(call, op, z)) return 1;
  return present(z) ? expect_like(call, op, "z", z, call->outputs[0]) : 0;
}

static inline int expect_conv_gradients(hk_call* call, const char* op) {
  const hk_tensor *in = call->inputs, *out = call->outputs;
  if (is_direct(conv_sizes(call)) && present(out[0]) && is_bf16(in[2])) return fail(call, "%s: a waveform has no gradient in bf16", op);
  if (present(out[0]) && expect_like(call, op, "dx", out[0], in[0])) return 1;
  if (expect_like(call, op, "dw", out[1], in[1])) return 1;
  return present(out[2]) ? expect(call, op, "dbias", out[2], HK_F32, {in[1].shape[0]}) : 0;
}

static inline hk_cost conv_cost(const hk_call* call) {
  const ConvSizes s = conv_sizes(call);
  const double n = (double)s.batch * s.frames * s.out;
  return {2.0 * n * s.width, element_bytes(call->outputs[0]) * n * (present(call->outputs[1]) ? 2 : 1) +
                                 element_bytes(call->inputs[0]) * (double)elements(call->inputs[0]) + 4.0 * s.out * s.width};
}
static inline hk_cost conv_grad_cost(const hk_call* call) {
  const ConvSizes s = conv_sizes(call);
  const double n = (double)s.batch * s.frames * s.out, x = (double)elements(call->inputs[0]), times = present(call->outputs[0]) ? 2 : 1;
  return {2.0 * n * s.width * times, element_bytes(call->inputs[2]) * n + element_bytes(call->inputs[0]) * x * times + 4.0 * s.out * s.width};
}

}  // namespace HK_ISA
}  // namespace hk
