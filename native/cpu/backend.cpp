// The CPU back-end: picks the widest instruction set that the machine has. HUBERTKIT_ISA=portable|avx2|avx512 overrides
// (tests run the same cases on each).
#include <omp.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "cpu/cpu.h"

namespace hk {
namespace portable { const hk_op* find_op(const char* kind); }
namespace avx2 { const hk_op* find_op(const char* kind); }
namespace avx512 { const hk_op* find_op(const char* kind); }

namespace {

const size_t kHugePage = 2u << 20;

void* allocate(size_t bytes) {
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

void deallocate(void* data, size_t bytes) {
  if (!data) return;
  if (bytes < kHugePage) free(data);
  else munmap(data, (bytes + kHugePage - 1) / kHugePage * kHugePage);
}

hk_backend make() {
  hk_backend b = {HK_BACKEND_API, "cpu", "portable", portable::find_op, allocate, deallocate, omp_set_num_threads};
  const bool has_avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma");
  const bool has_avx512 = has_avx2 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                          __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
  const char* wish = getenv("HUBERTKIT_ISA");
  if (has_avx2 && !(wish && strcmp(wish, "portable") == 0)) {
    b.variant = "avx2";
    b.find = avx2::find_op;
  }
  if (has_avx512 && !(wish && (strcmp(wish, "portable") == 0 || strcmp(wish, "avx2") == 0))) {
    b.variant = "avx512";
    b.find = avx512::find_op;
  }
  return b;
}

}  // namespace

const hk_backend* cpu_backend() {
  static const hk_backend backend = make();
  return &backend;
}

}  // namespace hk
