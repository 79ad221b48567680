// Matrix products through cuBLASLt (native/cuda/cublaslt.h).
#pragma once
#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {

// NULL when the library is not installed or has nothing for this shape.
Gemm* make_lt_gemm(const GemmShape& shape);

// y[n], bf16, from x[n]: the bias that the library takes where C is bf16 (native/cuda/gemm.cu).
void round_to_bf16(void* stream, const float* x, int64_t n, void* y);

}  // namespace HK_ISA
}  // namespace hk
