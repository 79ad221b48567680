// Philox4x32-10 (Salmon et al., SC'11): counter-based random numbers. Four 32-bit words for each counter, no state, so the
// same (seed, draw, stream, element) gives the same number whatever the thread count and after a resume.
//   key     = seed (64 bit)
//   counter = { element/4 (32 bit), stream (32 bit), draw (64 bit) };  element e uses word e % 4
#pragma once
#include <stdint.h>

#include "hubertkit/anywhere.h"

namespace hk {

struct Philox4 { uint32_t word[4]; };

HK_ANYWHERE inline Philox4 philox(uint64_t seed, uint64_t draw, uint32_t stream, uint32_t block) {
  uint32_t c0 = block, c1 = stream, c2 = (uint32_t)draw, c3 = (uint32_t)(draw >> 32);
  uint32_t k0 = (uint32_t)seed, k1 = (uint32_t)(seed >> 32);
  for (int round = 0; round < 10; round++) {
    const uint64_t p0 = (uint64_t)0xD2511F53u * c0, p1 = (uint64_t)0xCD9E8D57u * c2;
    const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0, n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
    c1 = (uint32_t)p1;
    c3 = (uint32_t)p0;
    c0 = n0;
    c2 = n2;
    k0 += 0x9E3779B9u;
    k1 += 0xBB67AE85u;
  }
  return {{c0, c1, c2, c3}};
}

// Uniform in (0, 1): 24 bits, never 0 and never 1.
HK_ANYWHERE inline float philox_uniform(uint32_t word) { return ((float)(word >> 8) + 0.5f) * (1.0f / 16777216.0f); }

// Dropout keeps an element when its word is at least this: P(drop) = p.
inline uint32_t dropout_threshold(double p) { return p <= 0 ? 0u : p >= 1 ? 0xFFFFFFFFu : (uint32_t)(p * 4294967296.0); }

}  // namespace hk
