// cross_entropy on the CPU: the contract is in ops/cross_entropy.h.
#include "cpu/op.h"
#include "cpu/softmax.h"
#include "ops/cross_entropy.h"

namespace hk {
namespace HK_ISA {
namespace {

int run(hk_call* call) {
  const int64_t N = call->inputs[0].shape[0], K = call->inputs[0].shape[1];
  const float* logits = f32(call->inputs[0]);
  const int32_t* labels = i32(call->inputs[1]);
  float *sums = f32(call->outputs[0]), *lse = f32(call->outputs[1]);
  Scratch scratch(call->scratch);
  const RowResults of_row(scratch, N);
  parallel_chunks(N, 64, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      lse[r] = 0;
      if (labels[r] < 0 || labels[r] >= K) continue;
      const float* row = logits + r * K;
      const float largest = row_max(row, K);
      lse[r] = log_sum_exp(row, K, largest);
      of_row.loss[r] = (double)lse[r] - row[labels[r]];
      of_row.correct[r] = is_correct(row, K, labels[r], largest);
    }
  });
  double total = 0, right = 0;
  int64_t count = 0;
  for (int64_t r = 0; r < N; r++) {
    if (labels[r] < 0 || labels[r] >= K) continue;
    total += of_row.loss[r];
    right += of_row.correct[r];
    count++;
  }
  sums[0] = (float)total;
  sums[1] = (float)count;
  sums[2] = (float)right;
  return 0;
}

int run_grad(hk_call* call) {
  const int64_t N = call->inputs[0].shape[0], K = call->inputs[0].shape[1];
  const float *logits = f32(call->inputs[0]), *lse = f32(call->inputs[2]);
  const int32_t* labels = i32(call->inputs[1]);
  const float weight = f32(call->inputs[3])[0];
  float* dlogits = f32(call->outputs[0]);
  parallel_chunks(N, 64, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      float* row = dlogits + r * K;
      if (labels[r] < 0 || labels[r] >= K) {
        memset(row, 0, (size_t)K * sizeof(float));
        continue;
      }
      weighted_softmax(logits + r * K, K, lse[r], weight, row);
      row[labels[r]] -= weight;
    }
  });
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(cross_entropy, {"cross_entropy", cross_entropy_prepare, run, nullptr, cross_entropy_cost},
            {"cross_entropy_grad", cross_entropy_grad_prepare, run_grad, nullptr, cross_entropy_grad_cost})
