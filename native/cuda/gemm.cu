// Matrix products: cuBLASLt where it is installed and takes the shape, else the kernel below (machines without it; the host shim).
#include "cuda/gemm.h"

#include "cuda/cast.cuh"
#include "cuda/lt_gemm.h"
#include "cuda/tile.cuh"

namespace hk {
namespace HK_ISA {
namespace {

// grid (n / kTile, m / kTile, batch), block kTileThreads.
template <class T, class C>
__global__ void __launch_bounds__(kTileThreads, 2) tile_gemm(GemmShape s, const T* a, const T* b, C* c, const float* bias) {
  __shared__ TilePanels panels;
  a += blockIdx.z * s.a_batch;
  b += blockIdx.z * s.b_batch;
  c += blockIdx.z * s.c_batch;
  const int64_t m0 = (int64_t)blockIdx.y * kTile, n0 = (int64_t)blockIdx.x * kTile;
  float sums[kSide][kSide] = {};
  add_tile_product(s, a, b, m0, n0, panels, sums);
#pragma unroll
  for (int i = 0; i < kSide; i++)
#pragma unroll
    for (int j = 0; j < kSide; j++) {
      const int64_t m = m0 + tile_row(i), n = n0 + tile_column(j);
      if (m >= s.m || n >= s.n) continue;
      C* to = c + m * s.ldc + n;
      *to = sums[i][j] + (s.bias ? bias[n] : 0.0f) + (s.accumulate ? (float)*to : 0.0f);
    }
}

class TileGemm final : public Gemm {
 public:
  explicit TileGemm(const GemmShape& shape) : shape_(shape) {}
  size_t scratch_bytes() const override { return 0; }
  int run(hk_call* call, const void* a, const void* b, void* c, const float* bias, void*) const override {
    return shape_.ab == HK_BF16 ? run_from<bf16>(call, a, b, c, bias) : run_from<float>(call, a, b, c, bias);
  }

 private:
  template <class T>
  int run_from(hk_call* call, const void* a, const void* b, void* c, const float* bias) const {
    return shape_.c == HK_BF16 ? run_as<T, bf16>(call, a, b, c, bias) : run_as<T, float>(call, a, b, c, bias);
  }
  template <class T, class C>
  int run_as(hk_call* call, const void* a, const void* b, void* c, const float* bias) const {
    const dim3 grid((unsigned)blocks_for(shape_.n, kTile), (unsigned)blocks_for(shape_.m, kTile), (unsigned)shape_.batch);
    const auto kernel = tile_gemm<T, C>;
    HK_LAUNCH(kernel, grid, dim3(kTileThreads), 0, stream_of(call), shape_, (const T*)a, (const T*)b, (C*)c, bias);
    return launched(call);
  }

  GemmShape shape_;
};

}  // namespace

void round_to_bf16(void* stream, const float* x, int64_t n, void* y) { cast((cudaStream_t)stream, x, (bf16*)y, n); }

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
