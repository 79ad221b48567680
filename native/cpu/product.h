// The matrix products of linear and conv1d, with GELU behind them. On AVX-512 large ones are our own (product.cpp), of bf16 where the
// processor multiplies it: bits do not depend on the number of threads, rows of A or B may overlap in memory, and GELU is made of a tile that is still in the L1 cache.
// All others are oneDNN's, and GELU is a second pass over memory.
#pragma once
#include "cpu/gemm.h"

namespace hk {
namespace HK_ISA {

// Numbers of an operand that are made of several that lie apart: x[i] + sign[0] x[i + offset[0]] + sign[1] x[i + offset[1]], `terms` of them
// added, where the column (of A: k, of B: n) lies in [begin, end).
struct Mix {
  int64_t begin = 0, end = 0;
  int     terms = 0;
  int64_t offset[2] = {};
  float   sign[2] = {};
};

const int64_t kProductDepth = 768;  // most steps of k of one block, in bf16 pairs of them

// What only the own product does, of columns in whole panels.
struct MixedShape : GemmShape {
  Mix     a_mix, b_mix;
  int64_t spread;  // not 0: with p = A B and sums s, C = s - p, and what lies `spread` before and behind s becomes s + p; k is one block
  bool    keep;    // B stays packed for the next run
};

// What a product is added to before it is stored: numbers of f32, rows `row` apart. They are C itself, or k is one block.
struct Sums {
  float*  at = nullptr;
  int64_t row = 0;
};

// Memory that is read after a product, fetched meanwhile. It need not exist.
struct Upcoming {
  const char* start = nullptr;
  int64_t     bytes = 0;
};

struct Range { int64_t begin, end; };
// A part of n in whole panels.
static inline Range part(int64_t n, int64_t panel, int64_t index, int64_t parts) {
  const int64_t panels = (n + panel - 1) / panel, begin = panels * index / parts * panel, end = panels * (index + 1) / parts * panel;
  return {begin < n ? begin : n, end < n ? end : n};
}

// A product on the calling thread, of up to m rows. For the loops of others over threads.
class MixedGemm {
 public:
  static const int64_t kPanelRows = 14, kPanelColumns = 32;  // C is best cut into multiples of them
  static bool exists(hk_dtype ab);                           // on this instruction set
  static MixedGemm* make(const MixedShape& shape);
  virtual ~MixedGemm() {}
  virtual size_t scratch_bytes() const = 0;
  // b: NULL when `scratch` is of a run before that kept it.
  virtual void run(int64_t rows, const void* a, const void* b, Sums sums, void* c, const float* bias, void* scratch,
                   void* gelu = nullptr, Upcoming upcoming = {}) const = 0;
};

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
