// Matrix products on the device.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "hubertkit/backend.h"

namespace hk {
namespace HK_ISA {

// C[m, n] = A[m, k] B[k, n] (+ bias[n]) (+ C when accumulate), `batch` times. A and B are strided views: element (i, j) lies at
// i * row + j * column elements, and one of the two strides must be 1 (row-major or transposed). Rows may overlap. C's rows are `ldc`
// apart. From one product of the batch to the next, A, B and C move on by a_batch, b_batch and c_batch elements. Sums are f32 whatever the
// dtypes; C is rounded once, when everything is added.
struct GemmShape {
  int64_t m, n, k;
  int64_t a_row, a_column;
  int64_t b_row, b_column;
  int64_t ldc;
  bool    accumulate;
  bool    bias;                      // f32; cuBLASLt takes it rounded to the dtype of C
  hk_dtype ab = HK_F32, c = HK_F32;  // f32 or bf16
  int64_t batch = 1, a_batch = 0, b_batch = 0, c_batch = 0;
  int64_t step = 0;                  // a, b and c lie a multiple of so many elements behind a multiple of 16 bytes
};

// A fixed shape, made once in an op's `prepare`.
class Gemm {
 public:
  static Gemm* make(hk_call* call, const GemmShape& shape);  // NULL, with the reason in call->error, when it cannot be had
  virtual ~Gemm() {}
  virtual size_t scratch_bytes() const = 0;
  // 0, or 1 with the reason in call->error. Works on call->stream.
  virtual int run(hk_call* call, const void* a, const void* b, void* c, const float* bias, void* scratch) const = 0;
};

}  // namespace HK_ISA
}  // namespace hk
