// The CPU back-end: picks the widest instruction set that the machine has. HUBERTKIT_ISA=portable|avx2|avx512 holds it
// back (tests run the same cases on each).
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "cpu/cpu.h"

namespace hk {
namespace portable { const hk_op* find_op(const char* kind); }
namespace avx2 { const hk_op* find_op(const char* kind); }
namespace avx512 { const hk_op* find_op(const char* kind); }
namespace avx512_bf16 { const hk_op* find_op(const char* kind); }

namespace {

const size_t kHugePage = 2u << 20;

void* allocate(const hk_backend*, size_t bytes) {
  if (bytes == 0) bytes = 64;
  if (bytes < kHugePage) {
    void* data = nullptr;
    if (posix_memalign(&data, 64, bytes) != 0) return nullptr;
    memset(data, 0, bytes);
    return data;
  }
  const size_t whole = (bytes + kHugePage - 1) / kHugePage * kHugePage;
  void* data = mmap(nullptr, whole, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (data == MAP_FAILED) return nullptr;
  madvise(data, whole, MADV_HUGEPAGE);
  return data;
}

void deallocate(const hk_backend*, void* data, size_t bytes) {
  if (!data) return;
  if (bytes < kHugePage) free(data);
  else munmap(data, (bytes + kHugePage - 1) / kHugePage * kHugePage);
}

void memory(const hk_backend*, size_t* free, size_t* total) {
  *total = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
  *free = (size_t)sysconf(_SC_AVPHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
}

const char* last_error(const hk_backend*) { return ""; }

// Everything happens at once: there is no stream and nothing to wait for.
int create_stream(const hk_backend*, void** stream) {
  *stream = nullptr;
  return 0;
}
void destroy_stream(const hk_backend*, void*) {}
int  enter(const hk_backend*) { return 0; }
int  synchronize(const hk_backend*, void*) { return 0; }
int  copy(const hk_backend*, void*, void* to, const void* from, size_t bytes) {
  memcpy(to, from, bytes);
  return 0;
}
int fill_zero(const hk_backend*, void*, void* data, size_t bytes) {
  memset(data, 0, bytes);
  return 0;
}

hk_backend make() {
  hk_backend b = {};
  b.api_version = HK_BACKEND_API;
  b.name = "cpu";
  b.allocate = allocate;
  b.deallocate = deallocate;
  b.memory = memory;
  b.set_threads = omp_set_num_threads;
  b.last_error = last_error;
  b.create_stream = create_stream;
  b.destroy_stream = destroy_stream;
  b.enter = enter;
  b.upload = b.download = copy;
  b.fill_zero = fill_zero;
  b.synchronize = synchronize;
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const bool has_bf16 = has_avx512 && __builtin_cpu_supports("avx512bf16");
  const struct { const char* name; bool present; const hk_op* (*find)(const char*); } variants[] = {
      {"portable", true, portable::find_op},
      {"avx2", has_avx2, avx2::find_op},
      {"avx512", has_avx512, avx512::find_op},
      {"avx512_bf16", has_bf16, avx512_bf16::find_op},
  };
  const char* wish = getenv("HUBERTKIT_ISA");
  for (const auto& variant : variants) {
    if (!variant.present) break;
    b.variant = variant.name;
    b.find = variant.find;
    if (wish && strcmp(wish, variant.name) == 0) break;
  }
  return b;
}

}  // namespace

const hk_backend* cpu_backend() {
  static const hk_backend backend = make();
  return &backend;
}

}  // namespace hk
