// layer_norm and its gradient: the contract is in ops/norm.h.
// One pass over memory each: a row is read once and its later passes find it in the L1 cache.
#include "cpu/norm.h"
#include "ops/norm.h"

namespace hk {
namespace HK_ISA {
namespace {

template <class T>
int norm_as(hk_call* call) {
  const int64_t width = last(call->inputs[0]);
  const T* x = data<T>(call->inputs[0]);
  const float *gamma = f32(call->inputs[1]), *beta = f32(call->inputs[2]);
  T* y = data<T>(call->outputs[0]);
  float* stats = f32(call->outputs[1]);
  const float eps = (float)eps_of(call);
  parallel_chunks(rows(call->inputs[0]), 16, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) norm_row(width, x + r * width, gamma, beta, eps, y + r * width, stats + r * 2);
  });
  return 0;
}
int norm_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], norm_as, call); }

int norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_layer_norm_grad(call)) return 1;
  *scratch_bytes = norm_partial_bytes(call->inputs[0]);
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

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(layer_norm, {"layer_norm", layer_norm_prepare, norm_run, nullptr, layer_norm_cost},
            {"layer_norm_grad", norm_grad_prepare, norm_grad_run, nullptr, layer_norm_grad_cost})
