// cross_entropy: what every back-end's op file shares: the contract, `prepare` and the cost. Softmax cross-entropy of rows of logits, in nats.
// inputs  logits[N,K]  labels i32[N] (outside [0,K): ignored)
// outputs sums[3] = {loss sum, count, correct}, lse[N] (0 for ignored rows)
// gradient: inputs logits, labels, lse, dsums[3]; dlogits = dsums[0] (softmax - onehot), 0 in ignored rows
#pragma once
#include "hubertkit/op.h"
#include "hubertkit/scratch.h"

namespace hk {
namespace HK_ISA {

static inline int expect_logits(hk_call* call, const char* op, const hk_tensor& lse) {
  const hk_tensor& logits = call->inputs[0];
  if (logits.rank != 2 || elements(logits) < 1) return fail(call, "%s: logits must be [N, K] with N, K >= 1", op);
  const int64_t N = logits.shape[0], K = logits.shape[1];
  return expect(call, op, "logits", logits, HK_F32, {N, K}) || expect(call, op, "labels", call->inputs[1], HK_I32, {N}) ||
         expect(call, op, "lse", lse, HK_F32, {N});
}

// Scratch of the forward pass: of each row its loss, and whether it is correct.
struct RowResults {
  double* loss;
  uint8_t* correct;
  RowResults(Scratch& scratch, int64_t rows) : loss(scratch.take<double>(rows)), correct(scratch.take<uint8_t>(rows)) {}
};

static inline int cross_entropy_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "cross_entropy";
  if (expect_counts(call, op, 2, 2) || expect_logits(call, op, call->outputs[1]) || expect(call, op, "sums", call->outputs[0], HK_F32, {3})) return 1;
  Scratch scratch(nullptr);
  RowResults(scratch, call->inputs[0].shape[0]);
  *scratch_bytes = scratch.bytes();
  return 0;
}

static inline int cross_entropy_grad_prepare(hk_call* call, size_t*, void**) {
  const char* op = "cross_entropy_grad";
  if (expect_counts(call, op, 4, 1) || expect_logits(call, op, call->inputs[2])) return 1;
  return expect(call, op, "dsums", call->inputs[3], HK_F32, {3}) || expect_like(call, op, "dlogits", call->outputs[0], call->inputs[0]);
}

static inline hk_cost cross_entropy_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {4 * n, 4 * n};
}
static inline hk_cost cross_entropy_grad_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {4 * n, 8 * n};
}

}  // namespace HK_ISA
}  // namespace hk
