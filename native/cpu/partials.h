// Sums over rows (the gradients of biases, norms and embeddings) in an order that does not depend on the thread count: rows
// are split into at most 64 chunks by their number alone, each chunk sums into a row of its own, the rows are added in order.
#pragma once
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {

static inline int64_t partial_grain(int64_t rows) { return rows <= 16 * 64 ? 16 : (rows + 63) / 64; }
static inline int64_t partial_chunks(int64_t rows) { return (rows + partial_grain(rows) - 1) / partial_grain(rows); }

// out[i] += sum over chunks of partials[chunk * stride + i], i < width.
static inline void add_partials(const float* partials, int64_t chunks, int64_t stride, int64_t width, float* out) {
  parallel_chunks(width, 256, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) {
      float total = 0;
      for (int64_t c = 0; c < chunks; c++) total += partials[c * stride + i];
      out[i] += total;
    }
  });
}

}  // namespace HK_ISA
}  // namespace hk
