// y = GELU(z); z and y may be the same.
#pragma once
#include "cuda/gelu.cuh"
#include "cuda/reduce.cuh"

namespace hk {
namespace HK_ISA {

template <class T>
static __global__ void activate_kernel(const T* z, T* y, int64_t n) {
  const int64_t i = element_index();
  if (i < n) y[i] = gelu(z[i]);
}

template <class T>
static inline void activate_as(cudaStream_t stream, const hk_tensor& z, const hk_tensor& y) {
  HK_LAUNCH(activate_kernel<T>, element_grid(elements(y)), dim3(kBlock), 0, stream, data<T>(z), data<T>(y), elements(y));
}
static inline void activate(cudaStream_t stream, const hk_tensor& z, const hk_tensor& y) {
  if (is_bf16(y)) activate_as<bf16>(stream, z, y);
  else activate_as<float>(stream, z, y);
}

}  // namespace HK_ISA
}  // namespace hk
