// C = A B of f32 on AVX-512. Compiled once per instruction set.
//
// C is split into one rectangle for each thread, and a thread works alone. A tile of 14 x 32 numbers of C stays in registers while k runs
// over a block of up to kProductDepth steps; for that a block of A lies packed in panels of 14 rows and a block of B in panels of 32 columns, k by k.
//   for every block of rows, as many as kBlockBytes hold
//     for every block of k: pack A
//       for every panel of B: for every panel of A: a tile
// A panel of B is packed in slices between the tiles of the panel before it, each slice fetched one tile ahead: nothing waits for memory.
// When there are several blocks of rows, all of B is kept packed for the blocks after the first.
// The blocks of k follow from k alone and each number of C is summed by one thread in the order of k: bits do not depend on the threads.
#include "cpu/product.h"

#include <initializer_list>

#include "cpu/gelu.h"
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace hk {
namespace HK_ISA {
namespace {

class OneDnnGemm final : public Gemm {
 public:
  OneDnnGemm(const GemmShape& shape, LibraryGemm* product) : shape_(shape), product_(product) {}
  ~OneDnnGemm() override { delete product_; }
  size_t scratch_bytes() const override { return product_->scratch_bytes(); }
  void run(const void* a, const void* b, void* c, const float* bias, void* scratch, void* gelu) const override {
    product_->run(a, b, c, bias, scratch);
    if (!gelu) return;
    if (shape_.c == HK_BF16) gelu_all((const bf16*)c, (bf16*)gelu, shape_.m * shape_.n);
    else gelu_all((const float*)c, (float*)gelu, shape_.m * shape_.n);
  }

 private:
  GemmShape shape_;
  LibraryGemm* product_;
};

#if defined(__AVX512F__)

const int kRows = 14, kColumns = 32;
const int64_t kBlockBytes = 1600 << 10;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
void fetch(const float* p) { __builtin_prefetch(p, 0, 3); }

// The maskz forms, of all elements: the plain ones warn of an uninitialized operand in GCC 12.
v16 low_pairs(v16 a, v16 b) { return (v16)_mm512_maskz_unpacklo_ps(-1, (__m512)a, (__m512)b); }
v16 high_pairs(v16 a, v16 b) { return (v16)_mm512_maskz_unpackhi_ps(-1, (__m512)a, (__m512)b); }
v16 low_halves(v16 a, v16 b) { return (v16)_mm512_maskz_unpacklo_pd(-1, (__m512d)a, (__m512d)b); }
v16 high_halves(v16 a, v16 b) { return (v16)_mm512_maskz_unpackhi_pd(-1, (__m512d)a, (__m512d)b); }
v16 even_quarters(v16 a, v16 b) { return (v16)_mm512_maskz_shuffle_f32x4(-1, (__m512)a, (__m512)b, 0x88); }
v16 odd_quarters(v16 a, v16 b) { return (v16)_mm512_maskz_shuffle_f32x4(-1, (__m512)a, (__m512)b, 0xdd); }

__attribute__((always_inline)) inline void transpose(v16 (&r)[16]) {
  v16 t[16];
  for (int i = 0; i < 16; i += 2) {
    t[i] = low_pairs(r[i], r[i + 1]);
    t[i + 1] = high_pairs(r[i], r[i + 1]);
  }
  for (int i = 0; i < 16; i += 4)
    for (int h = 0; h < 2; h++) {
      r[i + 2 * h] = low_halves(t[i + h], t[i + h + 2]);
      r[i + 2 * h + 1] = high_halves(t[i + h], t[i + h + 2]);
    }
  for (int i = 0; i < 16; i += 8)
    for (int j = 0; j < 4; j++) {
      t[i + j] = even_quarters(r[i + j], r[i + j + 4]);
      t[i + j + 4] = odd_quarters(r[i + j], r[i + j + 4]);
    }
  for (int j = 0; j < 8; j++) {
    r[j] = even_quarters(t[j], t[j + 8]);
    r[j + 8] = odd_quarters(t[j], t[j + 8]);
  }
}

// The first n of 16 numbers (none when n < 0), zeros behind them.
v16 load_first(const float* p, int64_t n) {
  return (v16)_mm512_maskz_loadu_ps(n >= 16 ? 0xffff : n < 0 ? 0 : (__mmask16)((1 << n) - 1), p);
}

// Numbers as `mix` makes them.
template <int TERMS>
struct Reader {
  const Mix& mix;
  v16 operator()(const float* p, int64_t n) const {
    v16 v = load_first(p, n);
#pragma GCC unroll 2
    for (int i = 0; i < TERMS; i++) v += mix.sign[i] * load_first(p + mix.offset[i], n);
    return v;
  }
};

template <class Body>
void with_reader(const Mix& mix, bool mixed, const Body& body) {
  switch (mixed ? mix.terms : 0) {
    case 0: return body(Reader<0>{mix});
    case 1: return body(Reader<1>{mix});
    default: return body(Reader<2>{mix});
  }
}

// to[p * WIDTH + j] = read(from + j * row + p * column) for p < k and j < n, 0 for the j behind them. Writes up to 2 floats behind the end
// when WIDTH is 14: the next p overwrites them, panels end with room for them.
template <int WIDTH, class Read>
void pack(const Read& read, int64_t n, int64_t k, const float* from, int64_t row, int64_t column, float* to) {
  for (int h = 0; h < WIDTH; h += 16) {
    const int width = WIDTH - h < 16 ? WIDTH - h : 16;
    if (row == 1) {
      for (int64_t p = 0; p < k; p++) store(to + p * WIDTH + h, read(from + p * column + h, smaller(width, n - h)));
      continue;
    }
    for (int64_t p = 0; p < k; p += 16) {
      v16 r[16];
#pragma GCC unroll 16
      for (int j = 0; j < 16; j++) r[j] = j < width && h + j < n ? read(from + (h + j) * row + p, k - p) : v16{};
      transpose(r);
      if (k - p >= 16) {
#pragma GCC unroll 16
        for (int q = 0; q < 16; q++) store(to + (p + q) * WIDTH + h, r[q]);
      } else {
        for (int q = 0; q < k - p; q++) store(to + (p + q) * WIDTH + h, r[q]);
      }
    }
  }
}

// Panels of kRows of the n rows of A, `panel` floats apart. Of a transposed A all panels k by k, as it lies in memory.
template <class Read>
void pack_panels(const Read& read, int64_t n, int64_t k, const float* from, int64_t row, int64_t column, float* to, int64_t panel) {
  if (row != 1) {
    for (int64_t i = 0; i < n; i += kRows, to += panel) pack<kRows>(read, smaller(kRows, n - i), k, from + i * row, row, column, to);
    return;
  }
  for (int64_t p = 0; p < k; p++)
    for (int64_t i = 0, j = 0; i < n; i += kRows, j++) store(to + j * panel + p * kRows, read(from + p * column + i, smaller(kRows, n - i)));
}

// A block of A whose first column is `first`: the columns before, within and behind the mixed ones.
void pack_block(const Mix& mix, int64_t first, int64_t n, int64_t k, const float* from, int64_t row, int64_t column, float* to, int64_t panel) {
  for (int64_t p = 0; p < k;) {
    const bool before = first + p < mix.begin, mixed = !before && first + p < mix.end;
    const int64_t end = before ? smaller(k, mix.begin - first) : mixed ? smaller(k, mix.end - first) : k;
    with_reader(mix, mixed, [&](const auto& read) { pack_panels(read, n, end - p, from + p * column, row, column, to + p * kRows, panel); });
    p = end;
  }
}

// A panel of B that becomes packed slice by slice. A transposed B is read in longer pieces, which memory gives faster.
struct Panel {
  const Mix& mix;
  bool mixed;
  const float* from;
  int64_t columns, k, row, column;  // strides of k and of a column
  float* packed;
  int64_t step() const { return column == 1 ? 16 : 64; }
  int64_t slices() const { return ceil_div(k, step()); }
  void fetch_slice(int64_t slice) const {
    fetch_at(from, slice);
    for (int i = 0; mixed && i < mix.terms; i++) fetch_at(from + mix.offset[i], slice);
  }
  void fetch_at(const float* from, int64_t slice) const {
    const int64_t begin = slice * step(), end = smaller(k, begin + step());
    if (column == 1) {
      for (int64_t p = begin; p < end; p++)
        for (int64_t j = 0; j < columns; j += 16) fetch(from + p * row + j);
    } else {
      for (int64_t j = 0; j < columns; j++)
        for (int64_t p = begin; p < end; p += 16) fetch(from + j * column + p);
    }
  }
  void pack_slice(int64_t slice) const {
    const int64_t begin = slice * step();
    with_reader(mix, mixed, [&](const auto& read) {
      pack<kColumns>(read, columns, smaller(step(), k - begin), from + begin * row, column, row, packed + begin * kColumns);
    });
  }
};

template <int ROWS>
__attribute__((noinline)) void tile(int64_t k, const float* a, const float* b, float* c, int64_t ldc, bool accumulate, int64_t spread) {
  v16 sum[ROWS][2] = {};
  const auto step = [&] {
    const v16 b0 = load(b), b1 = load(b + 16);
    fetch(a + 24 * kRows);
    fetch(b + 12 * kColumns);
    fetch(b + 12 * kColumns + 16);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      sum[i][0] += a[i] * b0;
      sum[i][1] += a[i] * b1;
    }
    a += kRows;
    b += kColumns;
  };
  const int64_t head = smaller(k, ROWS);
  for (int64_t p = 0; p < head; p++) {
    step();
    fetch(c + p * ldc);
    fetch(c + p * ldc + 16);
    if (!spread) continue;
    for (int64_t at : {-spread, spread}) {
      fetch(c + p * ldc + at);
      fetch(c + p * ldc + at + 16);
    }
  }
  for (int64_t p = head; p < k; p++) step();
  if (spread) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        float* at = c + i * ldc + 16 * h;
        const v16 v = load(at), both = v + sum[i][h];
        store(at - spread, both);
        store(at + spread, both);
        store(at, v - sum[i][h]);
      }
    return;
  }
  if (accumulate) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      sum[i][0] += load(c + i * ldc);
      sum[i][1] += load(c + i * ldc + 16);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) {
    store(c + i * ldc, sum[i][0]);
    store(c + i * ldc + 16, sum[i][1]);
  }
}

