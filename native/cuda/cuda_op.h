// What every file of native/cuda/ops includes. `prepare` runs on the host and is checked with the same functions as on the CPU;
// `run` launches kernels on call->stream and ends with `return launched(call)`. All data pointers are device memory.
#pragma once
#include "cuda/launch.h"
#include "hubertkit/op.h"
#include "hubertkit/scratch.h"

namespace hk {
namespace HK_ISA {

static inline cudaStream_t stream_of(const hk_call* call) { return (cudaStream_t)call->stream; }

// 0, or 1 with the error of the last launch in call->error.
static inline int launched(hk_call* call) {
  const cudaError_t error = cudaGetLastError();
  return error == cudaSuccess ? 0 : fail(call, "%s", cudaGetErrorString(error));
}

// Lets a kernel have this much dynamic shared memory (above 48 KiB it must be asked for). 0, or 1 with the reason in call->error.
template <class Kernel>
static inline int allow_shared(hk_call* call, Kernel kernel, size_t bytes) {
  const cudaError_t error = cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, (int)bytes);
  return error == cudaSuccess ? 0 : fail(call, "%zu bytes of shared memory: %s", bytes, cudaGetErrorString(error));
}

static inline int64_t blocks_for(int64_t n, int64_t block) { return (n + block - 1) / block; }

}  // namespace HK_ISA
}  // namespace hk
