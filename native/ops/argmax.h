// argmax: what every back-end's op file shares: the contract, `prepare` and the cost. The index of the largest value of each row of
// x[.., V]; the lowest index wins a tie. A NaN never wins; a row without a winner gets 0.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline int argmax_prepare(hk_call* call, size_t*, void**) {
  if (expect_counts(call, "argmax", 1, 1) || expect_dense(call, "argmax", "x", call->inputs[0], HK_F32, 1)) return 1;
  if (last(call->inputs[0]) > INT32_MAX) return fail(call, "argmax: more than 2^31 values in a row");
  return expect(call, "argmax", "y", call->outputs[0], HK_I32, call->inputs[0].shape, call->inputs[0].rank - 1);
}

static inline hk_cost argmax_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 4 * n};
}

}  // namespace HK_ISA
}  // namespace hk
