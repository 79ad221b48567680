// gather_rows and scatter_rows, each the gradient of the other: what every back-end's op files share: the contract, the checks of `prepare`
// and the cost.
//   gather_rows   x[.., D], index i32[R]  ->  y, R rows of D: row r is row index[r] of x
//   scatter_rows  y, R rows of D, index i32[R]  ->  x[.., D]: row index[r] is row r of y, all others are zero
// An index that is not a row of x stands for no row: gathered it is zero, scattered it goes nowhere. The others are all different.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

HK_ANYWHERE static inline bool is_row(int32_t index, int64_t rows) { return index >= 0 && index < rows; }

static inline int expect_indexed(hk_call* call, const char* op, const hk_tensor& x, const hk_tensor& y) {
  if (expect_activation(call, op, "x", x, 1) || expect_activation(call, op, "y", y, 1)) return 1;
  char a[96], b[96];
  if (x.dtype != y.dtype || last(x) != last(y)) return fail(call, "%s: x %s and y %s must have rows alike", op, describe(x, a), describe(y, b));
  return expect(call, op, "index", call->inputs[1], HK_I32, {rows(y)});
}
static inline int gather_rows_prepare(hk_call* call, size_t*, void**) {
  return expect_counts(call, "gather_rows", 2, 1) || expect_indexed(call, "gather_rows", call->inputs[0], call->outputs[0]);
}
static inline int scatter_rows_prepare(hk_call* call, size_t*, void**) {
  return expect_counts(call, "scatter_rows", 2, 1) || expect_indexed(call, "scatter_rows", call->outputs[0], call->inputs[0]);
}

static inline hk_cost gather_rows_cost(const hk_call* call) {
  const hk_tensor& y = call->outputs[0];
  return {0, 2.0 * element_bytes(y) * (double)elements(y)};
}
static inline hk_cost scatter_rows_cost(const hk_call* call) {
  const hk_tensor &y = call->inputs[0], &x = call->outputs[0];
  return {0, element_bytes(x) * ((double)elements(y) + (double)elements(x))};
}

}  // namespace HK_ISA
}  // namespace hk
