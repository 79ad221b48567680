// f32 weights as the matrix products of a program's precision take them.
#pragma once
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {

// Scratch for one copy of `count` weights: none in f32.
static inline size_t weight_bytes(const hk_tensor& x, int64_t count) { return is_bf16(x) ? ((size_t)count * sizeof(bf16) + 63) / 64 * 64 : 0; }

// The weight itself in f32; in bf16 a copy made in `scratch`. One op reads a weight once for each product, so that a copy which
// stays in the cache moves fewer bytes than one kept beside the master.
static inline const void* as_operand(const hk_tensor& x, const hk_tensor& w, void* scratch) {
  if (!is_bf16(x)) return w.data;
  const float* from = f32(w);
  bf16* to = (bf16*)scratch;
  parallel_chunks(elements(w), 16384, [=](int64_t, int64_t begin, int64_t end) { map(from, to, begin, end, [](v16 v) { return v; }); });
  return to;
}

}  // namespace HK_ISA
}  // namespace hk
