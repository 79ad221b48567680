// mean_square: y[1] = mean of x^2 over all elements (the penalty on the features). mean_square_grad: dx = 2 x dy / n.
// Fixed chunks of 4096 are summed sixteen lanes at a time, the chunks' sums are added in order in double.
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 4096;

int mean_square_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "mean_square";
  if (expect_counts(call, op, 1, 1) || expect_activation(call, op, "x", call->inputs[0], 0)) return 1;
  if (expect(call, op, "y", call->outputs[0], HK_F32, {1})) return 1;
  *scratch_bytes = (size_t)((elements(call->inputs[0]) + kGrain - 1) / kGrain) * sizeof(float);
  return 0;
}

template <class T>
int mean_square_as(hk_call* call) {
  const T* x = data<T>(call->inputs[0]);
  float* sums = (float*)call->scratch;
  const int64_t n = elements(call->inputs[0]);
  parallel_chunks(n, kGrain, [=](int64_t chunk, int64_t begin, int64_t end) {
    v16 total = {};
    int64_t i = begin;
    for (; i + 16 <= end; i += 16) total += load(x + i) * load(x + i);
    if (i < end) {
      const v16 rest = load_n(x + i, (int)(end - i));
      total += rest * rest;
    }
    sums[chunk] = sum(total);
  });
  double total = 0;
  for (int64_t c = 0; c < (n + kGrain - 1) / kGrain; c++) total += sums[c];
  f32(call->outputs[0])[0] = (float)(total / (double)n);
  return 0;
}
int mean_square_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mean_square_as, call); }

hk_cost mean_square_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {2 * n, element_bytes(call->inputs[0]) * n};
}

int mean_square_grad_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "mean_square_grad";
  if (expect_counts(call, op, 2, 1) || expect_activation(call, op, "x", call->inputs[0], 0)) return 1;
  return expect(call, op, "dy", call->inputs[1], HK_F32, {1}) || expect_like(call, op, "dx", call->outputs[0], call->inputs[0]);
}

template <class T>
int mean_square_grad_as(hk_call* call) {
  const T* x = data<T>(call->inputs[0]);
  T* dx = data<T>(call->outputs[0]);
  const int64_t n = elements(call->inputs[0]);
  const float factor = (float)(2.0 * f32(call->inputs[1])[0] / (double)n);
  parallel_chunks(n, kGrain, [=](int64_t, int64_t begin, int64_t end) {
    map(x, dx, begin, end, [=](v16 v) { return factor * v; });
  });
  return 0;
}
int mean_square_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mean_square_grad_as, call); }

hk_cost mean_square_grad_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 2.0 * element_bytes(call->inputs[0]) * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mean_square, {"mean_square", mean_square_prepare, mean_square_run, nullptr, mean_square_cost},
            {"mean_square_grad", mean_square_grad_prepare, mean_square_grad_run, nullptr, mean_square_grad_cost})
