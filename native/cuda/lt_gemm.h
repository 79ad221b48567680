// Matrix products through cuBLASLt (native/cuda/cublaslt.h).
#pragma once
#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {

// NULL when the library is not installed or has nothing for this shape.
Gemm* make_lt_gemm(const GemmShape& shape);

}  // namespace HK_ISA
}  // namespace hk
