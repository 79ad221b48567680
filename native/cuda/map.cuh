// Elementwise kernels: y[i] = f(x[i], ...), in f32. A thread has kNeighbours elements side by side, which pass 16 bytes at a time: with one
// element of bf16 a thread, too few bytes are under way to keep the memory busy. Tensors begin at multiples of 16 bytes.
#pragma once
#include "cuda/reduce.cuh"

namespace hk {
namespace HK_ISA {

const int kNeighbours = 8;

template <class T, int N = kNeighbours>
struct alignas(N * sizeof(T) < 16 ? N * sizeof(T) : 16) Neighbours {
  T x[N];
};
template <int N, class T>
__device__ static inline Neighbours<T, N> load_neighbours(const T* x) { return *(const Neighbours<T, N>*)x; }
template <int N, class T>
__device__ static inline void store_neighbours(const Neighbours<T, N>& from, T* x) { *(Neighbours<T, N>*)x = from; }

template <class Y, class F, class... X>
__device__ static inline Neighbours<Y> map_neighbours(const F& f, const Neighbours<X>&... x) {
  Neighbours<Y> y;
#pragma unroll
  for (int i = 0; i < kNeighbours; i++) y.x[i] = f((float)x.x[i]...);
  return y;
}

template <class F, class Y, class... X>
static __global__ void map_kernel(F f, int64_t n, Y* y, const X*... x) {
  const int64_t first = element_index() * kNeighbours;
  if (first + kNeighbours <= n) {
    store_neighbours(map_neighbours<Y>(f, load_neighbours<kNeighbours>(x + first)...), y + first);
  } else {
    for (int64_t i = first; i < n; i++) y[i] = f((float)x[i]...);
  }
}

// y may be one of the x.
template <class F, class Y, class... X>
static inline void map(cudaStream_t stream, F f, int64_t n, Y* y, const X*... x) {
  const auto kernel = map_kernel<F, Y, X...>;
  HK_LAUNCH(kernel, element_grid(blocks_for(n, kNeighbours)), dim3(kBlock), 0, stream, f, n, y, x...);
}

}  // namespace HK_ISA
}  // namespace hk
