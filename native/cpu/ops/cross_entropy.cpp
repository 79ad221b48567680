// cross_entropy: softmax cross-entropy of rows of logits, in nats.
// inputs  logits[N,K]  labels i32[N] (outside [0,K): ignored)
// outputs sums[3] = {loss sum, count, correct}, lse[N] (0 for ignored rows)
// gradient: dlogits = dsums[0] (softmax - onehot), 0 in ignored rows.
#include "cpu/op.h"
#include "hubertkit/scratch.h"
#include "cpu/softmax.h"

namespace hk {
namespace HK_ISA {
namespace {

int check(hk_call* call, const char* op, const hk_tensor& lse) {
  const hk_tensor& logits = call->inputs[0];
  if (logits.rank != 2 || elements(logits) < 1) return fail(call, "%s: logits must be [N, K] with N, K >= 1", op);
  const int64_t N = logits.shape[0], K = logits.shape[1];
  return expect(call, op, "logits", logits, HK_F32, {N, K}) || expect(call, op, "labels", call->inputs[1], HK_I32, {N}) ||
         expect(call, op, "lse", lse, HK_F32, {N});
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "cross_entropy";
  if (expect_counts(call, op, 2, 2) || check(call, op, call->outputs[1]) ||
      expect(call, op, "sums", call->outputs[0], HK_F32, {3}))
    return 1;
  Scratch scratch(nullptr);
  scratch.take<double>(call->inputs[0].shape[0]);
  scratch.take<uint8_t>(call->inputs[0].shape[0]);
  *scratch_bytes = scratch.bytes();
  return 0;
}

int run(hk_call* call) {
  const int64_t N = call->inputs[0].shape[0], K = call->inputs[0].shape[1];
  const float* logits = f32(call->inputs[0]);
  const int32_t* labels = i32(call->inputs[1]);
  float *sums = f32(call->outputs[0]), *lse = f32(call->outputs[1]);
  Scratch scratch(call->scratch);
  double* loss = scratch.take<double>(N);
  uint8_t* correct = scratch.take<uint8_t>(N);
  parallel_chunks(N, 64, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      lse[r] = 0;
      if (labels[r] < 0 || labels[r] >= K) continue;
      const float* row = logits + r * K;
      const float largest = row_max(row, K);
      lse[r] = log_sum_exp(row, K, largest);
      loss[r] = (double)lse[r] - row[labels[r]];
      correct[r] = is_correct(row, K, labels[r], largest);
    }
  });
  double total = 0, right = 0;
  int64_t count = 0;
  for (int64_t r = 0; r < N; r++) {
    if (labels[r] < 0 || labels[r] >= K) continue;
    total += loss[r];
    right += correct[r];
    count++;
  }
  sums[0] = (float)total;
  sums[1] = (float)count;
  sums[2] = (float)right;
  return 0;
}

hk_cost cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {4 * n, 4 * n};
}

// inputs logits, labels, lse, dsums[3]; output dlogits
int prepare_grad(hk_call* call, size_t*, void**) {
  const char* op = "cross_entropy_grad";
  if (expect_counts(call, op, 4, 1) || check(call, op, call->inputs[2])) return 1;
  return expect(call, op, "dsums", call->inputs[3], HK_F32, {3}) ||
         expect(call, op, "dlogits", call->outputs[0], HK_F32, call->inputs[0].shape, 2);
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

hk_cost cost_grad(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {4 * n, 8 * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(cross_entropy, {"cross_entropy", prepare, run, nullptr, cost},
            {"cross_entropy_grad", prepare_grad, run_grad, nullptr, cost_grad})
