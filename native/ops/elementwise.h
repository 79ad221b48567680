// The element-wise ops: what every back-end's op files share: the contract, `prepare` and the cost.
//   add        a, b  ->  y = a + b
//   scale      x  ->  y = factor x
//   cast       x  ->  y = x, as another of f32 and bf16
//   select     a, b  ->  y = gates[gate] ? a : b (how LayerDrop leaves a block out)
//   gelu       x  ->  y = x Phi(x), the exact erf form
//   gelu_grad  z, dy  ->  dz = dy (Phi(z) + z phi(z))
//   dropout    x  ->  y = x / (1 - p) where the element's Philox word says keep, else 0; its gradient is the same op on dy
// The output of add, scale, gelu, gelu_grad and dropout may lie where one of the inputs lies: the executor lets it.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline int expect_unary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 1, 1) || expect_activation(call, op, "x", call->inputs[0], 0)) return 1;
  return expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}
static inline int expect_binary(hk_call* call, const char* op, const char* a, const char* b, const char* y) {
  if (expect_counts(call, op, 2, 1) || expect_activation(call, op, a, call->inputs[0], 0)) return 1;
  return expect_like(call, op, b, call->inputs[1], call->inputs[0]) || expect_like(call, op, y, call->outputs[0], call->inputs[0]);
}

static inline int add_prepare(hk_call* call, size_t*, void**) { return expect_binary(call, "add", "a", "b", "y"); }
static inline int scale_prepare(hk_call* call, size_t*, void**) { return expect_unary(call, "scale"); }
static inline int cast_prepare(hk_call* call, size_t*, void**) {
  if (expect_counts(call, "cast", 1, 1) || expect_activation(call, "cast", "x", call->inputs[0], 0)) return 1;
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  return expect(call, "cast", "y", y, dtype_of(y), x.shape, x.rank);
}
static inline int select_prepare(hk_call* call, size_t*, void**) {
  return expect_binary(call, "select", "a", "b", "y") || expect_integer(call, "select", "gate", -1, 0, call->n_gates - 1);
}
static inline int gelu_prepare(hk_call* call, size_t*, void**) { return expect_unary(call, "gelu"); }
static inline int gelu_grad_prepare(hk_call* call, size_t*, void**) { return expect_binary(call, "gelu_grad", "z", "dy", "dz"); }
static inline int dropout_prepare(hk_call* call, size_t*, void**) { return expect_unary(call, "dropout") || expect_dropout(call, "dropout"); }

// What `select` copies.
static inline const hk_tensor& selected(const hk_call* call) { return call->inputs[call->gates[(int)attribute(call, "gate", -1)] ? 0 : 1]; }

// `flops` of an element, `inputs` that are read.
static inline hk_cost elementwise_cost(const hk_call* call, double flops, int inputs) {
  const double n = (double)elements(call->inputs[0]);
  return {flops * n, (double)(element_bytes(call->inputs[0]) * (size_t)inputs + element_bytes(call->outputs[0])) * n};
}
static inline hk_cost unary_cost(const hk_call* call) { return elementwise_cost(call, 1, 1); }
static inline hk_cost binary_cost(const hk_call* call) { return elementwise_cost(call, 1, 2); }
static inline hk_cost gelu_cost(const hk_call* call) { return elementwise_cost(call, 30, call->n_inputs); }

}  // namespace HK_ISA
}  // namespace hk
