// Matrix products through cuBLASLt (native/cuda/cublaslt.h).
#pragma once
#include <initializer_list>

#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {

// NULL when the library is not installed or has nothing for this shape.
Gemm* make_lt_gemm(const GemmShape& shape);

// What all pointers to rows of A and B, or of C, are multiples of: 16 bytes, which the library's fast kernels ask for, or one element.
// How many rows there are makes no difference.
struct Alignment { uint32_t inputs, output; };
static inline Alignment alignment_of(const GemmShape& s) {
  const uint32_t ab = s.ab == HK_BF16 ? 2 : 4, c = s.c == HK_BF16 ? 2 : 4;
  Alignment found = {16, 16};
  for (const int64_t n : {s.a_row * s.a_column, s.b_row * s.b_column, s.a_batch, s.b_batch, s.step})
    if (n * ab % 16) found.inputs = ab;
  for (const int64_t n : {s.ldc, s.c_batch, s.step})
    if (n * c % 16) found.output = c;
  return found;
}

// y[n], bf16, from x[n]: the bias that the library takes where C is bf16 (native/cuda/gemm.cu).
void round_to_bf16(void* stream, const float* x, int64_t n, void* y);

}  // namespace HK_ISA
}  // namespace hk
