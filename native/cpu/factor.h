// What our own products (tile.h, correlate.h) are made of: floats, and where AVX512_BF16 is compiled in pairs of bf16. A pair holds
// neighbours along the sum, so that one instruction multiplies two of them and adds both products to a float.
#pragma once
#include "cpu/simd.h"

namespace hk {
namespace HK_ISA {

// The factors that products of activations T take, and the numbers that they hold.
template <class T>
struct Product {
  typedef float Factor;
  typedef float Number;
};

template <class Factor>
static constexpr int64_t kNumbers = 1;  // in one factor

static inline vk   load_factors(const float* p) { return *(const vku*)p; }
static inline vk   multiply_add(vk sum, vk a, float b) { return sum + a * b; }
static inline void set_factor(float* to, float x, float) { *to = x; }
static inline v16  first_numbers(const float* p) { return load(p); }

#if defined(__AVX512BF16__)
struct __attribute__((packed, aligned(2), may_alias)) Pair { uint32_t bits; };
typedef float vk_pairs __attribute__((vector_size(64), aligned(2), may_alias));

template <>
struct Product<bf16> {
  typedef Pair Factor;
  typedef bf16 Number;
};
template <>
constexpr int64_t kNumbers<Pair> = 2;

static inline vk load_factors(const Pair* p) { return *(const vk_pairs*)p; }
static inline vk multiply_add(vk sum, vk a, Pair b) {
  return (vk)_mm512_dpbf16_ps((__m512)sum, (__m512bh)a, (__m512bh)_mm512_set1_epi32((int)b.bits));
}
static inline void set_factor(Pair* to, bf16 x, bf16 next) { to->bits = x.bits | (uint32_t)next.bits << 16; }
// to[i] = (first[i], second[i]), rounded.
static inline void store_pairs(Pair* to, v16 first, v16 second) {
  typedef short words __attribute__((vector_size(64)));
  words interleave;
  for (int i = 0; i < 32; i++) interleave[i] = (short)(i / 2 + i % 2 * 16);
  const words halves = (words)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
  *(vk_pairs*)to = (vk)__builtin_shuffle(halves, interleave);
}
static inline v16  first_numbers(const Pair* p) { return (v16)((u16)load_factors(p) << 16); }
#endif

// Factors that hold n numbers.
template <class Factor>
static inline int64_t factors(int64_t n) { return (n + kNumbers<Factor> - 1) / kNumbers<Factor>; }
// Whether products of this activation are made of pairs.
static inline bool makes_pairs(bool is_bf16) { return is_bf16 && kNumbers<Product<bf16>::Factor> == 2; }

}  // namespace HK_ISA
}  // namespace hk
