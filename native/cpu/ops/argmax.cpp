// argmax on the CPU: the contract is in ops/argmax.h.
#include "cpu/op.h"
#include "ops/argmax.h"

namespace hk {
namespace HK_ISA {
namespace {

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

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(argmax, {"argmax", argmax_prepare, argmax_run, nullptr, argmax_cost})
