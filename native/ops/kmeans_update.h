// kmeans_update: what every back-end's op file shares: the contract, its checks and the cost. Centroids move to the mean of their rows.
// inputs  x[..,D]  labels i32[..] (outside [0,K): the row belongs to none)  centroids[K,D]  weights i32[K]
// outputs moved[K,D]  absorbed i32[K]
//   moved[k] = (weights[k] centroids[k] + sum of the rows with label k) / absorbed[k],  absorbed[k] = weights[k] + the number of these rows
// A centroid counts as the mean of `weights` rows that came before: 0 for Lloyd's iteration, the rows of all batches so far for
// mini-batches (Sculley, WWW 2010). With neither weight nor rows it stays where it is. Sums are f64, in an order that depends on the labels
// alone, and are rounded once.
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

struct UpdateSizes { int64_t N, D, K; };

static inline UpdateSizes update_sizes(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &c = call->inputs[2];
  return {rows(x), last(x), c.shape[0]};
}

static inline int expect_kmeans_update(hk_call* call) {
  const char* op = "kmeans_update";
  if (expect_counts(call, op, 4, 2)) return 1;
  const hk_tensor *in = call->inputs, *out = call->outputs;
  if (expect_dense(call, op, "x", in[0], HK_F32, 2) || expect_dense(call, op, "centroids", in[2], HK_F32, 2)) return 1;
  const UpdateSizes s = update_sizes(call);
  if (s.N > INT32_MAX || s.K > INT32_MAX) return fail(call, "%s: more than 2^31 rows or centroids", op);
  return expect(call, op, "labels", in[1], HK_I32, in[0].shape, in[0].rank - 1) || expect(call, op, "centroids", in[2], HK_F32, {s.K, s.D}) ||
         expect(call, op, "weights", in[3], HK_I32, {s.K}) || expect_like(call, op, "moved", out[0], in[2]) ||
         expect_like(call, op, "absorbed", out[1], in[3]);
}

HK_ANYWHERE static inline int32_t absorbed_rows(int32_t weight, int64_t rows) {
  return weight + rows < INT32_MAX ? (int32_t)(weight + rows) : INT32_MAX;
}

// `absorbed` rows: `weight` of them at the centroid, the others with this sum.
HK_ANYWHERE static inline float moved_centroid(float centroid, int32_t weight, double sum, int32_t absorbed) {
  return absorbed ? (float)(((double)centroid * weight + sum) / absorbed) : centroid;
}

static inline hk_cost kmeans_update_cost(const hk_call* call) {
  const UpdateSizes s = update_sizes(call);
  const double n = (double)s.N * s.D, k = (double)s.K * s.D;
  return {n + 3 * k, 4 * (n + s.N + 2 * (k + s.K))};
}

}  // namespace HK_ISA
}  // namespace hk
