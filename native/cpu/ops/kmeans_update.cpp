// kmeans_update on the CPU: the contract is in ops/kmeans_update.h. The rows are listed by label; each cluster's sum is taken by one thread,
// in the order of the rows. They lie scattered: while one is added, the next is fetched.
#include "cpu/op.h"
#include "hubertkit/scratch.h"
#include "ops/kmeans_update.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kColumns = 1024;  // summed at a time

struct Layout {
  int64_t* starts;   // [K+2]
  int32_t* members;  // [N]; the rows with label k stand from starts[k] to starts[k+1]
};
Layout layout(const UpdateSizes& s, Scratch& scratch) {
  Layout l;
  l.starts = scratch.take<int64_t>(s.K + 2);
  l.members = scratch.take<int32_t>(s.N);
  return l;
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_kmeans_update(call)) return 1;
  Scratch scratch(nullptr);
  layout(update_sizes(call), scratch);
  *scratch_bytes = scratch.bytes();
  return 0;
}

// A counting sort. Until all rows are listed, starts[k + 1] is the place of the next row with label k.
void group_by_label(const int32_t* labels, const UpdateSizes& s, const Layout& l) {
  memset(l.starts, 0, (size_t)(s.K + 2) * sizeof(int64_t));
  const auto belongs = [&](int64_t i) { return labels[i] >= 0 && labels[i] < s.K; };
  for (int64_t i = 0; i < s.N; i++)
    if (belongs(i)) l.starts[labels[i] + 2]++;
  for (int64_t k = 0; k < s.K; k++) l.starts[k + 2] += l.starts[k + 1];
  for (int64_t i = 0; i < s.N; i++)
    if (belongs(i)) l.members[l.starts[labels[i] + 1]++] = (int32_t)i;
}

void move_centroid(const hk_call* call, const UpdateSizes& s, const Layout& l, int64_t k) {
  const float *x = f32(call->inputs[0]), *c = f32(call->inputs[2]) + k * s.D;
  const int32_t weight = i32(call->inputs[3])[k], absorbed = absorbed_rows(weight, l.starts[k + 1] - l.starts[k]);
  float* moved = f32(call->outputs[0]) + k * s.D;
  for (int64_t first = 0; first < s.D; first += kColumns) {
    const int64_t columns = s.D - first < kColumns ? s.D - first : kColumns;
    double sums[kColumns] = {};
    for (int64_t i = l.starts[k]; i < l.starts[k + 1]; i++) {
      const float* row = x + l.members[i] * s.D + first;
      const float* next = i + 1 < l.starts[s.K] ? x + l.members[i + 1] * s.D + first : row;
      for (int64_t d = 0; d < columns; d += 16) __builtin_prefetch(next + d);
      for (int64_t d = 0; d < columns; d++) sums[d] += row[d];
    }
    for (int64_t d = 0; d < columns; d++) moved[first + d] = moved_centroid(c[first + d], weight, sums[d], absorbed);
  }
  i32(call->outputs[1])[k] = absorbed;
}

int run(hk_call* call) {
  const UpdateSizes s = update_sizes(call);
  Scratch scratch(call->scratch);
  const Layout l = layout(s, scratch);
  group_by_label(i32(call->inputs[1]), s, l);
#pragma omp parallel for schedule(dynamic, 1) if ((double)s.N * s.D > 1e6)
  for (int64_t k = 0; k < s.K; k++) move_centroid(call, s, l, k);
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(kmeans_update, {"kmeans_update", prepare, run, nullptr, kmeans_update_cost})
