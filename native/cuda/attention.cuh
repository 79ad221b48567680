// What the kernels of attention share: the sizes of a call.
#pragma once
#include "cuda/dropout.cuh"

namespace hk {
namespace HK_ISA {

struct AttentionSizes {
  int64_t batch, frames, width, heads, depth;
  float   scale;  // of the scores
  explicit AttentionSizes(const hk_call* call) {
    const hk_tensor& qkv = call->inputs[0];
    batch = qkv.shape[0];
    frames = qkv.shape[1];
    width = qkv.shape[2] / 3;
    heads = (int64_t)attribute(call, "heads", 1);
    depth = width / heads;
    scale = (float)(1 / sqrt((double)depth));
  }
  HK_ANYWHERE int64_t pairs() const { return batch * heads; }
};

const int kMostDepth = 128;

// The number of channels that a kernel is made for.
template <int N> struct Depth { static const int value = N; };

}  // namespace HK_ISA
}  // namespace hk
