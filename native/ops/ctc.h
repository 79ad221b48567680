// ctc: what every back-end's op file shares: the contract, its checks and the cost.
// Connectionist temporal classification (Graves et al., ICML 2006, sections 4.1-4.2), forward-backward in log space.
// inputs  logits[B,T,V]  frame_lengths i32[B]  targets i32[B,S]  target_lengths i32[B]
// attributes blank, zero_infinity
// outputs loss[B] = -ln p(target | logits) in nats, dlogits_unit[B,T,V] = d loss[b] / d logits[b]
// gradient: inputs dlogits_unit, dloss[B]; dlogits[b] = dloss[b] dlogits_unit[b]
//
// States s = 0 .. 2L: blank, target 0, blank, target 1, ..., blank. alpha[t][s]: log probability of all prefixes that end in
// state s at frame t, emission included; beta the same for suffixes. The gradient is
// softmax(logits[t])[v] - sum over states s of v of the probability to be in s at t. A target that does not fit into its frames
// (repeated labels need a blank between them) has loss +inf, or 0 with zero_infinity; its gradient is 0 either way.
// Frames behind frame_lengths get gradient 0.
//
// Values are double: a path's log probability reaches thousands, where a float's steps are too coarse for the gradient. The
// log of a sum needs only the differences to the largest term, and those are taken in float.
//
// Lengths outside [0, T] and [0, S], and targets that are no class other than the blank, are refused by `run` where it reads them on the
// host. A device cannot refuse: there such a row has loss and gradient NaN (and the optimiser skips the step), the others keep theirs.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

const double kLogZero = -INFINITY;

struct CtcSizes {
  int64_t B, T, V, S;
  int64_t states;  // of a row with S targets
};

static inline CtcSizes ctc_sizes(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &y = call->inputs[2];
  return {x.shape[0], x.shape[1], x.shape[2], y.shape[1], 2 * y.shape[1] + 1};
}

static inline int expect_ctc(hk_call* call) {
  const char* op = "ctc";
  if (expect_counts(call, op, 4, 2)) return 1;
  const hk_tensor *in = call->inputs, *out = call->outputs;
  if (in[0].rank != 3 || in[2].rank != 2) return fail(call, "ctc: logits must be [B, T, V] and targets [B, S]");
  if (elements(in[0]) < 1 || elements(in[2]) < 1) return fail(call, "ctc: empty tensor");
  const CtcSizes s = ctc_sizes(call);
  if (expect(call, op, "logits", in[0], HK_F32, {s.B, s.T, s.V}) ||
      expect(call, op, "frame_lengths", in[1], HK_I32, {s.B}) || expect(call, op, "targets", in[2], HK_I32, {s.B, s.S}) ||
      expect(call, op, "target_lengths", in[3], HK_I32, {s.B}) || expect(call, op, "loss", out[0], HK_F32, {s.B}) ||
      expect(call, op, "dlogits_unit", out[1], HK_F32, {s.B, s.T, s.V}))
    return 1;
  const double blank = attribute(call, "blank", 0);
  if (!(blank >= 0 && blank < s.V && blank == (int64_t)blank))
    return fail(call, "ctc: blank must be a class in 0..%lld, got %g", (long long)s.V - 1, blank);
  return 0;
}

static inline int ctc_grad_prepare(hk_call* call, size_t*, void**) {
  const char* op = "ctc_grad";
  if (expect_counts(call, op, 2, 1)) return 1;
  const hk_tensor& unit = call->inputs[0];
  if (unit.rank != 3 || unit.dtype != HK_F32 || elements(unit) < 1) return fail(call, "ctc_grad: dlogits_unit must be f32 [B, T, V]");
  return expect(call, op, "dloss", call->inputs[1], HK_F32, {unit.shape[0]}) ||
         expect(call, op, "dlogits", call->outputs[0], HK_F32, unit.shape, 3);
}

HK_ANYWHERE static inline bool ctc_label_fits(int32_t label, int64_t classes, int32_t blank) { return label >= 0 && label < classes && label != blank; }

HK_ANYWHERE static inline double log_add(double a, double b, double c) {
  const double largest = a > b ? (a > c ? a : c) : (b > c ? b : c);
  if (largest == kLogZero) return kLogZero;
  const float sum = expf((float)(a - largest)) + expf((float)(b - largest)) + expf((float)(c - largest));
  return largest + logf(sum);
}

static inline hk_cost ctc_cost(const hk_call* call) {
  const CtcSizes s = ctc_sizes(call);
  return {10.0 * s.B * s.T * (s.states + s.V), 8.0 * s.B * s.T * s.V};
}
static inline hk_cost ctc_grad_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 8 * n};
}

}  // namespace HK_ISA
}  // namespace hk
