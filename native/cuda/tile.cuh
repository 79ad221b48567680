// The inner part of a matrix product without tensor cores: a block of kTileThreads threads makes kTile x kTile elements, each thread
// kSide x kSide of them. Each element is one sum in the order of k, wherever it stands.
#pragma once
#include "cuda/cuda_op.h"
#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {

const int kTile = 128, kTileDepth = 16, kSide = 8, kTileThreads = (kTile / kSide) * (kTile / kSide);

// In shared memory; rows begin at multiples of 16 bytes, so that four numbers come in one piece.
typedef float TilePanel[kTileDepth][kTile + 4];
struct alignas(16) TilePanels { TilePanel left, right; };
struct alignas(16) Four { float x[4]; };

// Rows and columns of the running thread's elements within the tile. The columns are pieces of four, each beside those of the next thread,
// which lie in other banks.
__device__ static inline int tile_row(int i) { return (int)threadIdx.x / (kTile / kSide) * kSide + i; }
__device__ static inline int tile_column(int j) { return j / 4 * (4 * kTile / kSide) + (int)threadIdx.x % (kTile / kSide) * 4 + j % 4; }

// The first kTile rows and kTileDepth columns of a matrix that begins at x and has `rows` and `columns` of them; zero outside.
// Neighbouring threads read neighbouring addresses.
template <class T>
__device__ static inline void load_panel(const T* x, int64_t rows, int64_t columns, int64_t row, int64_t column, TilePanel& panel) {
  const int height = rows < kTile ? (int)rows : kTile, depth = columns < kTileDepth ? (int)columns : kTileDepth;
#pragma unroll 4
  for (int e = (int)threadIdx.x; e < kTile * kTileDepth; e += kTileThreads) {
    const int i = column == 1 ? e / kTileDepth : e % kTile, k = column == 1 ? e % kTileDepth : e / kTile;
    panel[k][i] = i < height && k < depth ? (float)x[i * row + k * column] : 0.0f;
  }
}

// sums += the elements from (m0, n0) on of A B, zero outside. Of the shape, sizes and strides of A and B count.
template <class T>
__device__ static inline void add_tile_product(const GemmShape& s, const T* a, const T* b, int64_t m0, int64_t n0, TilePanels& panels,
                                               float (&sums)[kSide][kSide]) {
  a += m0 * s.a_row;
  b += n0 * s.b_column;
  for (int64_t k0 = 0; k0 < s.k; k0 += kTileDepth) {
    load_panel(a + k0 * s.a_column, s.m - m0, s.k - k0, s.a_row, s.a_column, panels.left);
    load_panel(b + k0 * s.b_row, s.n - n0, s.k - k0, s.b_column, s.b_row, panels.right);
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kTileDepth; k++) {
      Four left[kSide / 4], right[kSide / 4];
#pragma unroll
      for (int i = 0; i < kSide; i += 4) {
        left[i / 4] = *(const Four*)&panels.left[k][tile_row(i)];
        right[i / 4] = *(const Four*)&panels.right[k][tile_column(i)];
      }
#pragma unroll
      for (int i = 0; i < kSide; i++)
#pragma unroll
        for (int j = 0; j < kSide; j++) sums[i][j] += left[i / 4].x[i % 4] * right[j / 4].x[j % 4];
    }
    __syncthreads();
  }
}

}  // namespace HK_ISA
}  // namespace hk