typedef void (*Tile)(int64_t k, const float* a, const float* b, float* c, int64_t ldc, bool accumulate, int64_t spread);
const Tile kTiles[kRows] = {tile<1>, tile<2>, tile<3>,  tile<4>,  tile<5>,  tile<6>,  tile<7>,
                            tile<8>, tile<9>, tile<10>, tile<11>, tile<12>, tile<13>, tile<14>};

// Fewer than kColumns columns.
void narrow_tile(int64_t rows, int64_t columns, int64_t k, const float* a, const float* b, float* c, int64_t ldc, bool accumulate) {
  float whole[kRows * kColumns];
  kTiles[rows - 1](k, a, b, whole, kColumns, false, 0);
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j++) c[i * ldc + j] = (accumulate ? c[i * ldc + j] : 0) + whole[i * kColumns + j];
}

// Bias and GELU of a finished tile.
void finish(int64_t rows, int64_t columns, float* c, int64_t ldc, const float* bias, float* y) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j += 16) {
      v16 v = load_tail(c + i * ldc + j, columns - j);
      if (bias) store_tail(c + i * ldc + j, v += load_tail(bias + j, columns - j), columns - j);
      if (y) store_tail(y + i * ldc + j, gelu(v), columns - j);
    }
}

// What one thread does: a rectangle of C.
class Rectangles {
 public:
  explicit Rectangles(const MixedShape& shape) : s_(shape) { depth_ = ceil_div(ceil_div(s_.k, ceil_div(s_.k, kProductDepth)), 16) * 16; }
  // Panels of A that are packed at a time when there are `panels`, and panels of B for which there is room.
  int64_t block(int64_t panels) const { return ceil_div(panels, ceil_div(panels, most_block())); }
  int64_t kept(int64_t panels, int64_t columns, bool keep) const {
    return keep || panels > most_block() ? ceil_div(columns, kColumns) * ceil_div(s_.k, depth_) : 2;
  }
  int64_t scratch_floats(int64_t block, int64_t kept) const { return left_floats(block) + kept * kColumns * depth_; }

