// adamw: the contract and the formulas are in ops/adamw.h. One pass reads the gradients for the norm: sums of squares in double, one for each
// fixed chunk, added in order, so the norm does not depend on the number of threads. A second pass reads and writes everything once, in place.
#include "cpu/op.h"
#include "ops/adamw.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kChunk = 16384;

int64_t chunks_of(int64_t n) { return (n + kChunk - 1) / kChunk; }

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_adamw(call)) return 1;
  *scratch_bytes = (size_t)chunks_of(call->inputs[0].shape[0]) * sizeof(double);
  return 0;
}

int check_values(hk_call* call) {
  const int64_t n = call->inputs[0].shape[0], S = call->inputs[4].shape[0];
  const int32_t* ends = i32(call->inputs[4]);
  for (int64_t i = 0; i < S; i++)
    if (ends[i] < (i ? ends[i - 1] : 0))
      return fail(call, "adamw: segment_ends must ascend, [%lld] = %d", (long long)i, ends[i]);
  if (ends[S - 1] != n) return fail(call, "adamw: the last segment ends at %d, not at %lld", ends[S - 1], (long long)n);
  const float* h = f32(call->inputs[6]);
  for (int i = 0; i < 7; i++)
    if (!__builtin_isfinite(h[i])) return fail(call, "adamw: hyper[%d] = %g", i, h[i]);
  if (!(h[1] >= 0 && h[1] < 1 && h[2] >= 0 && h[2] < 1 && h[3] >= 0 && h[5] >= 0 && h[6] >= 1))
    return fail(call, "adamw: 0 <= beta < 1, eps >= 0, clip >= 0 and step >= 1 are needed, got beta %g %g, eps %g, clip %g, step %g",
                h[1], h[2], h[3], h[5], h[6]);
  return 0;
}

// Calls piece(begin, end, trainable) for the parts of each segment that lie in [begin, end).
template <class Piece>
void pieces(const hk_call* call, int64_t begin, int64_t end, const Piece& piece) {
  const int32_t* ends = i32(call->inputs[4]);
  const uint8_t* trainable = u8(call->inputs[5]);
  int64_t low = 0, high = call->inputs[4].shape[0] - 1;  // the first segment that ends behind `begin`
  while (low < high) {
    const int64_t middle = (low + high) / 2;
    if (ends[middle] > begin) high = middle;
    else low = middle + 1;
  }
  for (int64_t s = low; begin < end; s++) {
    const int64_t stop = ends[s] < end ? ends[s] : end;
    if (stop > begin) piece(begin, stop, trainable[s] != 0);
    begin = stop > begin ? stop : begin;
  }
}

typedef float  f8 __attribute__((vector_size(32), aligned(4)));
typedef double d8 __attribute__((vector_size(64)));

double sum_of_squares(const float* x, int64_t n) {
  d8 s0 = {}, s1 = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const d8 a = __builtin_convertvector(*(const f8*)(x + i), d8), b = __builtin_convertvector(*(const f8*)(x + i + 8), d8);
    s0 += a * a;
    s1 += b * b;
  }
  s0 += s1;
  double sum = ((s0[0] + s0[1]) + (s0[2] + s0[3])) + ((s0[4] + s0[5]) + (s0[6] + s0[7]));
  for (; i < n; i++) sum += (double)x[i] * x[i];
  return sum;
}

double gradient_norm(const hk_call* call, double* partial) {
  const int64_t n = call->inputs[0].shape[0];
  const float* gradients = f32(call->inputs[1]);
  parallel_chunks(n, kChunk, [&](int64_t c, int64_t begin, int64_t end) {
    double sum = 0;
    pieces(call, begin, end, [&](int64_t from, int64_t to, bool trainable) {
      if (trainable) sum += sum_of_squares(gradients + from, to - from);
    });
    partial[c] = sum;
  });
  double sum = 0;
  for (int64_t c = 0; c < chunks_of(n); c++) sum += partial[c];
  return __builtin_sqrt(sum);
}

struct Step {
  float scale, beta1, beta2, eps, decay, rate, root;  // rate = lr / (1-beta1^step), root = 1 / sqrt(1-beta2^step)
};

void update(const Step s, int64_t n, float* __restrict p, float* __restrict g, float* __restrict m, float* __restrict v) {
  for (int64_t i = 0; i < n; i++) {
    const float gradient = g[i] * s.scale;
    m[i] = s.beta1 * m[i] + (1 - s.beta1) * gradient;
    v[i] = s.beta2 * v[i] + (1 - s.beta2) * gradient * gradient;
    p[i] = p[i] * s.decay - s.rate * m[i] / (__builtin_sqrtf(v[i]) * s.root + s.eps);
    g[i] = 0;
  }
}

Step step_of(const float* h, double norm) {
  const double clip = h[5], step = h[6];
  const double scale = clip > 0 && clip < norm + 1e-6 ? clip / (norm + 1e-6) : 1;
  return {(float)scale, h[1], h[2], h[3], (float)(1 - (double)h[0] * h[4]),
          (float)(h[0] / (1 - __builtin_pow((double)h[1], step))), (float)(1 / __builtin_sqrt(1 - __builtin_pow((double)h[2], step)))};
}

int run(hk_call* call) {
  if (check_values(call)) return 1;
  const int64_t n = call->inputs[0].shape[0];
  float *p = f32(call->inputs[0]), *g = f32(call->inputs[1]), *m = f32(call->inputs[2]), *v = f32(call->inputs[3]);
  const double norm = gradient_norm(call, (double*)call->scratch);
  const bool skipped = !__builtin_isfinite(norm);
  const Step step = step_of(f32(call->inputs[6]), skipped ? 0 : norm);
  parallel_chunks(n, kChunk, [&](int64_t, int64_t begin, int64_t end) {
    pieces(call, begin, end, [&](int64_t from, int64_t to, bool trainable) {
      if (trainable && !skipped) update(step, to - from, p + from, g + from, m + from, v + from);
      else memset(g + from, 0, (size_t)(to - from) * sizeof(float));
    });
  });
  f32(call->outputs[0])[0] = (float)norm;
  f32(call->outputs[0])[1] = skipped ? 1 : 0;
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(adamw, {"adamw", prepare, run, nullptr, adamw_cost})
