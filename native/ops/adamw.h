// adamw: what every back-end's op file shares: the contract, its checks and the cost.
// Decoupled weight decay (Loshchilov & Hutter, ICLR 2019) over the flat parameter memory, with the global-norm clip.
// inputs  values[n]  gradients[n]  m[n]  v[n]  segment_ends i32[S] (ascending, last = n)  trainable u8[S]
//         hyper[7] = {lr, beta1, beta2, eps, weight_decay, clip (0: none), step (from 1)}
// output  info[2] = {gradient norm before clipping, over the trainable segments; 1 when the step was skipped}
//   g *= min(1, clip / (norm + 1e-6));  m += (1-beta1)(g - m);  v += (1-beta2)(g^2 - v)
//   p *= 1 - lr wd;  p -= lr (m / (1-beta1^step)) / (sqrt(v / (1-beta2^step)) + eps);  gradient := 0
// A norm that is not finite leaves values, m and v alone and zeroes the gradients. Frozen segments keep everything but their
// gradients, which are zeroed.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline int expect_adamw(hk_call* call) {
  const char* op = "adamw";
  if (expect_counts(call, op, 7, 1)) return 1;
  const hk_tensor* in = call->inputs;
  if (in[0].rank != 1 || in[4].rank != 1) return fail(call, "adamw: values and segment_ends must have rank 1");
  const int64_t n = in[0].shape[0], S = in[4].shape[0];
  if (n < 1 || n > INT32_MAX || S < 1) return fail(call, "adamw: from 1 to 2^31-1 values in at least one segment, got %lld in %lld", (long long)n, (long long)S);
  return expect(call, op, "values", in[0], HK_F32, {n}) || expect(call, op, "gradients", in[1], HK_F32, {n}) ||
         expect(call, op, "m", in[2], HK_F32, {n}) || expect(call, op, "v", in[3], HK_F32, {n}) ||
         expect(call, op, "segment_ends", in[4], HK_I32, {S}) || expect(call, op, "trainable", in[5], HK_U8, {S}) ||
         expect(call, op, "hyper", in[6], HK_F32, {7}) || expect(call, op, "info", call->outputs[0], HK_F32, {2});
}

static inline hk_cost adamw_cost(const hk_call* call) {
  const double n = (double)call->inputs[0].shape[0];
  return {14 * n, 4 * 9 * n};
}

}  // namespace HK_ISA
}  // namespace hk
