// What the losses share: one warp's view of a row of logits.
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

}  // namespace HK_ISA
}  // namespace hk
