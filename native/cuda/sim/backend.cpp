// A CUDA back-end whose kernels run on the host shim and whose memory is the host's, copied to and from all the same: what is built on the
// back-end's C interface is tested with it where there is no GPU. Built as a libhubertkit_cuda.so, to be put beside a copy of hubertkit.node.
#include <stdlib.h>
#include <string.h>

#include "hubertkit/backend.h"

namespace hk {
namespace cuda_sim { const hk_op* find_op(const char* kind); }

namespace {

void* allocate(const hk_backend*, size_t bytes) {
  void* data = nullptr;
  if (posix_memalign(&data, 64, bytes ? bytes : 1) != 0) return nullptr;
  return memset(data, 0, bytes);
}
void deallocate(const hk_backend*, void* data, size_t) { free(data); }
void memory(const hk_backend*, size_t* free, size_t* total) { *free = *total = (size_t)1 << 30; }
void set_threads(int) {}
const char* last_error(const hk_backend*) { return ""; }

int create_stream(const hk_backend*, void** stream) {
  *stream = nullptr;
  return 0;
}
void destroy_stream(const hk_backend*, void*) {}
int enter(const hk_backend*) { return 0; }
int copy(const hk_backend*, void*, void* to, const void* from, size_t bytes) {
  memcpy(to, from, bytes);
  return 0;
}
int fill_zero(const hk_backend*, void*, void* data, size_t bytes) {
  memset(data, 0, bytes);
  return 0;
}
int synchronize(const hk_backend*, void*) { return 0; }

hk_backend make() {
  hk_backend b = {};
  b.api_version = HK_BACKEND_API;
  b.name = "cuda";
  b.variant = "the host shim";
  b.find = cuda_sim::find_op;
  b.allocate = b.allocate_staging = allocate;
  b.deallocate = b.deallocate_staging = deallocate;
  b.memory = memory;
  b.set_threads = set_threads;
  b.last_error = last_error;
  b.create_stream = create_stream;
  b.destroy_stream = destroy_stream;
  b.enter = enter;
  b.upload = b.download = copy;
  b.fill_zero = fill_zero;
  b.synchronize = synchronize;
  return b;
}

}  // namespace
}  // namespace hk

extern "C" __attribute__((visibility("default"))) const hk_backend* hubertkit_cuda_backend(int, char*, size_t) {
  static const hk_backend backend = hk::make();
  return &backend;
}
