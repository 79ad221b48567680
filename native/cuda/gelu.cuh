// The exact GELU, x Phi(x) with Phi(x) = (1 + erf(x / sqrt 2)) / 2, and its derivative Phi(x) + x phi(x). (The matrix library's GELU is
// the tanh approximation: not used.)
#pragma once
#include "cuda/cuda_op.h"

namespace hk {
namespace HK_ISA {

HK_ANYWHERE static inline float gelu(float x) { return 0.5f * x * (1.0f + erff(x * 0.70710678118654752f)); }

HK_ANYWHERE static inline float gelu_derivative(float x) {
  return 0.5f * (1.0f + erff(x * 0.70710678118654752f)) + x * 0.39894228040143268f * expf(-0.5f * x * x);
}

}  // namespace HK_ISA
}  // namespace hk
