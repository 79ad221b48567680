// How activations are stored in half the bytes. Products may take them as they are; all else, sums too, is f32.
#pragma once
#include <stdint.h>
#include <string.h>

#include "hubertkit/anywhere.h"

namespace hk {
namespace HK_ISA {

// bfloat16: the upper half of a float; rounded to nearest even, NaN stays NaN.
struct bf16 {
  uint16_t bits;
  bf16() = default;
  HK_ANYWHERE bf16(float x) {
#if defined(__CUDA_ARCH__)
    asm("cvt.rn.bf16.f32 %0, %1;" : "=h"(bits) : "f"(x));
#else
    uint32_t u;
    memcpy(&u, &x, sizeof u);
    bits = (uint16_t)((x != x ? 0x7fc00000u : u + 0x7fff + (u >> 16 & 1)) >> 16);
#endif
  }
  HK_ANYWHERE operator float() const {
    const uint32_t u = (uint32_t)bits << 16;
    float x;
    memcpy(&x, &u, sizeof x);
    return x;
  }
};

}  // namespace HK_ISA
}  // namespace hk
