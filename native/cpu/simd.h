// Sixteen floats at a time, written once: GCC's vector extension is one zmm register on AVX-512, two ymm on AVX2 and four
// xmm on the portable build. Reductions have a fixed order, so results do not depend on the thread count.
// Everything here is inside `namespace hk::HK_ISA`: each instruction set has its own copy.
#pragma once
#include <math.h>
#include <stdint.h>
#include <string.h>

#include "hubertkit/bf16.h"
#if defined(__AVX512BF16__)
#include <immintrin.h>
#endif

namespace hk {
namespace HK_ISA {

typedef float    v16 __attribute__((vector_size(64)));
typedef int32_t  i16 __attribute__((vector_size(64)));
typedef uint32_t u16 __attribute__((vector_size(64)));
typedef float    v16u __attribute__((vector_size(64), aligned(4)));
typedef int32_t  i16u __attribute__((vector_size(64), aligned(4)));

// One register of the machine: for loops where GCC must not split or spill (it lowers some operations of wider vectors to scalars).
#if defined(__AVX512F__)
enum { kLanes = 16 };
#elif defined(__AVX2__)
enum { kLanes = 8 };
#else
enum { kLanes = 4 };
#endif
typedef float   vk __attribute__((vector_size(kLanes * 4)));
typedef int32_t ik __attribute__((vector_size(kLanes * 4)));
typedef float   vku __attribute__((vector_size(kLanes * 4), aligned(4)));

static inline v16  load(const float* p) { return *(const v16u*)p; }
static inline void store(float* p, v16 v) { *(v16u*)p = v; }

typedef uint16_t h16 __attribute__((vector_size(32)));
typedef uint16_t h16u __attribute__((vector_size(32), aligned(2), may_alias));

static inline v16  load(const bf16* p) { return (v16)(__builtin_convertvector(*(const h16u*)p, u16) << 16); }
#if defined(__AVX512BF16__)  // one instruction, to which numbers below 2^-126 are 0
static inline void store(bf16* p, v16 v) { *(h16u*)p = (h16)_mm512_cvtneps_pbh((__m512)v); }
#else
static inline void store(bf16* p, v16 v) {
  const u16 u = (u16)v, rounded = u + 0x7fff + (u >> 16 & 1);
  *(h16u*)p = __builtin_convertvector((v != v ? u16{} + 0x7fc00000u : rounded) >> 16, h16);
}
#endif
static inline v16  splat(float x) { return x - v16{}; }  // x - 0 is x (x + 0 is not for -0), so this is one broadcast
template <class T>
static inline v16 load_n(const T* p, int n) {  // n < 16 elements, the rest zero
  T t[16];
  memset((void*)t, 0, sizeof t);
  memcpy((void*)t, p, (size_t)n * sizeof(T));
  return load(t);
}
template <class T>
static inline void store_n(T* p, v16 v, int n) {
  T t[16];
  store(t, v);
  memcpy((void*)p, t, (size_t)n * sizeof(T));
}
// The next 16 elements of a row of which `left` are left.
template <class T>
static inline v16 load_tail(const T* p, int64_t left) { return left >= 16 ? load(p) : load_n(p, (int)left); }
template <class T>
static inline void store_tail(T* p, v16 v, int64_t left) {
  if (left >= 16) store(p, v);
  else store_n(p, v, (int)left);
}
// y[i] = f(vector of x from i) over [begin, end); f sees zeros behind the end.
template <class T, class U, class F>
static inline void map(const T* x, U* y, int64_t begin, int64_t end, const F& f) {
  int64_t i = begin;
  for (; i + 16 <= end; i += 16) store(y + i, f(load(x + i)));
  if (i < end) store_n(y + i, f(load_n(x + i, (int)(end - i))), (int)(end - i));
}
// The greater / the smaller of each pair, and b where one of the two is NaN.
#if defined(__AVX512F__)  // one instruction, where GCC makes a comparison and a blend of a > b ? a : b
static inline v16 max(v16 a, v16 b) { return __builtin_ia32_maxps512_mask(a, b, a, (unsigned short)-1, 4); }
static inline v16 min(v16 a, v16 b) { return __builtin_ia32_minps512_mask(a, b, a, (unsigned short)-1, 4); }
#else
static inline v16 max(v16 a, v16 b) { return a > b ? a : b; }
static inline v16 min(v16 a, v16 b) { return a < b ? a : b; }
#endif
static inline v16 abs(v16 x) { return (v16)((i16)x & 0x7fffffff); }

typedef float v8_half __attribute__((vector_size(32)));
typedef float v4_half __attribute__((vector_size(16)));

static inline float sum(v16 v) {  // pairwise tree, the same on every instruction set
  const v8_half a = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7) + __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const v4_half b = __builtin_shufflevector(a, a, 0, 1, 2, 3) + __builtin_shufflevector(a, a, 4, 5, 6, 7);
  return (b[0] + b[2]) + (b[1] + b[3]);
}
static inline float max_of(v16 v) {
  const v8_half a0 = __builtin_shufflevector(v, v, 0, 1, 2, 3, 4, 5, 6, 7), a1 = __builtin_shufflevector(v, v, 8, 9, 10, 11, 12, 13, 14, 15);
  const v8_half a = a0 > a1 ? a0 : a1;
  const v4_half b0 = __builtin_shufflevector(a, a, 0, 1, 2, 3), b1 = __builtin_shufflevector(a, a, 4, 5, 6, 7), b = b0 > b1 ? b0 : b1;
  const float c = b[0] > b[2] ? b[0] : b[2], d = b[1] > b[3] ? b[1] : b[3];
  return c > d ? c : d;
}

// e^x for one register, < 2 ulp on [-86.9, 88.7]; below: 0; above: +inf; NaN stays NaN. Cody-Waite reduction, degree-6 polynomial.
static inline vk exp_register(vk x) {
  const float lo = -86.9f;
#if defined(__AVX512F__)
  const vk c = min(splat(89.0f), max(splat(lo), x));
#else
  const float hi = 88.72283f;
  const vk low = x < lo ? lo - vk{} : x;
  const vk c = low > hi ? hi - vk{} : low;
#endif
  const vk shift = 12582912.0f - vk{};  // 1.5 * 2^23: adding it rounds to the nearest integer
  const vk magic = c * 1.44269504088896341f + shift;
  const vk f = magic - shift;
  const vk r = (c - f * 0.693359375f) - f * -2.12194440e-4f;
  vk p = 1.9875691500e-4f - vk{};
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  const vk y = p * (r * r) + (r + 1.0f);
#if defined(__AVX512F__)  // times 2^f, 0 where x < lo
  return __builtin_ia32_scalefps512_mask(y, f, vk{}, __builtin_ia32_cmpps512_mask(x, splat(lo), 5, (unsigned short)-1, 4), 4);
#else
  // times 2^n: n = 128 is out of a float's range, so 2^(n - 1) and a factor of two; the integer is in the low bits of `magic`
  const vk scaled = (y + y) * (vk)(((ik)magic << 23) + (126 << 23));
  const vk bounded = x > hi ? INFINITY - vk{} : scaled;
  return x < lo ? vk{} : bounded;
#endif
}
static inline v16 exp(v16 x) {
#if defined(__AVX512F__)
  return exp_register(x);
#else
  vk part[16 / kLanes];
  memcpy(part, &x, sizeof x);
  for (int i = 0; i < 16 / kLanes; i++) part[i] = exp_register(part[i]);
  memcpy(&x, part, sizeof x);
  return x;
#endif
}

}  // namespace HK_ISA
}  // namespace hk
