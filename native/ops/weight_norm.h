// weight_norm: what every back-end's op file shares: the contract, its checks and the cost. Weight normalisation of the positional
// convolution: one norm for each kernel tap (dim = 2 of [O, I, k]).
//   weight_norm       v [O, I, k], g [1, 1, k]  ->  w = g_j v[.., j] / n_j,  n_j = |v[.., j]| over (O, I)
//   weight_norm_grad  v, g, dw  ->  dv += g_j / n_j (dw - v (v . dw)_j / n_j^2),  dg += (v . dw)_j / n_j
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline int expect_weight_norm_inputs(hk_call* call, const char* op) {
  const hk_tensor& v = call->inputs[0];
  char text[96];
  if (v.rank != 3 || v.dtype != HK_F32 || elements(v) < 1) return fail(call, "%s: v must be f32[O, I, k], got %s", op, describe(v, text));
  return expect(call, op, "g", call->inputs[1], HK_F32, {1, 1, v.shape[2]});
}

static inline int expect_weight_norm(hk_call* call) {
  const char* op = "weight_norm";
  return expect_counts(call, op, 2, 1) || expect_weight_norm_inputs(call, op) || expect_like(call, op, "w", call->outputs[0], call->inputs[0]);
}

static inline int expect_weight_norm_grad(hk_call* call) {
  const char* op = "weight_norm_grad";
  if (expect_counts(call, op, 3, 2) || expect_weight_norm_inputs(call, op)) return 1;
  const hk_tensor *in = call->inputs, *out = call->outputs;
  return expect_like(call, op, "dw", in[2], in[0]) || expect_like(call, op, "dv", out[0], in[0]) || expect_like(call, op, "dg", out[1], in[1]);
}

static inline hk_cost weight_norm_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {3.0 * n, 4.0 * n * (call->n_inputs == 3 ? 4 : 2)};
}

}  // namespace HK_ISA
}  // namespace hk
