// Kernels are written once for nvcc and for g++ with the host shim of native/cuda/sim (one fiber for each CUDA thread), so that
// they are tested where there is no GPU. Only these two macros differ:
//   HK_LAUNCH(kernel, grid, block, shared bytes, stream, arguments...)      HK_SHARED(type, name): the dynamic shared memory
#pragma once
#if defined(__CUDACC__)
#include <cuda_runtime.h>
#define HK_SHARED(type, name)                                            \
  extern __shared__ __align__(1024) unsigned char hk_dynamic_shared[];   \
  type* name = reinterpret_cast<type*>(hk_dynamic_shared)
#define HK_LAUNCH(kernel, grid, block, shared, stream, ...) kernel<<<grid, block, shared, stream>>>(__VA_ARGS__)
#else
#include "cuda/sim/sim.h"
#endif
