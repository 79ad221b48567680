// Runs CUDA kernel source on the host, where there is no GPU: for tests. Each CUDA thread is a fiber (a stack of its own, switched by
// hand), the blocks of a grid run one after the other. __syncthreads and the warp functions are places where fibers wait for each
// other; between them the order of threads, and the order of blocks, is shuffled by a seed, so that code which needs a barrier that is
// not there gives other results than the CPU's. Found and reported as the launch's error instead of a hang: a barrier that some
// threads do not reach, a shuffle whose mask names lanes that do something else, shared memory that was not asked for. Shared memory holds NaN when a block begins.
// Kernels stand in anonymous namespaces (shared arrays are static there).
// What is put on a stream runs when somebody waits for the stream, with the arguments as they were at the launch; without a stream
// (nullptr) it runs at once.
#pragma once
#include <math.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <functional>
#include <tuple>
#include <type_traits>
#include <vector>

#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __launch_bounds__(...)
#define __restrict__ __restrict
#define __shared__ static __attribute__((section("hk_sim_shared")))

struct dim3 {
  unsigned x, y, z;
  dim3(int64_t a = 1, int64_t b = 1, int64_t c = 1) : x((unsigned)a), y((unsigned)b), z((unsigned)c) {}
};
typedef void* cudaStream_t;
typedef int cudaError_t;
enum { cudaSuccess = 0, cudaMemcpyDeviceToDevice = 3, cudaFuncAttributeMaxDynamicSharedMemorySize = 8 };

namespace hk {
namespace sim {

// What the running thread sees; set by the scheduler before it switches to a fiber.
extern dim3 thread_index, block_index, block_size, grid_size;
extern unsigned char* dynamic_shared;
enum class WarpOp { sync, exchange, mma, ldmatrix };

struct Stream {
  std::vector<std::function<void()>>  waiting;
  std::vector<std::function<void()>>* recording = nullptr;  // where it goes instead, between the begin and the end of a recording
};
void  submit(cudaStream_t stream, std::function<void()> work);

void  set_seed(uint64_t seed);  // of the order of threads and blocks
void  launch(const void* kernel, dim3 grid, dim3 block, size_t shared_bytes, unsigned char* static_begin, unsigned char* static_end,
             const std::function<void()>& body);
void  wait_for_block();
// The values that the lanes named by `mask` brought along, by lane; valid until this thread waits again.
const uint64_t* wait_for_warp(unsigned mask, WarpOp op, uint64_t value);
int   lane();
void  expect_aligned(const char* instruction, const void* address, int bytes);
void  copy_now_or_later(void* to, const void* from, size_t bytes);  // zeros from nullptr; done at the latest when this thread calls:
void  finish_copies();

template <class T>
T exchange(unsigned mask, T value, int from) {
  static_assert(sizeof(T) <= 8, "a shuffle moves up to 64 bits");
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  const uint64_t* all = wait_for_warp(mask, WarpOp::exchange, bits);
  memcpy(&value, &all[from], sizeof value);
  return value;
}

template <class... Parameters, class... Arguments>
void submit_launch(cudaStream_t stream, void (*kernel)(Parameters...), dim3 grid, dim3 block, size_t shared, unsigned char* static_begin,
                   unsigned char* static_end, Arguments&&... arguments) {
  const std::tuple<std::remove_const_t<Parameters>...> kept(std::forward<Arguments>(arguments)...);
  submit(stream, [=] {
    launch((const void*)kernel, grid, block, shared, static_begin, static_end, [&] { std::apply(kernel, kept); });
  });
}

}  // namespace sim
}  // namespace hk

#define threadIdx hk::sim::thread_index
#define blockIdx  hk::sim::block_index
#define blockDim  hk::sim::block_size
#define gridDim   hk::sim::grid_size

cudaError_t cudaGetLastError();
const char* cudaGetErrorString(cudaError_t error);
cudaError_t hk_sim_allow_shared(const void* kernel, int bytes);
template <class Kernel>
cudaError_t cudaFuncSetAttribute(Kernel* kernel, int, int bytes) {
  return hk_sim_allow_shared((const void*)kernel, bytes);
}
static inline cudaError_t cudaMemsetAsync(void* data, int value, size_t bytes, cudaStream_t stream) {
  hk::sim::submit(stream, [=] { memset(data, value, bytes); });
  return cudaSuccess;
}
static inline cudaError_t cudaMemcpyAsync(void* to, const void* from, size_t bytes, int, cudaStream_t stream) {
  hk::sim::submit(stream, [=] { memcpy(to, from, bytes); });
  return cudaSuccess;
}

static inline void __syncthreads() { hk::sim::wait_for_block(); }
static inline void __syncwarp(unsigned mask = ~0u) { hk::sim::wait_for_warp(mask, hk::sim::WarpOp::sync, 0); }
template <class T>
T __shfl_xor_sync(unsigned mask, T value, int distance) {
  return hk::sim::exchange(mask, value, hk::sim::lane() ^ distance);
}
template <class T>
T __shfl_sync(unsigned mask, T value, int from) {
  return hk::sim::exchange(mask, value, from & 31);
}

// The bounds of this object file's, or rather this library's, static shared arrays.
extern "C" {
extern unsigned char __start_hk_sim_shared[] __attribute__((weak, visibility("hidden")));
extern unsigned char __stop_hk_sim_shared[] __attribute__((weak, visibility("hidden")));
}

#define HK_SHARED(type, name) type* name = reinterpret_cast<type*>(hk::sim::dynamic_shared)
#define HK_LAUNCH(kernel, grid, block, shared, stream, ...) \
  hk::sim::submit_launch(stream, kernel, grid, block, shared, __start_hk_sim_shared, __stop_hk_sim_shared __VA_OPT__(, ) __VA_ARGS__)
