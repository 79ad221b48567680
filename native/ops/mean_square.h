// mean_square: what every back-end's op file shares: the contract, `prepare` and the cost.
//   mean_square       x  ->  y[1] = mean of x^2 over all elements (the penalty on the features): the sums of fixed chunks are added in double
//   mean_square_grad  x, dy[1]  ->  dx = 2 x dy / n
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

const int64_t kSquareChunk = 4096;  // elements

// Scratch: the sum of each chunk.
static inline int64_t square_chunks(const hk_tensor& x) { return (elements(x) + kSquareChunk - 1) / kSquareChunk; }

static inline int mean_square_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "mean_square";
  if (expect_counts(call, op, 1, 1) || expect_activation(call, op, "x", call->inputs[0], 0)) return 1;
  *scratch_bytes = (size_t)square_chunks(call->inputs[0]) * sizeof(float);
  return expect(call, op, "y", call->outputs[0], HK_F32, {1});
}

static inline int mean_square_grad_prepare(hk_call* call, size_t*, void**) {
  const char* op = "mean_square_grad";
  if (expect_counts(call, op, 2, 1) || expect_activation(call, op, "x", call->inputs[0], 0)) return 1;
  return expect(call, op, "dy", call->inputs[1], HK_F32, {1}) || expect_like(call, op, "dx", call->outputs[0], call->inputs[0]);
}

static inline hk_cost mean_square_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {2 * n, element_bytes(call->inputs[0]) * n};
}
static inline hk_cost mean_square_grad_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 2.0 * element_bytes(call->inputs[0]) * n};
}

}  // namespace HK_ISA
}  // namespace hk
