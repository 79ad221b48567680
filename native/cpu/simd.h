// Sixteen floats at a time, written once: GCC's vector extension is one zmm register on AVX-512, two ymm on AVX2 and four
// xmm on the portable build. Reductions have a fixed order, so results do not depend on the thread count.
// Everything here is inside `namespace hk::HK_ISA`: each instruction set has its own copy.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

namespace hk {
namespace HK_ISA {

typedef float    v16 __attribute__((vector_size(64)));
typedef int32_t  i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef float    v16u __attribute__((vector_size(64), aligned(4)));
typedef int32_t  i16u __attribute__((vector_size(64), aligned(4)));

static inline v16  load(const float* p) { return *(const v16u*)p; }
static inline void store(float* p, v16 v) { *(v16u*)p = v; }
static inline v16  splat(float x) { return v16{} + x; }
static inline v16  load_n(const float* p, int n) {  // n < 16 floats, the rest zero
  float t[16] = {0};
  memcpy(t, p, (size_t)n * sizeof(float));
  return load(t);
}
static inline void store_n(float* p, v16 v, int n) {
  float t[16];
  store(t, v);
  memcpy(p, t, (size_t)n * sizeof(float));
}
static inline v16 max(v16 a, v16 b) { return a > b ? a : b; }
static inline v16 min(v16 a, v16 b) { return a < b ? a : b; }

static inline float sum(v16 v) {  // pairwise tree, the same on every instruction set
  float t[16];
  store(t, v);
  for (int w = 8; w > 0; w /= 2)
    for (int i = 0; i < w; i++) t[i] += t[i + w];
  return t[0];
}
static inline float max_of(v16 v) {
  float t[16];
  store(t, v);
  float m = t[0];
  for (int i = 1; i < 16; i++) m = t[i] > m ? t[i] : m;
  return m;
}

// e^x, < 2 ulp on [-87, 88]; below: 0; above: +inf. Cody-Waite reduction, degree-6 polynomial.
static inline v16 exp(v16 x) {
  const v16 lo = splat(-87.33654f), hi = splat(88.72283f);
  v16 c = min(max(x, lo), hi);
  v16 t = c * 1.44269504088896341f;
  i16 n = __builtin_convertvector(t + (t >= 0.0f ? splat(0.5f) : splat(-0.5f)), i16);
  v16 f = __builtin_convertvector(n, v16);
  v16 r = c - f * 0.693359375f;
  r = r - f * -2.12194440e-4f;
  v16 p = splat(1.9875691500e-4f);
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  v16 y = p * r * r + r + 1.0f;
  // 2^n in two factors: n = 128 is out of a float's range
  i16 h = n >> 1;
  v16 s1 = (v16)((h + 127) << 23), s2 = (v16)((n - h + 127) << 23);
  y = y * s1 * s2;
  y = x < lo ? v16{} : y;
  y = x > hi ? splat(INFINITY) : y;
  return x != x ? x : y;
}

}  // namespace HK_ISA
}  // namespace hk
