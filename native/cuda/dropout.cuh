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
};

}  // namespace HK_ISA
}  // namespace hk
