// A long correlation as nine of a quarter of its length on every fourth sample, where the definition takes sixteen: the fast FIR algorithm of
// two phases (Parker, VLSI Digital Signal Processing Systems, 9.2), applied twice. With two phases, x0 = x[2m], x1 = x[2m + 1], * correlates:
//   y[2m]     = a0 * x0 + a1 * x1          = a0 * (x0 - x1)          + (a0 + a1) * x1
//   y[2m + 1] = a0 * x1 + a1 * x[2m + 2]   = a1 * (x[2m + 2] - x1)   + (a0 + a1) * x1
// Part 3 i + j belongs to product i of the first application and product j of the second.
#pragma once
#include "cpu/simd.h"

namespace hk {
namespace HK_ISA {

const int64_t kPhases = 4, kParts = 9;

// Every fourth of 64 numbers, from the first, second, third and fourth on.
struct Phases { v16 first, second, third, fourth; };

static inline v16 evens(v16 a, v16 b) { return __builtin_shuffle(a, b, i16{0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30}); }
static inline v16 odds(v16 a, v16 b) { return __builtin_shuffle(a, b, i16{1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 31}); }
static inline v16 low_zip(v16 a, v16 b) { return __builtin_shuffle(a, b, i16{0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23}); }
static inline v16 high_zip(v16 a, v16 b) { return __builtin_shuffle(a, b, i16{8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31}); }

static inline Phases load_phases(const float* x) {
  const v16 x0 = load(x), x1 = load(x + 16), x2 = load(x + 32), x3 = load(x + 48);
  const v16 even0 = evens(x0, x1), even1 = evens(x2, x3), odd0 = odds(x0, x1), odd1 = odds(x2, x3);
  return {evens(even0, even1), evens(odd0, odd1), odds(even0, even1), odds(odd0, odd1)};
}

static inline void store_parts(float* parts, int64_t step, const v16 (&part)[kParts]) {
  for (int64_t p = 0; p < kParts; p++) store(parts + p * step, part[p]);
}

// a[4 n] -> parts of n coefficients, n a multiple of 16, `step` apart.
static inline void coefficient_parts(const float* a, int64_t n, float* parts, int64_t step) {
  for (int64_t m = 0; m < n; m += 16) {
    const Phases c = load_phases(a + 4 * m);
    const v16 left = c.first + c.second, right = c.third + c.fourth;
    store_parts(parts + m, step, {c.first, c.first + c.third, c.third, left, left + right, right, c.second, c.second + c.fourth, c.fourth});
  }
}

// x[4 n + 4] -> parts of n samples, n a multiple of 16, `step` apart.
static inline void sample_parts(const float* x, int64_t n, float* parts, int64_t step) {
  for (int64_t m = 0; m < n; m += 16) {
    const Phases s = load_phases(x + 4 * m), next = load_phases(x + 4 * m + 4);
    const v16 ahead0 = s.third - s.fourth, ahead2 = next.first - s.fourth;
    store_parts(parts + m, step,
                {s.first - s.second - ahead0, ahead0, next.first - next.second - ahead0, s.second - s.fourth, s.fourth, next.second - s.fourth,
                 s.third - s.second - ahead2, ahead2, next.third - next.second - ahead2});
  }
}

// The results of the nine products, n of each, `step` apart -> y[4 n], rounded up to 64.
static inline void merge_parts(const float* parts, int64_t step, int64_t n, float* y) {
  for (int64_t m = 0; m < n; m += 16) {
    v16 z[kParts];
    for (int64_t p = 0; p < kParts; p++) z[p] = load(parts + p * step + m);
    const v16 both0 = z[3] + z[4], both1 = z[5] + z[4];
    const v16 y0 = z[0] + z[1] + both0, y1 = z[6] + z[7] + both0, y2 = z[2] + z[1] + both1, y3 = z[8] + z[7] + both1;
    const v16 even0 = low_zip(y0, y2), even1 = high_zip(y0, y2), odd0 = low_zip(y1, y3), odd1 = high_zip(y1, y3);
    store(y + 4 * m, low_zip(even0, odd0));
    store(y + 4 * m + 16, high_zip(even0, odd0));
    store(y + 4 * m + 32, low_zip(even1, odd1));
    store(y + 4 * m + 48, high_zip(even1, odd1));
  }
}

}  // namespace HK_ISA
}  // namespace hk
