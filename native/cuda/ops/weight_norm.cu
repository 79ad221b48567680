// weight_norm and its gradient: the contract is in ops/weight_norm.h. v is a matrix of O I rows and k columns: sums of each chunk of rows
// for each column, then one thread a column adds the chunks in double, in order, and makes the column's factors; then one pass over v.
#include "cuda/column_sums.cuh"
#include "cuda/reduce.cuh"
#include "ops/weight_norm.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Sizes { int64_t rows, taps, chunks; };

Sizes sizes_of(const hk_call* call) {
  const hk_tensor& v = call->inputs[0];
  return {rows(v), last(v), blocks_for(rows(v), kRowsOfChunk)};
}

struct Layout {
  float *squares, *products;  // [chunks, taps] sums of v^2 and of v dw
  float *scale, *along;       // [taps] g / n, (v . dw) / n^2
  Layout(const Sizes& s, Scratch& scratch) {
    squares = scratch.take<float>(s.chunks * s.taps);
    products = scratch.take<float>(s.chunks * s.taps);
    scale = scratch.take<float>(s.taps);
    along = scratch.take<float>(s.taps);
  }
};

struct ProductValue {
  const float *a, *b;
  int64_t width;
  __device__ float operator()(int64_t r, int64_t c) const { return a[r * width + c] * b[r * width + c]; }
};

__device__ double total_of(const float* partial, const Sizes& s, int64_t tap) {
  double total = 0;
  for (int64_t c = 0; c < s.chunks; c++) total += partial[c * s.taps + tap];
  return total;
}

__global__ void scale_kernel(Sizes s, Layout l, const float* g) {
  const int64_t j = element_index();
  if (j < s.taps) l.scale[j] = (float)(g[j] / sqrt(total_of(l.squares, s, j)));
}

__global__ void norm_kernel(const float* v, const float* scale, int64_t n, int64_t taps, float* w) {
  const int64_t e = element_index();
  if (e < n) w[e] = scale[e % taps] * v[e];
}

__global__ void factors_kernel(Sizes s, Layout l, const float* g, float* dg) {
  const int64_t j = element_index();
  if (j >= s.taps) return;
  const double squares = total_of(l.squares, s, j), product = total_of(l.products, s, j), norm = sqrt(squares);
  dg[j] += (float)(product / norm);
  l.scale[j] = (float)(g[j] / norm);
  l.along[j] = (float)(product / squares);
}

__global__ void norm_grad_kernel(const float* v, const float* dw, const float* scale, const float* along, int64_t n, int64_t taps, float* dv) {
  const int64_t e = element_index(), j = e % taps;
  if (e < n) dv[e] += scale[j] * (dw[e] - v[e] * along[j]);
}

void sum_taps(hk_call* call, const Sizes& s, const float* a, const float* b, float* partial) {
  sum_chunks(stream_of(call), ProductValue{a, b, s.taps}, s.rows, s.taps, partial);
}

void set_scratch(hk_call* call, size_t* scratch_bytes) {
  Scratch scratch(nullptr);
  Layout(sizes_of(call), scratch);
  *scratch_bytes = scratch.bytes();
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_weight_norm(call)) return 1;
  set_scratch(call, scratch_bytes);
  return 0;
}
int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_weight_norm_grad(call)) return 1;
  set_scratch(call, scratch_bytes);
  return 0;
}

int run(hk_call* call) {
  const Sizes s = sizes_of(call);
  Scratch scratch(call->scratch);
  const Layout l(s, scratch);
  const float* v = f32(call->inputs[0]);
  const int64_t n = s.rows * s.taps;
  sum_taps(call, s, v, v, l.squares);
  HK_LAUNCH(scale_kernel, element_grid(s.taps), dim3(kBlock), 0, stream_of(call), s, l, f32(call->inputs[1]));
  HK_LAUNCH(norm_kernel, element_grid(n), dim3(kBlock), 0, stream_of(call), v, l.scale, n, s.taps, f32(call->outputs[0]));
  return launched(call);
}

int run_grad(hk_call* call) {
  const Sizes s = sizes_of(call);
  Scratch scratch(call->scratch);
  const Layout l(s, scratch);
  const float *v = f32(call->inputs[0]), *dw = f32(call->inputs[2]);
  const int64_t n = s.rows * s.taps;
  sum_taps(call, s, v, v, l.squares);
  sum_taps(call, s, v, dw, l.products);
  HK_LAUNCH(factors_kernel, element_grid(s.taps), dim3(kBlock), 0, stream_of(call), s, l, f32(call->inputs[1]), f32(call->outputs[1]));
  HK_LAUNCH(norm_grad_kernel, element_grid(n), dim3(kBlock), 0, stream_of(call), v, dw, l.scale, l.along, n, s.taps, f32(call->outputs[0]));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(weight_norm, {"weight_norm", prepare, run, nullptr, weight_norm_cost}, {"weight_norm_grad", prepare_grad, run_grad, nullptr, weight_norm_cost})
