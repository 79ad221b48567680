// kmeans_assign on the CPU: the contract is in ops/kmeans_assign.h. The centroids are packed once in panels of kWide (k along the lanes,
// D along the rows), of which the last may be narrower. The kernel keeps kRows x kWide dot products in registers while it walks over D, and
// folds them into each row's best score so far, lane by lane. A block of rows stays in the second-level cache while all panels pass.
// Each row's sums run in the same order wherever it stands.
#include "cpu/op.h"
#include "cpu/softmax.h"
#include "hubertkit/scratch.h"
#include "ops/kmeans_assign.h"

namespace hk {
namespace HK_ISA {
namespace {

const int kRows = kLanes == 16 ? 8 : 6, kVectors = kLanes == 16 ? 3 : 2;  // 24 accumulators of 32 registers; 12 of 16
const int kWide = kVectors * kLanes;
const int64_t kGroups = 16;  // groups of kRows rows that one thread takes at a time, at most

struct Sizes {
  int64_t N, D, K, panels, block, blocks;
};
Sizes sizes_of(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &c = call->inputs[1];
  Sizes s = {rows(x), last(x), c.shape[0], (c.shape[0] + kWide - 1) / kWide, 0, 0};
  const int64_t groups = s.N / (16 * kRows);  // short inputs: smaller blocks, so that all threads get some
  s.block = kRows * (groups < 1 ? 1 : groups > kGroups ? kGroups : groups);
  s.blocks = (s.N + s.block - 1) / s.block;
  return s;
}

struct Layout {
  float *panels, *half;  // [panels, D, kWide], [panels * kWide] half the squared norms, +inf behind the last
  float* last;           // [kRows, D] the last rows, when they are fewer than kRows
};
Layout layout(const Sizes& s, Scratch& scratch) {
  Layout l;
  l.panels = scratch.take<float>(s.panels * s.D * kWide);
  l.half = scratch.take<float>(s.panels * kWide);
  l.last = scratch.take<float>(kRows * s.D);
  return l;
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_kmeans_assign(call)) return 1;
  Scratch scratch(nullptr);
  layout(sizes_of(call), scratch);
  *scratch_bytes = scratch.bytes();
  return 0;
}

// Vectors of centroids in panel p.
int vectors_of(const Sizes& s, int64_t p) {
  const int64_t left = s.K - p * kWide;
  return left >= kWide ? kVectors : (int)((left + kLanes - 1) / kLanes);
}

void pack_centroids(const float* c, const Sizes& s, const Layout& l) {
  parallel_chunks(s.panels, 1, [&](int64_t p, int64_t, int64_t) {
    const int64_t width = vectors_of(s, p) * kLanes;
    float* panel = l.panels + p * s.D * kWide;
    const auto row = [&](int64_t lane) { return c + (p * kWide + lane < s.K ? p * kWide + lane : 0) * s.D; };
    for (int64_t first = 0; first < s.D; first += 16)
      for (int64_t lane = 0; lane < width; lane++)
        for (int64_t d = first; d < s.D && d < first + 16; d++) panel[d * width + lane] = row(lane)[d];
    for (int64_t lane = 0; lane < width; lane++)
      l.half[p * kWide + lane] = p * kWide + lane < s.K ? 0.5f * dot(row(lane), row(lane), s.D) : INFINITY;
  });
}

struct Best {
  vk score[kRows];
  ik index[kRows];
};

template <int VECTORS>
void panel_kernel(const float* x, const float* panel, const float* half, int64_t D, int32_t first, Best* best) {
  vk acc[kRows][VECTORS] = {};
  for (int64_t d = 0; d < D; d++, panel += VECTORS * kLanes) {
    vk c[VECTORS];
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) c[j] = *(const vku*)(panel + j * kLanes);
#pragma GCC unroll 16
    for (int r = 0; r < kRows; r++) {
      const vk value = x[r * D + d] - vk{};  // x - 0 is x: one broadcast
#pragma GCC unroll 4
      for (int j = 0; j < VECTORS; j++) acc[r][j] += value * c[j];
    }
  }
  ik lane;
  for (int i = 0; i < kLanes; i++) lane[i] = i;
#pragma GCC unroll 16
  for (int r = 0; r < kRows; r++)
#pragma GCC unroll 4
    for (int j = 0; j < VECTORS; j++) {
      const vk score = *(const vku*)(half + j * kLanes) - acc[r][j];
      const ik better = score < best->score[r];
      best->score[r] = better ? score : best->score[r];
      best->index[r] = better ? lane + (first + j * kLanes) : best->index[r];
    }
}

typedef void (*PanelKernel)(const float* x, const float* panel, const float* half, int64_t D, int32_t first, Best* best);
const PanelKernel kPanelKernels[] = {panel_kernel<1>, panel_kernel<2>, panel_kernel<3>};

int32_t lowest(const vk score, const ik index) {
  float s[kLanes];
  int32_t k[kLanes];
  memcpy(s, &score, sizeof s);
  memcpy(k, &index, sizeof k);
  int winner = 0;
  for (int i = 1; i < kLanes; i++)
    if (s[i] < s[winner] || (s[i] == s[winner] && k[i] < k[winner])) winner = i;
  return k[winner];
}

float squared_distance(const float* a, const float* b, int64_t n) {
  v16 s = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) {
    const v16 d = load(a + i) - load(b + i);
    s += d * d;
  }
  if (i < n) {
    const v16 d = load_n(a + i, (int)(n - i)) - load_n(b + i, (int)(n - i));
    s += d * d;
  }
  return sum(s);
}

