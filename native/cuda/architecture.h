// What HK_CUDA_ARCHITECTURES names a GPU of this compute capability: Hopper's own instructions make it 90a.
#pragma once
#include <string>

namespace hk {
namespace cuda {

static inline std::string architecture_of(int major, int minor) {
  return std::to_string(major) + std::to_string(minor) + (major == 9 ? "a-real" : "-real");
}

}  // namespace cuda
}  // namespace hk
