// Matrix products: cuBLASLt where it is installed and takes the shape, else the kernel below (overlapping rows, which cuBLASLt refuses;
// machines without it; the host shim).
#include "cuda/gemm.h"

#include "cuda/cuda_op.h"
#include "cuda/lt_gemm.h"

namespace hk {
namespace HK_ISA {
namespace {

const int kTile = 64, kDepth = 16, kSide = 4;  // a block makes kTile x kTile of C, a thread kSide x kSide

// grid (n / kTile, m / kTile, batch), block (kTile / kSide)^2. Each element is one sum in the order of k.
__global__ void __launch_bounds__(256) tile_gemm(GemmShape s, const float* a, const float* b, float* c, const float* bias) {
  __shared__ float left[kDepth][kTile + 1], right[kDepth][kTile + 1];
  a += blockIdx.z * s.a_batch;
  b += blockIdx.z * s.b_batch;
  c += blockIdx.z * s.c_batch;
  const int thread = (int)threadIdx.x, row = thread / 16 * kSide, column = thread % 16 * kSide;
  const int64_t m0 = (int64_t)blockIdx.y * kTile, n0 = (int64_t)blockIdx.x * kTile;
  float sums[kSide][kSide] = {};
  for (int64_t k0 = 0; k0 < s.k; k0 += kDepth) {
#pragma unroll 2
    for (int e = thread; e < kTile * kDepth; e += 256) {  // neighbouring threads read neighbouring addresses
      const int i = s.a_column == 1 ? e / kDepth : e % kTile, k = s.a_column == 1 ? e % kDepth : e / kTile;
      left[k][i] = m0 + i < s.m && k0 + k < s.k ? a[(m0 + i) * s.a_row + (k0 + k) * s.a_column] : 0.0f;
    }
#pragma unroll 2
    for (int e = thread; e < kTile * kDepth; e += 256) {
      const int j = s.b_column == 1 ? e % kTile : e / kDepth, k = s.b_column == 1 ? e / kTile : e % kDepth;
      right[k][j] = n0 + j < s.n && k0 + k < s.k ? b[(k0 + k) * s.b_row + (n0 + j) * s.b_column] : 0.0f;
    }
    __syncthreads();
#pragma unroll
    for (int k = 0; k < kDepth; k++)
#pragma unroll
      for (int i = 0; i < kSide; i++)
#pragma unroll
        for (int j = 0; j < kSide; j++) sums[i][j] += left[k][row + i] * right[k][column + j];
    __syncthreads();
  }
#pragma unroll
  for (int i = 0; i < kSide; i++)
#pragma unroll
    for (int j = 0; j < kSide; j++) {
      const int64_t m = m0 + row + i, n = n0 + column + j;
      if (m >= s.m || n >= s.n) continue;
      float* to = c + m * s.ldc + n;
      *to = sums[i][j] + (s.bias ? bias[n] : 0.0f) + (s.accumulate ? *to : 0.0f);
    }
}

class TileGemm final : public Gemm {
 public:
  explicit TileGemm(const GemmShape& shape) : shape_(shape) {}
  size_t scratch_bytes() const override { return 0; }
  int run(hk_call* call, const float* a, const float* b, float* c, const float* bias, void*) const override {
    const dim3 grid((unsigned)blocks_for(shape_.n, kTile), (unsigned)blocks_for(shape_.m, kTile), (unsigned)shape_.batch);
    HK_LAUNCH(tile_gemm, grid, dim3(256), 0, stream_of(call), shape_, a, b, c, bias);
    return launched(call);
  }

 private:
  GemmShape shape_;
};

}  // namespace

Gemm* Gemm::make(hk_call* call, const GemmShape& shape) {
  if (Gemm* gemm = make_lt_gemm(shape)) return gemm;
  if (blocks_for(shape.m, kTile) > 65535 || shape.batch > 65535) {
    fail(call, "a matrix product of %lld rows, %lld times, needs cuBLASLt", (long long)shape.m, (long long)shape.batch);
    return nullptr;
  }
  return new TileGemm(shape);
}

}  // namespace HK_ISA
}  // namespace hk
