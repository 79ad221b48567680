// What the losses share: one warp's view of a row of logits, and the sums over all rows.
#pragma once
#include "cuda/reduce.cuh"

namespace hk {
namespace HK_ISA {

// Largest entry, log(sum(exp)), and whether `label` is the first of the largest entries (never when all are equal): for all lanes.
struct RowLoss { float lse; bool correct; };

__device__ static inline RowLoss row_loss(const float* x, int64_t n, int64_t label) {
  const int lane = threadIdx.x % 32;
  float largest = -INFINITY;
  for (int64_t i = lane; i < n; i += 32) largest = fmaxf(largest, x[i]);
  largest = warp_max(largest);
  if (largest == -INFINITY) largest = 0;
  float sum = 0;
  int before = 0, other = 0;
  for (int64_t i = lane; i < n; i += 32) {
    sum += expf(x[i] - largest);
    before |= i < label && x[i] == largest;
    other |= x[i] != largest;
  }
  before = warp_sum(before);
  other = warp_sum(other);
  return {largest + logf(warp_sum(sum)), x[label] == largest && !before && other};
}

// sums[3] = {loss, rows, correct rows} over the rows that count. One block.
template <class Counts>
static __global__ void sum_rows(const double* loss, const uint8_t* correct, Counts counts, int64_t rows, float* sums) {
  __shared__ double shared[32];
  double total = 0, count = 0, right = 0;
  for (int64_t r = threadIdx.x; r < rows; r += blockDim.x) {
    if (!counts(r)) continue;
    total += loss[r];
    right += correct[r];
    count++;
  }
  total = block_sum(total, shared);
  count = block_sum(count, shared);
  right = block_sum(right, shared);
  if (threadIdx.x) return;
  sums[0] = (float)total;
  sums[1] = (float)count;
  sums[2] = (float)right;
}

}  // namespace HK_ISA
}  // namespace hk