void assign_block(const hk_call* call, const Sizes& s, const Layout& l, int64_t begin, int64_t end) {
  const float *x = f32(call->inputs[0]), *c = f32(call->inputs[1]);
  Best best[kGroups];
  const float* group[kGroups];
  const int64_t groups = (end - begin + kRows - 1) / kRows;
  for (int64_t g = 0; g < groups; g++) {
    const int64_t first = begin + g * kRows, left = end - first;
    group[g] = x + first * s.D;
    if (left < kRows) {  // only in the last block
      memset(l.last, 0, (size_t)(kRows * s.D) * sizeof(float));
      memcpy(l.last, group[g], (size_t)(left * s.D) * sizeof(float));
      group[g] = l.last;
    }
    for (int r = 0; r < kRows; r++) {
      best[g].score[r] = vk{} + INFINITY;
      best[g].index[r] = ik{};
    }
  }
  for (int64_t p = 0; p < s.panels; p++)
    for (int64_t g = 0; g < groups; g++)
      kPanelKernels[vectors_of(s, p) - 1](group[g], l.panels + p * s.D * kWide, l.half + p * kWide, s.D, (int32_t)(p * kWide), best + g);
  for (int64_t i = begin; i < end; i++) {
    const Best& b = best[(i - begin) / kRows];
    const int32_t k = lowest(b.score[(i - begin) % kRows], b.index[(i - begin) % kRows]);
    i32(call->outputs[0])[i] = k;
    f32(call->outputs[1])[i] = squared_distance(x + i * s.D, c + k * s.D, s.D);
  }
}

int run(hk_call* call) {
  const Sizes s = sizes_of(call);
  Scratch scratch(call->scratch);
  const Layout l = layout(s, scratch);
  pack_centroids(f32(call->inputs[1]), s, l);
#pragma omp parallel for schedule(dynamic, 1) if (2.0 * s.N * s.K * s.D > 1e6)
  for (int64_t b = 0; b < s.blocks; b++) assign_block(call, s, l, b * s.block, (b + 1) * s.block < s.N ? (b + 1) * s.block : s.N);
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(kmeans_assign, {"kmeans_assign", prepare, run, nullptr, kmeans_assign_cost})
