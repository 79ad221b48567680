// linear: what every back-end's op file shares: the contract, its checks and the cost.
//   x[.., I], w[O, I], bias[O]?  ->  y[.., O], z[.., O]? (gelu = 1 and wanted by the backward pass):  z = x W^T + bias,  y = GELU(z)
//   linear_grad: x, w, dz  ->  dx = dz W, dW += dz^T x, dbias += column sums of dz; each only where present
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

// `t` must have the leading dimensions of x and `width` channels.
static inline int expect_rows(hk_call* call, const char* op, const char* what, const hk_tensor& t, const hk_tensor& x, int64_t width) {
  int64_t shape[HK_MAX_RANK];
  memcpy(shape, x.shape, sizeof shape);
  shape[x.rank - 1] = width;
  return expect(call, op, what, t, x.dtype, shape, x.rank);
}

static inline int expect_linear(hk_call* call) {
  const char* op = "linear";
  if (expect_counts(call, op, 3, 2)) return 1;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &bias = call->inputs[2], &z = call->outputs[1];
  if (expect_activation(call, op, "x", x, 1) || expect_dense(call, op, "w", w, HK_F32, 2)) return 1;
  const int64_t in = last(x), out = w.shape[0];
  if (expect(call, op, "w", w, HK_F32, {out, in})) return 1;
  if (present(bias) && expect(call, op, "bias", bias, HK_F32, {out})) return 1;
  if (expect_gelu(call, op, z) || expect_rows(call, op, "y", call->outputs[0], x, out)) return 1;
  return present(z) ? expect_rows(call, op, "z", z, x, out) : 0;
}

static inline int expect_linear_grad(hk_call* call) {
  const char* op = "linear_grad";
  if (expect_counts(call, op, 3, 3)) return 1;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &dz = call->inputs[2];
  const hk_tensor &dx = call->outputs[0], &dw = call->outputs[1], &dbias = call->outputs[2];
  if (expect_activation(call, op, "x", x, 1) || expect_dense(call, op, "w", w, HK_F32, 2)) return 1;
  const int64_t in = last(x), out = w.shape[0];
  if (expect(call, op, "w", w, HK_F32, {out, in}) || expect_rows(call, op, "dz", dz, x, out)) return 1;
  if (present(dx) && expect_like(call, op, "dx", dx, x)) return 1;
  if (present(dw) && expect_like(call, op, "dw", dw, w)) return 1;
  return present(dbias) ? expect(call, op, "dbias", dbias, HK_F32, {out}) : 0;
}

static inline hk_cost linear_cost(const hk_call* call) {
  const double m = (double)rows(call->inputs[0]), in = (double)last(call->inputs[0]), out = (double)call->inputs[1].shape[0];
  return {2 * m * in * out, element_bytes(call->inputs[0]) * m * (in + out) + 4 * in * out};
}

static inline hk_cost linear_grad_cost(const hk_call* call) {
  const double m = (double)rows(call->inputs[0]), in = (double)last(call->inputs[0]), out = (double)call->inputs[1].shape[0];
  const int products = present(call->outputs[0]) + present(call->outputs[1]);
  return {2 * m * in * out * products + m * out, element_bytes(call->inputs[0]) * m * (out + products * in) + 4 * products * in * out};
}

}  // namespace HK_ISA
}  // namespace hk
