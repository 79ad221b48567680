// pos_conv: what every back-end's op file shares: the contract, its checks and the cost. Positional convolution: a long grouped convolution
// over time that keeps the number of frames, with bias and GELU.
//   x [B, T, D], w [D, D/G, k], bias [D]  ->  y [B, T, D], z [B, T, D]? (gelu = 1 and wanted by the backward pass):
//     z[b, t, o] = bias_o + sum_{i, j} w[o, i, j] x[b, t - k/2 + j, group(o) + i],  y = gelu(z) (or z itself)
//   pos_conv_grad: x, w, dz  ->  dx?, dw +=, dbias +=
// x outside [0, T) is 0. An even k would give T + 1 frames: the last one is dropped. A back-end may round the weights to the dtype of x; sums
// are f32.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

struct PosConvSizes {
  int64_t batch, time, width, groups, channels, kernel;  // channels: of a group
  int64_t before_x, before_z;                            // zeros before frame 0 of x, of dz
  explicit PosConvSizes(const hk_call* call) {
    const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
    batch = x.shape[0];
    time = x.shape[1];
    width = x.shape[2];
    channels = w.shape[1];
    groups = width / channels;
    kernel = w.shape[2];
    before_x = kernel / 2;
    before_z = kernel - 1 - before_x;
  }
};

// x, w and the groups, which both directions have.
static inline int expect_positional(hk_call* call, const char* op) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (expect_activation(call, op, "x", x, 3) || expect_dense(call, op, "the weight", w, HK_F32, 3)) return 1;
  if (x.rank != 3) return fail(call, "%s: x must be [B, T, D], got %s", op, describe(x, text));
  const int64_t width = x.shape[2];
  if (expect_integer(call, op, "groups", 1, 1, (double)width)) return 1;
  const int64_t groups = (int64_t)attribute(call, "groups", 1);
  if (width % groups) return fail(call, "%s: %lld channels do not divide into %lld groups", op, (long long)width, (long long)groups);
  return expect(call, op, "the weight", w, HK_F32, {width, width / groups, w.shape[2]});
}

static inline int expect_pos_conv(hk_call* call) {
  const char* op = "pos_conv";
  if (expect_counts(call, op, 3, 2) || expect_positional(call, op)) return 1;
  const hk_tensor &x = call->inputs[0], &z = call->outputs[1];
  if (expect_gelu(call, op, z) || expect(call, op, "bias", call->inputs[2], HK_F32, {x.shape[2]})) return 1;
  return expect_like(call, op, "y", call->outputs[0], x) || (present(z) && expect_like(call, op, "z", z, x));
}

static inline int expect_pos_conv_grad(hk_call* call) {
  const char* op = "pos_conv_grad";
  if (expect_counts(call, op, 3, 3) || expect_positional(call, op)) return 1;
  const hk_tensor &x = call->inputs[0], *out = call->outputs;
  if (expect_like(call, op, "dz", call->inputs[2], x) || (present(out[0]) && expect_like(call, op, "dx", out[0], x))) return 1;
  return expect_like(call, op, "dw", out[1], call->inputs[1]) || expect(call, op, "dbias", out[2], HK_F32, {x.shape[2]});
}

static inline hk_cost pos_conv_cost(const hk_call* call) {
  const PosConvSizes s(call);
  const double n = (double)s.batch * s.time * s.width, reach = (double)s.channels * s.kernel;
  return {2.0 * n * reach, element_bytes(call->inputs[0]) * n * (present(call->outputs[1]) ? 3 : 2) + 4.0 * s.width * reach};
}
static inline hk_cost pos_conv_grad_cost(const hk_call* call) {
  const PosConvSizes s(call);
  const double n = (double)s.batch * s.time * s.width, reach = (double)s.channels * s.kernel, times = present(call->outputs[0]) ? 2 : 1;
  return {2.0 * times * n * reach, element_bytes(call->inputs[0]) * n * (1 + times) + 8.0 * s.width * reach};
}

}  // namespace HK_ISA
}  // namespace hk
