// kmeans_assign: what every back-end's op file shares: the contract, its checks and the cost. The nearest centroid of each row.
// inputs  x[..,D]  centroids[K,D]
// outputs labels i32[..] (the lowest index wins ties), distance[..] (squared Euclidean, to that centroid)
// arg min_k |x - c_k|^2 = arg min_k |c_k|^2 / 2 - x.c_k: a matrix product whose result is never stored. The distance is computed from
// x - c directly: |x|^2 - 2 x.c + |c|^2 would lose digits. A row's label depends on nothing but the row. A row with NaN gets label 0
// and distance NaN.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline int expect_kmeans_assign(hk_call* call) {
  const char* op = "kmeans_assign";
  if (expect_counts(call, op, 2, 2)) return 1;
  const hk_tensor &x = call->inputs[0], &c = call->inputs[1];
  if (x.rank < 2 || x.dtype != HK_F32 || elements(x) < 1) return fail(call, "kmeans_assign: x must be f32 [.., D] and not empty");
  if (c.rank != 2 || elements(c) < 1 || c.shape[0] > INT32_MAX) return fail(call, "kmeans_assign: centroids must be [K, D], K, D >= 1");
  return expect(call, op, "centroids", c, HK_F32, {c.shape[0], last(x)}) ||
         expect(call, op, "labels", call->outputs[0], HK_I32, x.shape, x.rank - 1) ||
         expect(call, op, "distance", call->outputs[1], HK_F32, x.shape, x.rank - 1);
}

static inline hk_cost kmeans_assign_cost(const hk_call* call) {
  const double N = (double)rows(call->inputs[0]), D = (double)last(call->inputs[0]), K = (double)call->inputs[1].shape[0];
  return {2 * N * K * D, 4 * (N * D + K * D + 2 * N)};
}

}  // namespace HK_ISA
}  // namespace hk
