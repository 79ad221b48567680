// y = GELU(z); z and y may be the same.
#pragma once
#include "cuda/gelu.cuh"
#include "cuda/map.cuh"

namespace hk {
namespace HK_ISA {

struct Gelu {
  __device__ float operator()(float z) const { return gelu(z); }
};

template <class T>
static inline void activate_as(cudaStream_t stream, const hk_tensor& z, const hk_tensor& y) {
  map(stream, Gelu(), elements(y), data<T>(y), (const T*)z.data);
}
static inline void activate(cudaStream_t stream, const hk_tensor& z, const hk_tensor& y) {
  if (is_bf16(y)) activate_as<bf16>(stream, z, y);
  else activate_as<float>(stream, z, y);
}

}  // namespace HK_ISA
}  // namespace hk
