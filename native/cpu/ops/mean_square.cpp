// mean_square and its gradient: the contracts are in ops/mean_square.h. A chunk is summed sixteen lanes at a time, the chunks' sums are
// added in order.
#include "cpu/op.h"
#include "ops/mean_square.h"

namespace hk {
namespace HK_ISA {
namespace {

template <class T>
int mean_square_as(hk_call* call) {
  const T* x = data<T>(call->inputs[0]);
  float* sums = (float*)call->scratch;
  const int64_t n = elements(call->inputs[0]), chunks = square_chunks(call->inputs[0]);
  parallel_chunks(n, kSquareChunk, [=](int64_t chunk, int64_t begin, int64_t end) {
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
  for (int64_t c = 0; c < chunks; c++) total += sums[c];
  f32(call->outputs[0])[0] = (float)(total / (double)n);
  return 0;
}
int mean_square_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mean_square_as, call); }

template <class T>
int mean_square_grad_as(hk_call* call) {
  const T* x = data<T>(call->inputs[0]);
  T* dx = data<T>(call->outputs[0]);
  const int64_t n = elements(call->inputs[0]);
  const float factor = (float)(2.0 * f32(call->inputs[1])[0] / (double)n);
  parallel_chunks(n, kSquareChunk, [=](int64_t, int64_t begin, int64_t end) {
    map(x, dx, begin, end, [=](v16 v) { return factor * v; });
  });
  return 0;
}
int mean_square_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mean_square_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mean_square, {"mean_square", mean_square_prepare, mean_square_run, nullptr, mean_square_cost},
            {"mean_square_grad", mean_square_grad_prepare, mean_square_grad_run, nullptr, mean_square_grad_cost})
