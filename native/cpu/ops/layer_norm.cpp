// layer_norm: each row of x[.., D] to mean 0 and variance 1, then gamma and beta; keeps stats[rows, 2] = {mean, 1/deviation}.
// layer_norm_grad: dx, dgamma += and dbeta += from x, gamma, stats and dy.
// One pass over memory each: a row is read once and its later passes find it in the L1 cache.
#include "cpu/norm.h"

namespace hk {
namespace HK_ISA {
namespace {

int norm_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "layer_norm";
  if (expect_counts(call, op, 3, 2)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_activation(call, op, "x", x, 1) || expect_eps(call, op)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[1], last(x)) || expect_channels(call, op, "beta", call->inputs[2], last(x))) return 1;
  return expect_like(call, op, "y", call->outputs[0], x) || expect_stats(call, op, call->outputs[1], x);
}

template <class T>
int norm_as(hk_call* call) {
  const int64_t width = last(call->inputs[0]);
  const T* x = data<T>(call->inputs[0]);
  const float *gamma = f32(call->inputs[1]), *beta = f32(call->inputs[2]);
  T* y = data<T>(call->outputs[0]);
  float* stats = f32(call->outputs[1]);
  const float eps = (float)attribute(call, "eps", 1e-5);
  parallel_chunks(rows(call->inputs[0]), 16, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) norm_row(width, x + r * width, gamma, beta, eps, y + r * width, stats + r * 2);
  });
  return 0;
}
int norm_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], norm_as, call); }

hk_cost norm_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {8 * n, 2.0 * element_bytes(call->inputs[0]) * n};
}

int norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "layer_norm_grad";
  if (expect_counts(call, op, 4, 3)) return 1;
  const hk_tensor &x = call->inputs[0], &dgamma = call->outputs[1], &dbeta = call->outputs[2];
  if (expect_activation(call, op, "x", x, 1)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[1], last(x)) || expect_stats(call, op, call->inputs[2], x)) return 1;
  if (expect_like(call, op, "dy", call->inputs[3], x) || expect_like(call, op, "dx", call->outputs[0], x)) return 1;
  if (present(dgamma) && expect_channels(call, op, "dgamma", dgamma, last(x))) return 1;
  if (present(dbeta) && expect_channels(call, op, "dbeta", dbeta, last(x))) return 1;
  *scratch_bytes = (size_t)(partial_chunks(rows(x)) * 2 * last(x)) * sizeof(float);
  return 0;
}

template <class T>
int norm_grad_as(hk_call* call) {
  const int64_t width = last(call->inputs[0]), count = rows(call->inputs[0]);
  const T *x = data<T>(call->inputs[0]), *dy = data<T>(call->inputs[3]);
  const float *gamma = f32(call->inputs[1]), *stats = f32(call->inputs[2]);
  T* dx = data<T>(call->outputs[0]);
  float* partials = (float*)call->scratch;
  parallel_chunks(count, partial_grain(count), [=](int64_t chunk, int64_t begin, int64_t end) {
    float* sums = partials + chunk * 2 * width;
    memset(sums, 0, (size_t)(2 * width) * sizeof(float));
    for (int64_t r = begin; r < end; r++)
      norm_row_grad(width, x + r * width, gamma, stats + r * 2, dy + r * width, (const T*)nullptr, dx + r * width, sums, sums + width);
  });
  add_norm_partials(partials, count, width, call->outputs[1], call->outputs[2]);
  return 0;
}
int norm_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], norm_grad_as, call); }

hk_cost norm_grad_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {16 * n, 3.0 * element_bytes(call->inputs[0]) * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(layer_norm, {"layer_norm", norm_prepare, norm_run, nullptr, norm_cost},
            {"layer_norm_grad", norm_grad_prepare, norm_grad_run, nullptr, norm_grad_cost})
