// The matrix products of linear and conv1d, with GELU behind them. On AVX-512 large ones of f32 are our own (product.cpp): bits do not
// depend on the number of threads, rows of A or B may overlap in memory, and GELU is made of a tile that is still in the L1 cache.
// All others are oneDNN's, and GELU is a second pass over memory.
#pragma once
#include "cpu/gemm.h"

namespace hk {
namespace HK_ISA {

class Gemm {
 public:
  static Gemm* make(const GemmShape& shape);              // NULL when the matrix library refuses the shape
  static bool rows_may_overlap(const GemmShape& shape);  // a row of A or B may begin inside the row before it
  virtual ~Gemm() {}
  virtual size_t scratch_bytes() const = 0;
  // gelu: where GELU of C goes, laid out as C (C itself when that is not kept); NULL: nowhere.
  virtual void run(const void* a, const void* b, void* c, const float* bias, void* scratch, void* gelu = nullptr) const = 0;
};

}  // namespace HK_ISA
}  // namespace hk
