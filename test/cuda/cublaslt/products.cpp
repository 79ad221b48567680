// Products that the ops ask for, through lt_gemm.cpp and the model of the library beside this file ($HUBERTKIT_CUBLASLT), against plain sums.
// Scratch begins at an odd multiple of 64 bytes, as it may in a program. Prints a line for each; exit code 1 when one fails.
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <memory>
#include <vector>

#include "cuda/lt_gemm.h"
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {
void round_to_bf16(void*, const float* x, int64_t n, void* y) {
  for (int64_t i = 0; i < n; i++) ((bf16*)y)[i] = x[i];
}
}  // namespace HK_ISA
}  // namespace hk

using namespace hk::HK_ISA;

static int failures = 0;

// Numbers of either dtype, in memory of exactly their size.
struct Numbers {
  hk_dtype dtype;
  std::unique_ptr<unsigned char, decltype(&free)> bytes;
  Numbers(hk_dtype type, int64_t n) : dtype(type), bytes((unsigned char*)aligned_alloc(64, ((size_t)n * size() + 63) / 64 * 64), free) {
    for (int64_t i = 0; i < n; i++) set(i, (float)((i * 37 + 11) % 64 - 32) / 16);
  }
  size_t size() const { return dtype == HK_BF16 ? 2 : 4; }
  void*  at(int64_t i) const { return bytes.get() + (size_t)i * size(); }
  float  get(int64_t i) const { return dtype == HK_BF16 ? (float)*(bf16*)at(i) : *(float*)at(i); }
  void   set(int64_t i, float x) const {
    if (dtype == HK_BF16) *(bf16*)at(i) = x;
    else *(float*)at(i) = x;
  }
};

static void report(const char* what, bool good, const char* why) {
  failures += !good;
  printf("%s %s %s\n", good ? "ok  " : "FAIL", what, good ? "" : why);
}

// a, b and c begin `first` elements behind the memory's beginning.
static void product(const char* what, const GemmShape& s, int64_t first = 0) {
  const std::unique_ptr<Gemm> gemm(make_lt_gemm(s));
  if (!gemm) return report(what, false, "was refused");
  const auto extent = [&](int64_t rows, int64_t columns, int64_t row, int64_t column, int64_t step) {
    return first + (s.batch - 1) * step + (rows - 1) * row + (columns - 1) * column + 1;
  };
  const int64_t size = extent(s.m, s.n, s.ldc, 1, s.c_batch);
  const Numbers a(s.ab, extent(s.m, s.k, s.a_row, s.a_column, s.a_batch)), b(s.ab, extent(s.k, s.n, s.b_row, s.b_column, s.b_batch));
  const Numbers c(s.c, size), before(s.c, size), bias(HK_F32, s.n);
  std::unique_ptr<unsigned char, decltype(&free)> scratch((unsigned char*)aligned_alloc(256, (64 + gemm->scratch_bytes() + 255) / 256 * 256), free);
  hk_call call = {};
  if (gemm->run(&call, a.at(first), b.at(first), c.at(first), s.bias ? (const float*)bias.at(0) : nullptr, scratch.get() + 64))
    return report(what, false, call.error);
  double error = 0;
  for (int64_t batch = 0; batch < s.batch; batch++)
    for (int64_t i = 0; i < s.m; i++)
      for (int64_t j = 0; j < s.n; j++) {
        const int64_t at = first + batch * s.c_batch + i * s.ldc + j;
        double sum = s.accumulate ? before.get(at) : 0;
        if (s.bias) sum += bias.get(j);
        for (int64_t k = 0; k < s.k; k++)
          sum += (double)a.get(first + batch * s.a_batch + i * s.a_row + k * s.a_column) * b.get(first + batch * s.b_batch + k * s.b_row + j * s.b_column);
        error = fmax(error, fabs(c.get(at) - sum) / (1 + fabs(sum)));
      }
  report(what, error <= (s.c == HK_BF16 ? 0.005 : 1e-6), "has other values");
}

int main() {
  for (const hk_dtype t : {HK_F32, HK_BF16}) {
    product("linear: x w' + bias", {9, 24, 16, 16, 1, 1, 16, 24, false, true, t, t});
    product("linear: dz w", {9, 16, 24, 24, 1, 16, 1, 16, false, false, t, t});
    product("linear: dz' x, added", {24, 16, 9, 1, 24, 16, 1, 16, true, false, t, HK_F32});
    product("one row", {1, 24, 16, 16, 1, 1, 16, 24, false, true, t, HK_F32});
    product("one column", {9, 1, 16, 16, 1, 1, 16, 1, false, true, t, t});
    product("conv1d: windows of every second frame, the same weights for a batch", {5, 8, 16, 16, 1, 1, 24, 8, false, false, t, t, 3, 88, 0, 40, 8});
    product("conv1d: its last tap, added", {5, 8, 8, 16, 1, 1, 24, 8, true, false, t, t, 3, 88, 0, 40, 8});
    product("conv1d: dx, every second frame", {5, 8, 8, 8, 1, 24, 1, 16, true, false, t, t, 3, 40, 0, 88, 8});
    product("pos_conv: dw from a place that is not aligned", {6, 12, 10, 1, 12, 12, 1, 12, false, false, t, HK_F32, 2, 120, 120, 72, 3}, 3);
  }
  const GemmShape overlapping = {9, 3, 12, 3, 1, 1, 12, 3, false, false};
  report("rows that overlap are refused", std::unique_ptr<Gemm>(make_lt_gemm(overlapping)) == nullptr, "were taken");
  return failures > 0;
}