  void run(int64_t block, int64_t kept, Range rows, Range columns, const float* a, const float* b, float* c, const float* bias, float* y,
           float* scratch) const {
    const int64_t m = rows.end - rows.begin, n = columns.end - columns.begin, corner = rows.begin * s_.ldc + columns.begin;
    if (m <= 0 || n <= 0) return;
    a += rows.begin * s_.a_row;
    const int64_t row_panels = ceil_div(m, kRows), column_panels = ceil_div(n, kColumns), panels = column_panels * ceil_div(s_.k, depth_);
    float *left = scratch, *right = scratch + left_floats(block);
    const auto panel = [&](int64_t index) {  // in the order of use
      const int64_t k = index / column_panels * depth_, j = index % column_panels * kColumns, column = columns.begin + j;
      return Panel{s_.b_mix, column >= s_.b_mix.begin && column < s_.b_mix.end, b ? b + k * s_.b_row + column * s_.b_column : nullptr,
                   smaller(kColumns, n - j), smaller(depth_, s_.k - k), s_.b_row, s_.b_column, right + index % kept * kColumns * depth_};
    };
    for (int64_t slice = 0; b && slice < panel(0).slices(); slice++) panel(0).pack_slice(slice);
    for (int64_t i0 = 0; i0 < row_panels; i0 += block) {
      const int64_t i1 = smaller(row_panels, i0 + block);
      for (int64_t index = 0; index < panels; index++) {
        const bool ahead = b && i0 == 0 && index + 1 < panels;
        const Panel now = panel(index), next = panel(ahead ? index + 1 : index);
        const int64_t k = index / column_panels * depth_, j = index % column_panels * kColumns;
        const int64_t slices = ahead ? next.slices() : 0;
        const bool accumulate = s_.accumulate || k > 0, last = k + now.k == s_.k;
        if (j == 0)
          pack_block(s_.a_mix, k, smaller(i1 * kRows, m) - i0 * kRows, now.k, a + i0 * kRows * s_.a_row + k * s_.a_column, s_.a_row, s_.a_column,
                     left, left_panel());
        for (int64_t i = i0; i < i1; i++) {
          const float* packed = left + (i - i0) * left_panel();
          const int64_t height = smaller(kRows, m - i * kRows), at = corner + i * kRows * s_.ldc + j;
          const int64_t begin = slices * (i - i0) / (i1 - i0), end = slices * (i - i0 + 1) / (i1 - i0);
          for (int64_t slice = begin; slice < end; slice++) next.fetch_slice(slice);
          if (last && y)
            for (int64_t row = 0; row < height; row++) {
              fetch(y + at + row * s_.ldc);
              fetch(y + at + row * s_.ldc + 16);
            }
          if (now.columns == kColumns) kTiles[height - 1](now.k, packed, now.packed, c + at, s_.ldc, accumulate, s_.spread);
          else narrow_tile(height, now.columns, now.k, packed, now.packed, c + at, s_.ldc, accumulate);
          for (int64_t slice = begin; slice < end; slice++) next.pack_slice(slice);
          if (last && (s_.bias || y)) finish(height, now.columns, c + at, s_.ldc, s_.bias ? bias + columns.begin + j : nullptr, y ? y + at : nullptr);
        }
      }
    }
  }

