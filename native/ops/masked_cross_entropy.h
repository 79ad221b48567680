// masked_cross_entropy: what every back-end's op file shares: the contract, its checks and the cost. HuBERT's loss (arXiv 2106.07447,
// eq. 2-3). For each visited frame h
//   z = h wp' + bp                                     [P]
//   logit[k] = cos(z, e[k]) / temperature              each norm clamped from below at 1e-8
//   loss = log sum_k exp(logit[k]) - logit[label]
// inputs  h[B,T,D]  wp[P,D]  bp[P]  e[K,P]  labels i32[B,T] (outside [0,K): ignored)  mask u8[B,T]  lengths i32[B]
// outputs sums[6] = masked {loss, count, correct}, unmasked {same};  z[B*T,P], lse[B*T] for the gradient
// Visited are the masked frames with a label and, with unmasked=1, the others with a label too. `correct` counts frames whose label is
// the arg max; never when all logits are equal. Which rows of z and lse belong to which frames is the back-end's own affair.
//
// gradient: inputs h, wp, bp, e, labels, mask, lengths, z, lse, dsums[6]; outputs dh, dwp+=, dbp+=, de+=. The logits are made again from z:
//   dlogit = weight (softmax - onehot) / temperature;  du = dlogit e^;  dz = (du - (du.u) u) / |z|  with u = z / |z|
// and for e the same formula; weight is dsums[0] for masked frames and dsums[3] for the others. A clamped norm is a constant.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

const float kSmallestNorm = 1e-8f;

struct LossSizes { int64_t B, T, D, P, K, frames; };

static inline LossSizes loss_sizes(const hk_call* call) {
  const hk_tensor &h = call->inputs[0], &wp = call->inputs[1], &e = call->inputs[3];
  return {h.shape[0], h.shape[1], h.shape[2], wp.shape[0], e.shape[0], h.shape[0] * h.shape[1]};
}
static inline bool visits_unmasked(const hk_call* call) { return attribute(call, "unmasked", 0) != 0; }
static inline float inverse_temperature_of(const hk_call* call) { return (float)(1 / attribute(call, "temperature", 0.1)); }

static inline int expect_loss_inputs(hk_call* call, const char* op) {
  const hk_tensor* in = call->inputs;
  if (in[0].rank != 3 || in[1].rank != 2 || in[3].rank != 2)
    return fail(call, "%s: h must be [B, T, D], wp [P, D], e [K, P]; got ranks %d, %d, %d", op, in[0].rank, in[1].rank, in[3].rank);
  if (elements(in[0]) < 1 || elements(in[1]) < 1 || elements(in[3]) < 1) return fail(call, "%s: empty tensor", op);
  const LossSizes s = loss_sizes(call);
  if (s.frames > INT32_MAX) return fail(call, "%s: more than 2^31 frames", op);
  if (expect_activation(call, op, "h", in[0], 3) || expect(call, op, "wp", in[1], HK_F32, {s.P, s.D}) ||
      expect(call, op, "bp", in[2], HK_F32, {s.P}) || expect(call, op, "e", in[3], HK_F32, {s.K, s.P}) ||
      expect(call, op, "labels", in[4], HK_I32, {s.B, s.T}) || expect(call, op, "mask", in[5], HK_U8, {s.B, s.T}) ||
      expect(call, op, "lengths", in[6], HK_I32, {s.B}))
    return 1;
  const double temperature = attribute(call, "temperature", 0.1);
  if (!(temperature > 0 && temperature < 1e6)) return fail(call, "%s: temperature must be positive, got %g", op, temperature);
  return 0;
}

static inline int expect_masked_cross_entropy(hk_call* call) {
  const char* op = "masked_cross_entropy";
  if (expect_counts(call, op, 7, 3) || expect_loss_inputs(call, op)) return 1;
  const LossSizes s = loss_sizes(call);
  const hk_tensor* out = call->outputs;
  return expect(call, op, "sums", out[0], HK_F32, {6}) || expect(call, op, "z", out[1], HK_F32, {s.frames, s.P}) ||
         expect(call, op, "lse", out[2], HK_F32, {s.frames});
}

static inline int expect_masked_cross_entropy_grad(hk_call* call) {
  const char* op = "masked_cross_entropy_grad";
  if (expect_counts(call, op, 10, 4) || expect_loss_inputs(call, op)) return 1;
  const LossSizes s = loss_sizes(call);
  const hk_tensor *in = call->inputs, *out = call->outputs;
  return expect(call, op, "z", in[7], HK_F32, {s.frames, s.P}) || expect(call, op, "lse", in[8], HK_F32, {s.frames}) ||
         expect(call, op, "dsums", in[9], HK_F32, {6}) || expect_like(call, op, "dh", out[0], in[0]) || expect_like(call, op, "dwp", out[1], in[1]) ||
         expect_like(call, op, "dbp", out[2], in[2]) || expect_like(call, op, "de", out[3], in[3]);
}

// About half of the frames are masked; with unmasked=1 all of them are visited.
static inline double visited_frames(const hk_call* call) { return (visits_unmasked(call) ? 1 : 0.5) * (double)loss_sizes(call).frames; }

static inline hk_cost masked_cross_entropy_cost(const hk_call* call) {
  const LossSizes s = loss_sizes(call);
  const double n = visited_frames(call), weights = (double)s.P * (s.D + s.K);
  return {2 * n * weights, element_bytes(call->inputs[0]) * n * s.D + 4 * (n * s.P + weights)};
}

static inline hk_cost masked_cross_entropy_grad_cost(const hk_call* call) {
  const LossSizes s = loss_sizes(call);
  const double n = visited_frames(call), weights = (double)s.P * (s.D + s.K);
  return {2 * n * s.P * (2.0 * s.D + 3.0 * s.K), element_bytes(call->inputs[0]) * (n + s.frames) * s.D + 4 * (n * s.P + 4 * weights)};
}

}  // namespace HK_ISA
}  // namespace hk
