// What the kernels of attention share.
#pragma once
#include "cuda/dropout.cuh"
#include "ops/attention.h"

namespace hk {
namespace HK_ISA {

const int kMostDepth = 128;

// The number of channels that a kernel is made for.
template <int N> struct Depth { static const int value = N; };

}  // namespace HK_ISA
}  // namespace hk