 private:
  int64_t most_block() const { return kBlockBytes / (int64_t)(kRows * depth_ * sizeof(float)); }
  int64_t left_panel() const { return kRows * depth_ + 16; }
  int64_t left_floats(int64_t block) const { return block * left_panel(); }

  MixedShape s_;
  int64_t depth_;
};

class OwnMixed final : public MixedGemm {
 public:
  explicit OwnMixed(const MixedShape& shape) : s_(shape), rectangles_(shape) {
    const int64_t panels = ceil_div(s_.m, kRows);
    block_ = rectangles_.block(panels);
    kept_ = rectangles_.kept(panels, s_.n, s_.keep);
  }
  size_t scratch_bytes() const override { return (size_t)rectangles_.scratch_floats(block_, kept_) * sizeof(float); }
  void run(int64_t rows, const float* a, const float* b, float* c, const float* bias, void* scratch, float* gelu) const override {
    rectangles_.run(block_, kept_, {0, rows}, {0, s_.n}, a, b, c, bias, gelu, (float*)scratch);
  }

 private:
  MixedShape s_;
  Rectangles rectangles_;
  int64_t block_, kept_;
};

class OwnGemm final : public Gemm {
 public:
  explicit OwnGemm(const GemmShape& shape) : s_(shape), rectangles_(MixedShape{shape, {}, {}, 0, false}) {}
  size_t scratch_bytes() const override {
    size_t most = 0;
    for (int threads = 1; threads <= most_threads(); threads++) {
      const Split split = split_for(threads);
      const size_t bytes = (size_t)(split.down * split.across * rectangles_.scratch_floats(split.block, split.kept)) * sizeof(float);
      if (bytes > most) most = bytes;
    }
    return most;
  }
  void run(const void* a, const void* b, void* c, const float* bias, void* scratch, void* gelu) const override {
    const int threads = threads_now();
    const Split split = split_for(threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int64_t t = 0; t < split.down * split.across; t++) {
      const Range rows = part(s_.m, kRows, t / split.across, split.down), columns = part(s_.n, kColumns, t % split.across, split.across);
      rectangles_.run(split.block, split.kept, rows, columns, (const float*)a, (const float*)b, (float*)c, bias, (float*)gelu,
                      (float*)scratch + t * rectangles_.scratch_floats(split.block, split.kept));
    }
  }

