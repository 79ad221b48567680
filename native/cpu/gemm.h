// Matrix products through oneDNN. Plain C++ with no templates and no instruction-set flags behind it: shared by all sets.
#pragma once
#include <stddef.h>
#include <stdint.h>

#include "hubertkit/backend.h"

namespace hk {

// C[m, n] = A[m, k] B[k, n] (+ bias[n]) (+ C when accumulate). A and B are strided views: element (i, j) lies at
// i * row + j * column elements, and one of the two strides must be 1 (row-major or transposed). C's rows are `ldc` apart.
struct GemmShape {
  int64_t m, n, k;
  int64_t a_row, a_column;
  int64_t b_row, b_column;
  int64_t ldc;
  bool    accumulate;
  bool    bias;                // f32, whatever the dtypes
  hk_dtype ab = HK_F32, c = HK_F32;  // f32 or bf16; sums are f32 in either case
  bool     rounds_b = false;         // B is dense, lies in f32 and is taken as bf16: by Gemm (product.h) alone
};

// Whether this processor multiplies bf16 (AVX512_BF16 or AMX); where it does not, no LibraryGemm of bf16 is made.
bool has_bf16();
// What `prepare` says then.
extern const char* const kNoBf16;

// A fixed shape: made once (in an op's `prepare`), run many times with no allocation, on all threads of the caller.
class LibraryGemm {
 public:
  static LibraryGemm* make(const GemmShape& shape);   // NULL when oneDNN refuses the shape
  virtual ~LibraryGemm() {}
  virtual size_t scratch_bytes() const = 0;
  virtual void run(const void* a, const void* b, void* c, const float* bias, void* scratch) const = 0;
};

// A shape that changes from call to call (rows counted at run time). Row-major C; no primitive is created.
// trans_a: A is stored [k, m]; trans_b: B is stored [n, k]. C = alpha op(A) op(B) + beta C. Inside a parallel region it runs on
// the calling thread alone.
void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc);

}  // namespace hk
