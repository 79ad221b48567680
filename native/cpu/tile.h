// Matrix products on tiles that fit the L2 cache, for one thread inside a parallel region (attention): C = A B or C += A B.
//   A: any strides (row, column), read one factor at a time, so a transposed A costs nothing
//   B: row-major, n columns from a multiple of 16;  C: row-major, n columns wide as well (the caller pads)
// A register block of MR x NV vectors of C stays in registers while k runs; a column panel of B stays in the L1 cache while
// the rows of A pass. k is never split, so a value of C is one chain of multiply-adds in the order of k. A and B are floats or
// pairs of bf16 (factor.h), two steps of the sum in one; k, strides and columns count them.
#pragma once
#include "cpu/factor.h"
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {

#if defined(__AVX512F__)
enum { kTileVectors = 4 };
#else
enum { kTileVectors = 2 };
#endif
enum { kTileRows = 6 };

template <int MR, int NV, class Factor>
__attribute__((noinline)) static void tile_block(int64_t k, const Factor* a, int64_t a_row, int64_t a_column, const Factor* b,
                                                 int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  vk sum[MR][NV];
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) sum[r][v] = accumulate ? (vk)*(const vku*)(c + r * ldc + v * kLanes) : vk{};
  for (int64_t p = 0; p < k; p++) {
    vk right[NV];
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) right[v] = load_factors(b + v * kLanes);
#pragma GCC unroll 8
    for (int r = 0; r < MR; r++) {
      const Factor left = a[r * a_row];
#pragma GCC unroll 8
      for (int v = 0; v < NV; v++) sum[r][v] = multiply_add(sum[r][v], right[v], left);
    }
    a += a_column;
    b += ldb;
  }
#pragma GCC unroll 8
  for (int r = 0; r < MR; r++)
#pragma GCC unroll 8
    for (int v = 0; v < NV; v++) *(vku*)(c + r * ldc + v * kLanes) = sum[r][v];
}

template <int NV, class Factor>
static void tile_rows(int64_t m, int64_t k, const Factor* a, int64_t a_row, int64_t a_column, const Factor* b, int64_t ldb,
                      float* c, int64_t ldc, bool accumulate) {
  int64_t i = 0;
  for (; i + kTileRows <= m; i += kTileRows)
    tile_block<kTileRows, NV>(k, a + i * a_row, a_row, a_column, b, ldb, c + i * ldc, ldc, accumulate);
  a += i * a_row;
  c += i * ldc;
  switch (m - i) {
    case 5: tile_block<5, NV>(k, a, a_row, a_column, b, ldb, c, ldc, accumulate); break;
    case 4: tile_block<4, NV>(k, a, a_row, a_column, b, ldb, c, ldc, accumulate); break;
    case 3: tile_block<3, NV>(k, a, a_row, a_column, b, ldb, c, ldc, accumulate); break;
    case 2: tile_block<2, NV>(k, a, a_row, a_column, b, ldb, c, ldc, accumulate); break;
    case 1: tile_block<1, NV>(k, a, a_row, a_column, b, ldb, c, ldc, accumulate); break;
  }
}

// n: a multiple of 16.
template <class Factor>
static void tile_gemm(int64_t m, int64_t n, int64_t k, const Factor* a, int64_t a_row, int64_t a_column, const Factor* b,
                      int64_t ldb, float* c, int64_t ldc, bool accumulate) {
  int64_t j = 0;
  for (; j + kTileVectors * kLanes <= n; j += kTileVectors * kLanes)
    tile_rows<kTileVectors>(m, k, a, a_row, a_column, b + j, ldb, c + j, ldc, accumulate);
#if defined(__AVX512F__)
  switch ((n - j) / kLanes) {
    case 3: tile_rows<3>(m, k, a, a_row, a_column, b + j, ldb, c + j, ldc, accumulate); break;
    case 2: tile_rows<2>(m, k, a, a_row, a_column, b + j, ldb, c + j, ldc, accumulate); break;
    case 1: tile_rows<1>(m, k, a, a_row, a_column, b + j, ldb, c + j, ldc, accumulate); break;
  }
#endif
}

}  // namespace HK_ISA
}  // namespace hk
