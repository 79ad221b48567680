// y = GELU(z) over n elements; z and y may be the same.
#pragma once
#include "cuda/gelu.cuh"

namespace hk {
namespace HK_ISA {

static __global__ void activate_kernel(const float* z, float* y, int64_t n) {
  const int64_t i = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (i < n) y[i] = gelu(z[i]);
}

static inline void activate(cudaStream_t stream, const float* z, float* y, int64_t n) {
  HK_LAUNCH(activate_kernel, dim3((unsigned)blocks_for(n, 256)), dim3(256), 0, stream, z, y, n);
}

}  // namespace HK_ISA
}  // namespace hk
