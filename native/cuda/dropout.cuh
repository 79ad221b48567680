// Dropout on the device, with the element numbering of native/cpu/dropout.h: element e is kept when word e % 4 of Philox block e / 4
// is at least the threshold; kept values are scaled by 1 / (1 - p). Seed and draw are read from device memory, so that a recorded
// launch draws new numbers each time.
#pragma once
#include "cuda/cuda_op.h"

namespace hk {
namespace HK_ISA {

struct Dropout {
  const uint64_t* random;  // {seed, draw}
  uint32_t stream, threshold;
  float    scale;

  explicit Dropout(const hk_call* call) {
    const double p = attribute(call, "dropout", 0);
    random = call->random;
    stream = (uint32_t)attribute(call, "stream", 0);
    threshold = dropout_threshold(p);
    scale = (float)(1 / (1 - p));
  }
  HK_ANYWHERE bool on() const { return threshold > 0; }

  // The four words of elements 4 * block .. 4 * block + 3.
  HK_ANYWHERE Philox4 words(uint64_t block) const {
    return philox(random[0], random[1], stream + (uint32_t)(block >> 32), (uint32_t)block);
  }
  HK_ANYWHERE float factor(uint32_t word) const { return word >= threshold ? scale : 0.0f; }
  HK_ANYWHERE float factor_of(uint64_t element) const { return on() ? factor(words(element / 4).word[element % 4]) : 1.0f; }

  // Of elements first .. first + N - 1: one, or whole blocks.
  template <int N>
  __device__ void factors(uint64_t first, float (&factor_of_each)[N]) const {
    static_assert(N == 1 || N % 4 == 0, "an element, or whole blocks");
    if constexpr (N == 1) {
      factor_of_each[0] = factor_of(first);
    } else {
#pragma unroll
      for (int block = 0; block < N / 4; block++) {
        Philox4 made = {};
        if (on()) made = words(first / 4 + block);
#pragma unroll
        for (int i = 0; i < 4; i++) factor_of_each[4 * block + i] = on() ? factor(made.word[i]) : 1.0f;
      }
    }
  }

  // Bit i: element first + i is kept. Four blocks where the elements begin with one, else five.
  __device__ uint32_t kept_16(uint64_t first) const {
    const uint64_t block = first / 4;
    const int offset = (int)(first % 4);
    uint32_t bits = 0;
#pragma unroll 2  // more at a time would need more registers than attention has left
    for (int i = 0; i < 4; i++) bits |= kept_4(block + (uint64_t)i) << 4 * i;
    if (offset) bits = (bits | kept_4(block + 4) << 16) >> offset;
    return bits & 0xFFFFu;
  }

 private:
  __device__ uint32_t kept_4(uint64_t block) const {
    const Philox4 made = words(block);
    uint32_t bits = 0;
#pragma unroll
    for (int i = 0; i < 4; i++) bits |= (uint32_t)(made.word[i] >= threshold) << i;
    return bits;
  }
};

}  // namespace HK_ISA
}  // namespace hk
