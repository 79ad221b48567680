// kmeans_assign: the contract is in ops/kmeans_assign.h. A block of rows takes one tile of centroids after the other; each thread
// keeps the best score x.c - |c|^2 / 2 of its rows and columns, the threads of a row then choose among theirs. The distances
// to the chosen centroids follow, one warp a row. The products are not left to the matrix library: it chooses the order of a sum by the
// number of rows, so that a row's label would depend on the rows beside it, and all N x K of them would be written and read again.
#include "cuda/reduce.cuh"
#include "cuda/tile.cuh"
#include "ops/kmeans_assign.h"

namespace hk {
namespace HK_ISA {
namespace {

const int kLanesOfRow = kTile / kSide;

__global__ void half_squares_kernel(const float* centroids, int64_t clusters, int64_t width, float* half) {
  const int64_t k = row_index();
  if (k >= clusters) return;
  const float* c = centroids + k * width;
  float sum = 0;
  for (int64_t d = threadIdx.x % 32; d < width; d += 32) sum += c[d] * c[d];
  sum = warp_sum(sum);
  if (threadIdx.x % 32 == 0) half[k] = 0.5f * sum;
}

__device__ float squared_distance(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = threadIdx.x % 32; i < n; i += 32) sum += (a[i] - b[i]) * (a[i] - b[i]);
  return warp_sum(sum);
}

// grid rows / kTile, block kTileThreads; s: the product of the rows with the transposed centroids.
__global__ void __launch_bounds__(kTileThreads, 2) assign_kernel(GemmShape s, const float* x, const float* centroids, const float* half, int32_t* labels,
                                                              float* distance) {
  __shared__ TilePanels panels;
  __shared__ int32_t chosen[kTile];
  const int64_t m0 = (int64_t)blockIdx.x * kTile;
  float best[kSide];
  int32_t index[kSide];
#pragma unroll
  for (int i = 0; i < kSide; i++) {
    best[i] = -INFINITY;
    index[i] = 0;
  }
  for (int64_t n0 = 0; n0 < s.n; n0 += kTile) {
    float sums[kSide][kSide] = {};
    add_tile_product(s, x, centroids, m0, n0, panels, sums);
#pragma unroll
    for (int j = 0; j < kSide; j++) {
      const int64_t k = n0 + tile_column(j);
      const float offset = k < s.n ? half[k] : INFINITY;
#pragma unroll
      for (int i = 0; i < kSide; i++)
        if (sums[i][j] - offset > best[i]) {
          best[i] = sums[i][j] - offset;
          index[i] = (int32_t)k;
        }
    }
  }
#pragma unroll
  for (int i = 0; i < kSide; i++) {
    keep_largest(kLanesOfRow, best[i], index[i]);
    if (threadIdx.x % kLanesOfRow == 0) chosen[tile_row(i)] = index[i];
  }
  __syncthreads();
  for (int64_t r = threadIdx.x / 32; r < kTile && m0 + r < s.m; r += kTileThreads / 32) {
    const float squares = squared_distance(x + (m0 + r) * s.k, centroids + (int64_t)chosen[r] * s.k, s.k);
    if (threadIdx.x % 32) continue;
    labels[m0 + r] = chosen[r];
    distance[m0 + r] = squares;
  }
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_kmeans_assign(call)) return 1;
  *scratch_bytes = (size_t)call->inputs[1].shape[0] * sizeof(float);
  return 0;
}

int run(hk_call* call) {
  const hk_tensor &x = call->inputs[0], &centroids = call->inputs[1];
  const int64_t n = rows(x), width = last(x), clusters = centroids.shape[0];
  const GemmShape product = {n, clusters, width, width, 1, 1, width, clusters, false, false};
  float* half = (float*)call->scratch;
  HK_LAUNCH(half_squares_kernel, row_grid(clusters), dim3(kRowBlock), 0, stream_of(call), f32(centroids), clusters, width, half);
  HK_LAUNCH(assign_kernel, dim3((unsigned)blocks_for(n, kTile)), dim3(kTileThreads), 0, stream_of(call), product, f32(x), f32(centroids), half,
            i32(call->outputs[0]), f32(call->outputs[1]));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(kmeans_assign, {"kmeans_assign", prepare, run, nullptr, kmeans_assign_cost})
