// weight_norm and its gradient on the CPU: the contract is in ops/weight_norm.h. Two passes over [O * I, k] rows: sums over fixed chunks
// of rows, then the scaling. Chunks are added in double, in order.
#include "cpu/op.h"
#include "ops/weight_norm.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kRows = 256;

struct Sizes { int64_t rows, taps, chunks; };

Sizes sizes_of(const hk_call* call) {
  const hk_tensor& v = call->inputs[0];
  const int64_t rows = v.shape[0] * v.shape[1];
  return {rows, v.shape[2], (rows + kRows - 1) / kRows};
}

// Scratch: two sums a chunk and tap, then three factors a tap.
size_t scratch_size(const Sizes& s) { return (size_t)((2 * s.chunks + 2) * s.taps) * sizeof(float) + (size_t)s.taps * 2 * sizeof(double); }

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_weight_norm(call)) return 1;
  *scratch_bytes = scratch_size(sizes_of(call));
  return 0;
}
int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_weight_norm_grad(call)) return 1;
  *scratch_bytes = scratch_size(sizes_of(call));
  return 0;
}

// totals[0, j] = sum over rows of v^2, totals[1, j] = sum of v dw (0 without dw).
void sum_taps(const Sizes& s, const float* v, const float* dw, float* chunks, double* totals) {
  parallel_chunks(s.rows, kRows, [&](int64_t c, int64_t begin, int64_t end) {
    float *square = chunks + c * 2 * s.taps, *product = square + s.taps;
    memset(square, 0, (size_t)(2 * s.taps) * sizeof(float));
    for (int64_t r = begin; r < end; r++) {
      const float* row = v + r * s.taps;
      for (int64_t j = 0; j < s.taps; j++) square[j] += row[j] * row[j];
      if (!dw) continue;
      const float* gradient = dw + r * s.taps;
      for (int64_t j = 0; j < s.taps; j++) product[j] += row[j] * gradient[j];
    }
  });
  for (int64_t j = 0; j < 2 * s.taps; j++) {
    totals[j] = 0;
    for (int64_t c = 0; c < s.chunks; c++) totals[j] += chunks[c * 2 * s.taps + j];
  }
}

int run(hk_call* call) {
  const Sizes s = sizes_of(call);
  const float *v = f32(call->inputs[0]), *g = f32(call->inputs[1]);
  double* totals = (double*)call->scratch;
  float *factor = (float*)(totals + 2 * s.taps), *chunks = factor + 2 * s.taps, *w = f32(call->outputs[0]);
  sum_taps(s, v, nullptr, chunks, totals);
  for (int64_t j = 0; j < s.taps; j++) factor[j] = (float)(g[j] / __builtin_sqrt(totals[j]));
  parallel_chunks(s.rows, kRows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++)
      for (int64_t j = 0; j < s.taps; j++) w[r * s.taps + j] = factor[j] * v[r * s.taps + j];
  });
  return 0;
}

int run_grad(hk_call* call) {
  const Sizes s = sizes_of(call);
  const float *v = f32(call->inputs[0]), *g = f32(call->inputs[1]), *dw = f32(call->inputs[2]);
  double* totals = (double*)call->scratch;
  float *scale = (float*)(totals + 2 * s.taps), *along = scale + s.taps, *chunks = along + s.taps;
  float *dv = f32(call->outputs[0]), *dg = f32(call->outputs[1]);
  sum_taps(s, v, dw, chunks, totals);
  for (int64_t j = 0; j < s.taps; j++) {
    const double squares = totals[j], product = totals[s.taps + j], norm = __builtin_sqrt(squares);
    dg[j] += (float)(product / norm);
    scale[j] = (float)(g[j] / norm);
    along[j] = (float)(product / squares);
  }
  parallel_chunks(s.rows, kRows, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++)
      for (int64_t j = 0; j < s.taps; j++) {
        const int64_t e = r * s.taps + j;
        dv[e] += scale[j] * (dw[e] - v[e] * along[j]);
      }
  });
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(weight_norm, {"weight_norm", prepare, run, nullptr, weight_norm_cost}, {"weight_norm_grad", prepare_grad, run_grad, nullptr, weight_norm_cost})
