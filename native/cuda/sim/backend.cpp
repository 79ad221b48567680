// A CUDA back-end whose kernels run on the host shim: what is built on the back-end's C interface is tested with it where there is no GPU.
// As on a GPU, a stream is given work that is done later, a recording is played with whatever the memory then holds, and the device's
// memory is out of the host's reach (it faults) but for that work. Built as a libhubertkit_cuda.so, to be put beside a copy of hubertkit.node.
// The variant says how many recordings were made.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <map>
#include <mutex>
#include <string>

#include "cuda/launch.h"
#include "hubertkit/backend.h"

namespace hk {
namespace cuda_sim { const hk_op* find_op(const char* kind); }

namespace {

using Work = std::vector<std::function<void()>>;
using sim::Stream;

std::mutex mutex;
std::map<void*, size_t> blocks;  // the device's memory
char variant[64] = "the host shim, 0 recordings";
thread_local std::string last_message;
thread_local int streams_recording;

int failed(const char* message) {
  last_message = message;
  return 1;
}

void open_memory(bool open) {
  for (const auto& block : blocks) mprotect(block.first, block.second, open ? PROT_READ | PROT_WRITE : PROT_NONE);
}

void* allocate(const hk_backend*, size_t bytes) {
  last_message.clear();
  if (streams_recording) return failed("memory is asked for while a stream is recorded"), nullptr;
  bytes = bytes ? bytes : 1;
  void* data = mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  blocks[data] = bytes;
  return data;
}
void deallocate(const hk_backend*, void* data, size_t) {
  if (!data) return;
  std::lock_guard<std::mutex> lock(mutex);
  munmap(data, blocks[data]);
  blocks.erase(data);
}
void* allocate_staging(const hk_backend*, size_t bytes) { return calloc(bytes ? bytes : 1, 1); }
void deallocate_staging(const hk_backend*, void* data, size_t) { free(data); }
void memory(const hk_backend*, size_t* free, size_t* total) { *free = *total = (size_t)1 << 30; }
void set_threads(int) {}
const char* last_error(const hk_backend*) { return last_message.c_str(); }

int create_stream(const hk_backend*, void** stream) {
  *stream = new Stream;
  return 0;
}
void destroy_stream(const hk_backend*, void* stream) { delete (Stream*)stream; }
int enter(const hk_backend*) { return 0; }
int copy(const hk_backend*, void* stream, void* to, const void* from, size_t bytes) { return cudaMemcpyAsync(to, from, bytes, 0, stream); }
int fill_zero(const hk_backend*, void* stream, void* data, size_t bytes) { return cudaMemsetAsync(data, 0, bytes, stream); }

int synchronize(const hk_backend*, void* stream) {
  Stream* s = (Stream*)stream;
  if (s->recording) return failed("a stream that is recorded cannot be waited for");
  Work work;
  work.swap(s->waiting);
  std::lock_guard<std::mutex> lock(mutex);
  open_memory(true);
  for (const auto& piece : work) piece();
  open_memory(false);
  return cudaGetLastError() == cudaSuccess ? 0 : failed(cudaGetErrorString(1));
}

int begin_recording(const hk_backend*, void* stream) {
  static int made = 0;
  snprintf(variant, sizeof variant, "the host shim, %d recordings", ++made);
  ((Stream*)stream)->recording = new Work;
  streams_recording++;
  return 0;
}
int end_recording(const hk_backend*, void* stream, void** recording) {
  Stream* s = (Stream*)stream;
  *recording = s->recording;
  s->recording = nullptr;
  streams_recording--;
  return 0;
}
int replay(const hk_backend*, void* stream, void* recording) {
  for (const auto& piece : *(const Work*)recording) ((Stream*)stream)->waiting.push_back(piece);
  return 0;
}
void destroy_recording(const hk_backend*, void* recording) { delete (Work*)recording; }

hk_backend make() {
  hk_backend b = {};
  b.api_version = HK_BACKEND_API;
  b.name = "cuda";
  b.variant = variant;
  b.find = cuda_sim::find_op;
  b.allocate = allocate;
  b.deallocate = deallocate;
  b.allocate_staging = allocate_staging;
  b.deallocate_staging = deallocate_staging;
  b.memory = memory;
  b.set_threads = set_threads;
  b.last_error = last_error;
  b.create_stream = create_stream;
  b.destroy_stream = destroy_stream;
  b.enter = enter;
  b.upload = b.download = copy;
  b.fill_zero = fill_zero;
  b.synchronize = synchronize;
  b.begin_recording = begin_recording;
  b.end_recording = end_recording;
  b.replay = replay;
  b.destroy_recording = destroy_recording;
  return b;
}

}  // namespace
}  // namespace hk

extern "C" __attribute__((visibility("default"))) const hk_backend* hubertkit_cuda_backend(int, char*, size_t) {
  static const hk_backend backend = hk::make();
  return &backend;
}