 private:
  // C in down * across rectangles.
  struct Split { int64_t down, across, block, kept; };

  // The split with the least work for the thread that has most: products and, a 28th each, packed numbers.
  Split split_for(int threads) const {
    Split best = {};
    int64_t least = INT64_MAX;
    for (int64_t down = 1; down <= threads; down++) {
      const int64_t across = threads / down, rows = ceil_div(ceil_div(s_.m, kRows), down), columns = ceil_div(ceil_div(s_.n, kColumns), across);
      const int64_t work = 56 * rows * columns + kRows * rows + kColumns * columns;
      if (work >= least) continue;
      least = work;
      best = {down, across, rectangles_.block(rows), rectangles_.kept(rows, columns * kColumns, false)};
    }
    return best;
  }

  GemmShape s_;
  Rectangles rectangles_;
};

// Smaller ones oneDNN multiplies as fast or faster: packing A is shared by the columns, packing B by the rows, moving C by k.
bool is_own(const GemmShape& s) { return s.ab == HK_F32 && s.m >= 240 && s.n >= 512 && s.k >= 448; }

#else

bool is_own(const GemmShape&) { return false; }

#endif

}  // namespace

int most_threads() { return omp_get_max_threads() > omp_get_num_procs() ? omp_get_max_threads() : omp_get_num_procs(); }
int threads_now() { return omp_get_max_threads() < most_threads() ? omp_get_max_threads() : most_threads(); }

bool Gemm::rows_may_overlap(const GemmShape& shape) { return is_own(shape); }

Gemm* Gemm::make(const GemmShape& shape) {
#if defined(__AVX512F__)
  if (is_own(shape)) return new OwnGemm(shape);
#endif
  LibraryGemm* product = LibraryGemm::make(shape);
  return product ? new OneDnnGemm(shape, product) : nullptr;
}

#if defined(__AVX512F__)
bool MixedGemm::exists() { return true; }
MixedGemm* MixedGemm::make(const MixedShape& shape) { return new OwnMixed(shape); }
#else
bool MixedGemm::exists() { return false; }
MixedGemm* MixedGemm::make(const MixedShape&) { return nullptr; }
#endif

}  // namespace HK_ISA
}  // namespace hk
