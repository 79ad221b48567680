// What every file of native/cpu/ops includes: checks for `prepare`, parallel loops, attributes.
#pragma once
#include <omp.h>

#include "cpu/simd.h"
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

// Calls body(begin, end) over [0, n) split into fixed chunks: the split depends on n and `grain` alone, never on the number
// of threads, so a chunk's partial sums are the same for any thread count.
template <class Body>
static inline void parallel_chunks(int64_t n, int64_t grain, const Body& body) {
  const int64_t chunks = (n + grain - 1) / grain;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t c = 0; c < chunks; c++) {
    const int64_t begin = c * grain, end = begin + grain < n ? begin + grain : n;
    body(c, begin, end);
  }
}

// Scratch for each thread that may run: planned for so many slots, kept until the run, which uses so many threads at most. An op may make
// the number its state.
static inline int64_t thread_slots(int64_t items) {
  const int64_t most = omp_get_max_threads() > omp_get_num_procs() ? omp_get_max_threads() : omp_get_num_procs();
  return most < items ? most : items;
}
static inline int use_threads(int64_t slots) { return (int)(slots < omp_get_max_threads() ? slots : omp_get_max_threads()); }
static inline int use_threads(const hk_call* call) { return use_threads((int64_t)(intptr_t)call->state); }

}  // namespace HK_ISA
}  // namespace hk
