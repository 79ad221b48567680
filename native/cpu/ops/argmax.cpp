// argmax: the index of the largest value of each row of x[.., V]; the lowest index wins a tie. A NaN never wins.
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {
namespace {

int argmax_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_counts(call, "argmax", 1, 1) || expect_dense(call, "argmax", "x", call->inputs[0], HK_F32, 1)) return 1;
  if (last(call->inputs[0]) > INT32_MAX) return fail(call, "argmax: more than 2^31 values in a row");
  return expect(call, "argmax", "y", call->outputs[0], HK_I32, call->inputs[0].shape, call->inputs[0].rank - 1);
}

int argmax_run(hk_call* call) {
  const float* x = f32(call->inputs[0]);
  int32_t* y = i32(call->outputs[0]);
  const int64_t width = last(call->inputs[0]);
  parallel_chunks(rows(call->inputs[0]), 64, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const float* row = x + r * width;
      float best = -INFINITY;
      int32_t index = 0;
      for (int64_t i = 0; i < width; i++)
        if (row[i] > best) {
          best = row[i];
          index = (int32_t)i;
        }
      y[r] = index;
    }
  });
  return 0;
}

hk_cost argmax_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 4 * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(argmax, {"argmax", argmax_prepare, argmax_run, nullptr, argmax_cost})
