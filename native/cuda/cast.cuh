// Activations are f32 or bf16: kernels are templates of the element type, which converts to and from float where it is read and stored.
// Here: casts, weights as the matrix products take them, and f32 copies for ops that compute in f32 alone.
#pragma once
#include "cuda/map.cuh"

namespace hk {
namespace HK_ISA {

static inline void* element_at(const hk_tensor& t, int64_t i) { return (char*)t.data + (size_t)i * element_bytes(t); }

struct Same {
  __device__ float operator()(float x) const { return x; }
};

template <class T, class U>
static inline void cast(cudaStream_t stream, const T* x, U* y, int64_t n) { map(stream, Same(), n, y, x); }

// Scratch for one copy of a weight as its products with x take it: none in f32.
static inline size_t weight_bytes(const hk_tensor& x, const hk_tensor& w) {
  return is_bf16(x) ? ((size_t)elements(w) * sizeof(bf16) + 255) / 256 * 256 : 0;
}

// The weight itself in f32; in bf16 a copy made in `scratch`.
static inline const void* as_operand(cudaStream_t stream, const hk_tensor& x, const hk_tensor& w, void* scratch) {
  if (!is_bf16(x)) return w.data;
  cast(stream, f32(w), (bf16*)scratch, elements(w));
  return scratch;
}

// Floats of scratch for an f32 copy of an activation: none in f32.
static inline int64_t copy_floats(const hk_tensor& x) { return is_bf16(x) ? elements(x) : 0; }

// What an op that computes in f32 reads: the activation itself, or its copy.
static inline const float* read_f32(cudaStream_t stream, const hk_tensor& x, float* copy) {
  if (!is_bf16(x)) return f32(x);
  cast(stream, data<bf16>(x), copy, elements(x));
  return copy;
}

// Where such an op leaves an activation, and the rounding of the copy afterwards.
static inline float* place_f32(const hk_tensor& y, float* copy) { return is_bf16(y) ? copy : f32(y); }
static inline void round_copy(cudaStream_t stream, const float* copy, const hk_tensor& y) {
  if (is_bf16(y)) cast(stream, copy, data<bf16>(y), elements(y));
}

}  // namespace HK_ISA
}  // namespace hk
