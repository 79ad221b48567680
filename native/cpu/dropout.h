// Dropout masks sixteen Philox blocks (64 elements) at a time. Element e is kept when word e % 4 of block e / 4 is at least
// the threshold; kept values are scaled by 1 / (1 - p). A block's number has 64 bits: the low 32 count, the high ones are
// added to the stream. The backward pass makes the same words again, so no mask is ever stored.
#pragma once
#include <immintrin.h>

#include "cpu/op.h"

namespace hk {
namespace HK_ISA {

// Each 64-bit lane works on one block. Only the low 32 bits of a lane count: the multiplication reads no others, so the high
// ones are never cleared.
typedef uint64_t wk __attribute__((vector_size(kLanes * 4)));
enum { kBlocks = kLanes / 2 };

static inline wk multiply(wk a, uint32_t m) {
#if defined(__AVX512F__)
  return (wk)_mm512_maskz_mul_epu32((__mmask8)0xFF, (__m512i)a, _mm512_set1_epi64(m));
#elif defined(__AVX2__)
  return (wk)_mm256_mul_epu32((__m256i)a, _mm256_set1_epi64x(m));
#else
  return (wk)_mm_mul_epu32((__m128i)a, _mm_set1_epi64x(m));
#endif
}

// The words of blocks first .. first + kBlocks - 1, in element order.
static inline void philox_blocks(uint64_t seed, uint64_t draw, uint32_t stream, uint64_t first, uint32_t* out) {
  wk block;
  for (int i = 0; i < kBlocks; i++) block[i] = (uint64_t)i;
  block += first;
  wk c0 = block, c1 = (block >> 32) + stream, c2 = draw - wk{}, c3 = (draw >> 32) - wk{};
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
#pragma GCC unroll 10
  for (int round = 0; round < 10; round++) {
    const wk p0 = multiply(c0, 0xD2511F53u), p1 = multiply(c2, 0xCD9E8D57u);
    c0 = (p1 >> 32) ^ c1 ^ (uint64_t)k0;
    c2 = (p0 >> 32) ^ c3 ^ (uint64_t)k1;
    c1 = p1;
    c3 = p0;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  const wk a = (c0 & 0xFFFFFFFFull) | (c1 << 32), b = (c2 & 0xFFFFFFFFull) | (c3 << 32);
  wk low, high;  // a and b interleaved
  for (int i = 0; i < kBlocks; i++) {
    low[i] = (uint64_t)(i / 2 + i % 2 * kBlocks);
    high[i] = low[i] + kBlocks / 2;
  }
  const wk words[2] = {__builtin_shuffle(a, b, low), __builtin_shuffle(a, b, high)};
  memcpy(out, words, sizeof words);
}

static inline void philox_16_blocks(uint64_t seed, uint64_t draw, uint32_t stream, uint64_t first, uint32_t* out) {
#pragma GCC unroll 8
  for (int i = 0; i < 16; i += kBlocks) philox_blocks(seed, draw, stream, first + (uint64_t)i, out + i * 4);
}

struct Dropout {
  uint64_t seed, draw;
  uint32_t stream, threshold;
  float    scale;

  explicit Dropout(const hk_call* call) {
    const double p = attribute(call, "dropout", 0);
    seed = call->random[0];
    draw = call->random[1];
    stream = (uint32_t)attribute(call, "stream", 0);
    threshold = dropout_threshold(p);
    scale = (float)(1 / (1 - p));
  }
  bool on() const { return threshold > 0; }

  // words[j] belongs to element first + j, j < n. `buffer` has room for buffer_words(n) and the result points into it.
  static int64_t buffer_words(int64_t n) { return (n + 3 + 63) / 64 * 64; }
  const uint32_t* words(uint64_t first, int64_t n, uint32_t* buffer) const {
    const int64_t offset = (int64_t)(first % 4);
    for (int64_t j = 0; j < n + offset; j += 64) philox_16_blocks(seed, draw, stream, first / 4 + (uint64_t)j / 4, buffer + j);
    return buffer + offset;
  }
  v16 apply(v16 x, const uint32_t* words) const {
    u16 w;
    memcpy(&w, words, sizeof w);
    return w >= threshold ? x * scale : v16{};
  }
};

}  // namespace HK_ISA
}  // namespace hk
