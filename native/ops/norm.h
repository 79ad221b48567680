// The layer norms: what every back-end's op files share: the contract, the checks of `prepare` and the cost.
//   layer_norm           x[.., D], gamma[D], beta[D]  ->  y, stats[rows, 2]: each row of x to mean 0 and variance 1 (biased), then gamma
//                        and beta; stats = {mean, 1 / deviation}
//   layer_norm_grad      x, gamma, stats, dy  ->  dx, dgamma += and dbeta += where present
//   add_layer_norm       x, y[.., D], gamma, beta  ->  h, s[.., D], stats: the end of a post-norm block in one pass, s = x + dropout(y),
//                        h = layer_norm(s)
//   add_layer_norm_grad  s, gamma, stats, dh, ds? (a gradient that reaches s past the norm)  ->  dx = whole gradient of s, dy? = dropout mask
//                        applied to dx (absent without dropout: it is dx), dgamma += and dbeta += where present
// The dropout mask is made again from its counters, never stored.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline double eps_of(const hk_call* call) { return attribute(call, "eps", 1e-5); }

static inline int expect_eps(hk_call* call, const char* op) {
  const double eps = eps_of(call);
  return eps >= 0 && eps < 1 ? 0 : fail(call, "%s: eps must be in [0, 1), got %g", op, eps);
}
static inline int expect_channels(hk_call* call, const char* op, const char* what, const hk_tensor& t, int64_t width) {
  return expect(call, op, what, t, HK_F32, {width});
}
static inline int expect_stats(hk_call* call, const char* op, const hk_tensor& t, const hk_tensor& x) {
  return expect(call, op, "stats", t, HK_F32, {rows(x), 2});
}
static inline int expect_parameter_gradients(hk_call* call, const char* op, const hk_tensor& dgamma, const hk_tensor& dbeta, int64_t width) {
  return (present(dgamma) && expect_channels(call, op, "dgamma", dgamma, width)) ||
         (present(dbeta) && expect_channels(call, op, "dbeta", dbeta, width));
}

static inline int layer_norm_prepare(hk_call* call, size_t*, void**) {
  const char* op = "layer_norm";
  if (expect_counts(call, op, 3, 2)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_activation(call, op, "x", x, 1) || expect_eps(call, op)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[1], last(x)) || expect_channels(call, op, "beta", call->inputs[2], last(x))) return 1;
  return expect_like(call, op, "y", call->outputs[0], x) || expect_stats(call, op, call->outputs[1], x);
}

static inline int expect_layer_norm_grad(hk_call* call) {
  const char* op = "layer_norm_grad";
  if (expect_counts(call, op, 4, 3)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_activation(call, op, "x", x, 1)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[1], last(x)) || expect_stats(call, op, call->inputs[2], x)) return 1;
  if (expect_like(call, op, "dy", call->inputs[3], x) || expect_like(call, op, "dx", call->outputs[0], x)) return 1;
  return expect_parameter_gradients(call, op, call->outputs[1], call->outputs[2], last(x));
}

static inline int add_layer_norm_prepare(hk_call* call, size_t*, void**) {
  const char* op = "add_layer_norm";
  if (expect_counts(call, op, 4, 3)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_activation(call, op, "x", x, 1) || expect_eps(call, op) || expect_dropout(call, op)) return 1;
  if (expect_like(call, op, "y", call->inputs[1], x)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[2], last(x)) || expect_channels(call, op, "beta", call->inputs[3], last(x))) return 1;
  if (expect_like(call, op, "h", call->outputs[0], x) || expect_like(call, op, "s", call->outputs[1], x)) return 1;
  return expect_stats(call, op, call->outputs[2], x);
}

static inline int expect_add_layer_norm_grad(hk_call* call) {
  const char* op = "add_layer_norm_grad";
  if (expect_counts(call, op, 5, 4)) return 1;
  const hk_tensor &s = call->inputs[0], &ds = call->inputs[4], &dy = call->outputs[1];
  if (expect_activation(call, op, "s", s, 1) || expect_dropout(call, op)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[1], last(s)) || expect_stats(call, op, call->inputs[2], s)) return 1;
  if (expect_like(call, op, "dh", call->inputs[3], s) || expect_like(call, op, "dx", call->outputs[0], s)) return 1;
  if (present(ds) && expect_like(call, op, "ds", ds, s)) return 1;
  if (present(dy) && expect_like(call, op, "dy", dy, s)) return 1;
  return expect_parameter_gradients(call, op, call->outputs[2], call->outputs[3], last(s));
}

// `arrays` of activations read or written.
static inline hk_cost norm_cost(const hk_call* call, double flops, double arrays) {
  const double n = (double)elements(call->inputs[0]);
  return {flops * n, arrays * element_bytes(call->inputs[0]) * n};
}
static inline hk_cost layer_norm_cost(const hk_call* call) { return norm_cost(call, 8, 2); }
static inline hk_cost layer_norm_grad_cost(const hk_call* call) { return norm_cost(call, 16, 3); }
static inline hk_cost add_layer_norm_cost(const hk_call* call) { return norm_cost(call, 9, 4); }
static inline hk_cost add_layer_norm_grad_cost(const hk_call* call) {
  return norm_cost(call, 18, 3.0 + present(call->inputs[4]) + present(call->outputs[1]));
}

}  // namespace HK_ISA
}  // namespace hk
