// Sums and maxima over the threads of a warp or a block; every thread gets the result, always in the same order of additions.
#pragma once
#include "cuda/cuda_op.h"

namespace hk {
namespace HK_ISA {

template <class T>
__device__ static inline T warp_sum(T v) {
  for (int distance = 16; distance > 0; distance >>= 1) v += __shfl_xor_sync(0xFFFFFFFFu, v, distance);
  return v;
}
__device__ static inline float warp_max(float v) {
  for (int distance = 16; distance > 0; distance >>= 1) v = fmaxf(v, __shfl_xor_sync(0xFFFFFFFFu, v, distance));
  return v;
}

// The largest of the values of `lanes` neighbours (a power of two) and its index; the lowest index wins ties.
__device__ static inline void keep_largest(int lanes, float& value, int32_t& index) {
  for (int distance = lanes / 2; distance > 0; distance >>= 1) {
    const float other = __shfl_xor_sync(0xFFFFFFFFu, value, distance);
    const int32_t at = __shfl_xor_sync(0xFFFFFFFFu, index, distance);
    if (other > value || (other == value && at < index)) {
      value = other;
      index = at;
    }
  }
}

// `shared` has room for 32; the block is one-dimensional, of whole warps.
template <class T>
__device__ static inline T block_sum(T v, T* shared) {
  v = warp_sum(v);
  __syncthreads();
  if (threadIdx.x % 32 == 0) shared[threadIdx.x / 32] = v;
  __syncthreads();
  T total = 0;
  for (unsigned i = 0; i < blockDim.x / 32; i++) total += shared[i];
  return total;
}

// Elementwise kernels: one thread an element, kBlock threads a block.
const int kBlock = 256;
__device__ static inline int64_t element_index() { return (int64_t)blockIdx.x * blockDim.x + threadIdx.x; }
static inline dim3 element_grid(int64_t n) { return dim3((unsigned)blocks_for(n, kBlock)); }

// Row kernels: one warp a row, kRowWarps rows a block.
const int kRowWarps = 4;
__device__ static inline int64_t row_index() { return (int64_t)blockIdx.x * kRowWarps + threadIdx.x / 32; }
static inline dim3 row_grid(int64_t rows) { return dim3((unsigned)blocks_for(rows, kRowWarps)); }
const int kRowBlock = kRowWarps * 32;

}  // namespace HK_ISA
}  // namespace hk
