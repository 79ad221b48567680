// C = A B on AVX-512: of f32, and of bf16 where the processor has its dot product. Compiled once per instruction set.
//
// Operands are packed as words of 4 bytes: a number of f32, or two of bf16 that follow one another in k, whose products the processor adds.
// C is split into one rectangle for each thread, and a thread works alone. A tile of 14 x 32 numbers of C stays in registers while k runs
// over a block of up to kProductDepth words; for that a block of A lies packed in panels of 14 rows and a block of B in panels of 32 columns,
// word by word. Of an A whose words follow one another in its rows the rows are read where they lie. A C of bf16 is rounded once: then k is
// one block.
//   for every block of rows, as many as kBlockBytes hold
//     for every block of k: pack A, unless it is read in place
//       for every panel of B: for every panel of A: a tile
// A panel of B is packed in slices between the tiles of the panel before it, each slice fetched line by line during the tile before:
// nothing waits for memory.
// When there are several blocks of rows, all of B is kept packed for the blocks after the first.
// The blocks of k follow from k alone and each number of C is summed by one thread in the order of k: bits do not depend on the threads.
#include "cpu/product.h"

#include <initializer_list>
#include <type_traits>

#include "cpu/gelu.h"
#include "cpu/op.h"
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
  size_t scratch_bytes() const override { return rounded_bytes() + product_->scratch_bytes(); }
  void run(const void* a, const void* b, void* c, const float* bias, void* scratch, void* gelu) const override {
    if (shape_.rounds_b) {
      const float* from = (const float*)b;
      bf16* to = (bf16*)scratch;
      parallel_chunks(shape_.k * shape_.n, 16384, [=](int64_t, int64_t begin, int64_t end) { map(from, to, begin, end, [](v16 v) { return v; }); });
      b = to;
    }
    product_->run(a, b, c, bias, (char*)scratch + rounded_bytes());
    if (!gelu) return;
    if (shape_.c == HK_BF16) gelu_all((const bf16*)c, (bf16*)gelu, shape_.m * shape_.n);
    else gelu_all((const float*)c, (float*)gelu, shape_.m * shape_.n);
  }

 private:
  size_t rounded_bytes() const { return shape_.rounds_b ? ((size_t)(shape_.k * shape_.n) * sizeof(bf16) + 63) / 64 * 64 : 0; }

  GemmShape shape_;
  LibraryGemm* product_;
};

#if defined(__AVX512F__)

const int kRows = MixedGemm::kPanelRows, kColumns = MixedGemm::kPanelColumns;
const int64_t kBlockBytes = 1600 << 10;

int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
int64_t ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }
void fetch(const void* p) { __builtin_prefetch(p, 0, 3); }
typedef float word_t __attribute__((may_alias, aligned(2)));

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

// The first n of up to 32, none when n < 0.
uint32_t first(int64_t n) { return n >= 32 ? ~0u : n < 0 ? 0 : (1u << n) - 1; }
// The first n of 16 numbers, zeros behind them.
v16 load_first(const float* p, int64_t n) { return (v16)_mm512_maskz_loadu_ps((__mmask16)first(n), p); }

// How 16 words are made of an operand: `along` k from the first `left` numbers at p; or `across`, of the first n of 16 numbers at p and,
// if `left` > 1, of those `column` further, which follow them in k.
// Numbers as `mix` makes them.
template <int TERMS>
struct NumberReader {
  const Mix& mix;
  v16 along(const float* p, int64_t left) const {
    v16 v = load_first(p, left);
#pragma GCC unroll 2
    for (int i = 0; i < TERMS; i++) v += mix.sign[i] * load_first(p + mix.offset[i], left);
    return v;
  }
  v16 across(const float* p, int64_t, int64_t, int64_t n) const { return along(p, n); }
};

// Words of one f32.
struct Numbers {
  typedef float T;
  static const int kNumbers = 1;
  template <class Body>
  static void with_reader(const Mix& mix, bool mixed, const Body& body) {
    switch (mixed ? mix.terms : 0) {
      case 0: return body(NumberReader<0>{mix});
      case 1: return body(NumberReader<1>{mix});
      default: return body(NumberReader<2>{mix});
    }
  }
  static v16 multiply_add(float a, v16 b, v16 sum) { return sum + a * b; }
};

#if defined(__AVX512BF16__)
// Words of two bf16.
struct Pairs {
  typedef bf16 T;
  static const int kNumbers = 2;
  template <class Body>
  static void with_reader(const Mix& mix, bool mixed, const Body& body);
  static v16 along(const bf16* p, int64_t left) { return (v16)_mm512_maskz_loadu_epi16(first(left), p); }
  static v16 across(const bf16* p, int64_t column, int64_t left, int64_t n) {
    return (v16)(load_first(p, n) | load_first(p + column, left > 1 ? n : 0) << 16);
  }
  // The first n of 16 numbers, each in the lower half of a word.
  static u16 load_first(const bf16* p, int64_t n) {
    return __builtin_convertvector((h16)_mm256_maskz_loadu_epi16((__mmask16)first(n), p), u16);
  }
  static v16 multiply_add(float a, v16 b, v16 sum) { return (v16)_mm512_dpbf16_ps((__m512)sum, (__m512bh)b, (__m512bh)_mm512_set1_ps(a)); }
};

// Pairs of each an even and an odd number, rounded.
v16 rounded_pairs(v16 even, v16 odd) {
  const __m512i halves = (__m512i)_mm512_cvtne2ps_pbh((__m512)odd, (__m512)even);
  const u16 low = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return (v16)_mm512_maskz_permutexvar_epi16(-1, (__m512i)(low | (low + 16) << 16), halves);
}

// Sums of bf16 numbers as `mix` makes them, rounded once.
template <int TERMS>
struct PairReader {
  const Mix& mix;
  v16 along(const bf16* p, int64_t left) const {
    v16 even = {}, odd = {};
    add(p, left, 1.0f, &even, &odd);
#pragma GCC unroll 2
    for (int i = 0; i < TERMS; i++) add(p + mix.offset[i], left, mix.sign[i], &even, &odd);
    return rounded_pairs(even, odd);
  }
  v16 across(const bf16* p, int64_t column, int64_t left, int64_t n) const {
    return rounded_pairs(sum(p, n), sum(p + column, left > 1 ? n : 0));
  }

 private:
  static void add(const bf16* p, int64_t left, float sign, v16* even, v16* odd) {
    const u16 pairs = (u16)Pairs::along(p, left);
    *even += sign * (v16)(pairs << 16);
    *odd += sign * (v16)(pairs & 0xffff0000u);
  }
  v16 sum(const bf16* p, int64_t n) const {
    v16 v = (v16)(Pairs::load_first(p, n) << 16);
#pragma GCC unroll 2
    for (int i = 0; i < TERMS; i++) v += mix.sign[i] * (v16)(Pairs::load_first(p + mix.offset[i], n) << 16);
    return v;
  }
};

template <class Body>
void Pairs::with_reader(const Mix& mix, bool mixed, const Body& body) {
  switch (mixed ? mix.terms : 0) {
    case 0: return body(Pairs());
    case 1: return body(PairReader<1>{mix});
    default: return body(PairReader<2>{mix});
  }
}

// The same of f32 that is rounded.
struct RoundedPairs {
  typedef float T;
  static const int kNumbers = 2;
  template <class Body>
  static void with_reader(const Mix&, bool, const Body& body) { body(RoundedPairs()); }
  v16 along(const float* p, int64_t left) const {
    return (v16)_mm512_cvtne2ps_pbh((__m512)load_first(p + 16, left - 16), (__m512)load_first(p, left));
  }
  v16 across(const float* p, int64_t column, int64_t left, int64_t n) const {
    return rounded_pairs(load_first(p, n), load_first(p + column, left > 1 ? n : 0));
  }
};
#endif

// to[p * WIDTH + j] = word p of from[j * row + .. * column], k numbers of them, for j < n, 0 for the j behind them. Writes up to 2 words
// behind the end when WIDTH is 14: the next p overwrites them, panels end with room for them.
template <class Words, int WIDTH, class Read>
void pack(const Read& read, int64_t n, int64_t k, const typename Words::T* from, int64_t row, int64_t column, float* to) {
  const int64_t each = Words::kNumbers, words = ceil_div(k, each);
  for (int h = 0; h < WIDTH; h += 16) {
    const int width = WIDTH - h < 16 ? WIDTH - h : 16;
    if (row == 1) {
      for (int64_t p = 0; p < words; p++)
        store(to + p * WIDTH + h, read.across(from + p * each * column + h, column, k - p * each, smaller(width, n - h)));
      continue;
    }
    for (int64_t p = 0; p < words; p += 16) {
      v16 r[16];
#pragma GCC unroll 16
      for (int j = 0; j < 16; j++) r[j] = j < width && h + j < n ? read.along(from + (h + j) * row + p * each, k - p * each) : v16{};
      transpose(r);
      if (words - p >= 16) {
#pragma GCC unroll 16
        for (int q = 0; q < 16; q++) store(to + (p + q) * WIDTH + h, r[q]);
      } else {
        for (int q = 0; q < words - p; q++) store(to + (p + q) * WIDTH + h, r[q]);
      }
    }
  }
}

// Panels of kRows of the n rows of A, `panel` words apart. Of a transposed A all panels k by k, as it lies in memory.
template <class Words, class Read>
void pack_panels(const Read& read, int64_t n, int64_t k, const typename Words::T* from, int64_t row, int64_t column, float* to, int64_t panel) {
  if (row != 1) {
    for (int64_t i = 0; i < n; i += kRows, to += panel) pack<Words, kRows>(read, smaller(kRows, n - i), k, from + i * row, row, column, to);
    return;
  }
  for (int64_t p = 0; p < k; p += Words::kNumbers, to += kRows)
    for (int64_t i = 0, j = 0; i < n; i += kRows, j++)
      store(to + j * panel, read.across(from + p * column + i, column, k - p, smaller(kRows, n - i)));
}

// A block of A whose first column is `first`: the columns before, within and behind the mixed ones.
template <class Words>
void pack_block(const Mix& mix, int64_t first, int64_t n, int64_t k, const typename Words::T* from, int64_t row, int64_t column, float* to,
                int64_t panel) {
  for (int64_t p = 0; p < k;) {
    const bool before = first + p < mix.begin, mixed = !before && first + p < mix.end;
    const int64_t end = before ? smaller(k, mix.begin - first) : mixed ? smaller(k, mix.end - first) : k;
    Words::with_reader(mix, mixed, [&](const auto& read) {
      pack_panels<Words>(read, n, end - p, from + p * column, row, column, to + p / Words::kNumbers * kRows, panel);
    });
    p = end;
  }
}

// Memory that will be read soon: some pieces of so many rows, `stride` bytes apart, of so many cache lines.
struct Ahead {
  struct Piece {
    const char* start;
    int64_t     rows, stride, lines;
  };
  int   count = 0;
  Piece pieces[3];
  void add(const void* start, int64_t rows, int64_t stride, int64_t lines) { pieces[count++] = {(const char*)start, rows, stride, lines}; }
};

// A panel of B that becomes packed slice by slice.
template <class Words>
struct Panel {
  typedef typename Words::T T;
  const Mix& mix;
  bool mixed;
  const T* from;
  int64_t columns, k, row, column;  // strides of k and of a column
  float* packed;
  static int64_t step() { return 16 * Words::kNumbers; }
  int64_t slices() const { return ceil_div(k, step()); }
  void add_slices(int64_t begin, int64_t end, Ahead* ahead) const {
    if (begin == end) return;
    const T* at = from + begin * step() * row;
    const int64_t numbers = smaller(k, end * step()) - begin * step(), size = sizeof(T);
    for (int i = 0; i < 1 + (mixed ? mix.terms : 0); i++) {
      const T* start = i ? at + mix.offset[i - 1] : at;
      if (column == 1) ahead->add(start, numbers, row * size, ceil_div(columns * size, 64));
      else ahead->add(start, columns, column * size, ceil_div(numbers * size, 64));
    }
  }
  void pack_slice(int64_t slice) const {
    const int64_t begin = slice * step();
    Words::with_reader(mix, mixed, [&](const auto& read) {
      pack<Words, kColumns>(read, columns, smaller(step(), k - begin), from + begin * row, column, row, packed + 16 * slice * kColumns);
    });
  }
};

// The words of a panel of A, packed.
struct Packed {
  const float* at;
  explicit Packed(const void* panel, int64_t) : at((const float*)panel) {}
  float word(int row) const { return at[row]; }
  void next() {
    fetch(at + 24 * kRows);
    at += kRows;
  }
};

// The same where they lie in memory, rows `row` bytes apart.
struct InPlace {
  const char *first, *second, *third;
  int64_t row, thrice;
  InPlace(const void* panel, int64_t row) : first((const char*)panel), second(first + 5 * row), third(second + 5 * row), row(row), thrice(3 * row) {}
  __attribute__((always_inline)) float word(int i) const {
    const char* from = i < 5 ? first : i < 10 ? second : third;
    const int j = i % 5;
    return *(const word_t*)(from + (j == 0 ? 0 : j == 3 ? thrice : j * row));
  }
  void next() { first += 4, second += 4, third += 4; }
};

// kColumns numbers of a row of C.
template <class C>
void fetch_row(const C* c) {
  fetch(c);
  fetch(c + kColumns - 1);
}
void store_row(float* c, const v16 (&sum)[2]) {
  store(c, sum[0]);
  store(c + 16, sum[1]);
}
#if defined(__AVX512BF16__)
void store_row(bf16* c, const v16 (&sum)[2]) { *(v16u*)(void*)c = (v16)_mm512_cvtne2ps_pbh((__m512)sum[1], (__m512)sum[0]); }
#endif

// k: words. The product begins at bias, of kColumns numbers, unless it is NULL.
template <class Words, int ROWS, class Left, class C>
__attribute__((noinline)) void tile(int64_t k, const void* panel, int64_t row, const float* b, Sums sums, C* c, int64_t ldc, bool accumulate,
                                    int64_t spread, const float* bias, const Ahead& ahead) {
  v16 sum[ROWS][2];
  const v16 start[2] = {bias ? load(bias) : v16{}, bias ? load(bias + 16) : v16{}};
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) sum[i][0] = start[0], sum[i][1] = start[1];
  Left a(panel, row);
  const auto step = [&] {
    const v16 b0 = load(b), b1 = load(b + 16);
    fetch(b + 12 * kColumns);
    fetch(b + 12 * kColumns + 16);
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      const float word = a.word(i);
      sum[i][0] = Words::multiply_add(word, b0, sum[i][0]);
      sum[i][1] = Words::multiply_add(word, b1, sum[i][1]);
    }
    a.next();
    b += kColumns;
  };
  const int64_t head = smaller(k, ROWS);
  for (int64_t p = 0; p < head; p++) {
    step();
    fetch_row(c + p * ldc);
    if (sums.at && (void*)sums.at != c) fetch_row(sums.at + p * sums.row);
    if (!spread) continue;
    for (int64_t at : {-spread, spread}) fetch_row(sums.at + p * sums.row + at);
  }
  int64_t left = k - head;
  for (int i = 0; i < ahead.count; i++)
    for (int64_t row = 0; row < ahead.pieces[i].rows; row++)
      for (int64_t line = 0; line < ahead.pieces[i].lines; line++) {
        fetch(ahead.pieces[i].start + row * ahead.pieces[i].stride + 64 * line);
        if (left-- > 0) step();
      }
  while (left-- > 0) step();
  if (spread) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++)
#pragma GCC unroll 2
      for (int h = 0; h < 2; h++) {
        float* at = sums.at + i * sums.row + 16 * h;
        const v16 v = load(at), both = v + sum[i][h];
        store(at - spread, both);
        store(at + spread, both);
        sum[i][h] = v - sum[i][h];
      }
  } else if (sums.at) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      sum[i][0] += load(sums.at + i * sums.row);
      sum[i][1] += load(sums.at + i * sums.row + 16);
    }
  } else if (accumulate) {
#pragma GCC unroll 16
    for (int i = 0; i < ROWS; i++) {
      sum[i][0] += load(c + i * ldc);
      sum[i][1] += load(c + i * ldc + 16);
    }
  }
#pragma GCC unroll 16
  for (int i = 0; i < ROWS; i++) store_row(c + i * ldc, sum[i]);
}

template <class C>
using Tile = void (*)(int64_t k, const void* panel, int64_t row, const float* b, Sums sums, C* c, int64_t ldc, bool accumulate,
                      int64_t spread, const float* bias, const Ahead& ahead);
template <class W, class L, class C>
const Tile<C> kTiles[kRows] = {tile<W, 1, L, C>, tile<W, 2, L, C>, tile<W, 3, L, C>,  tile<W, 4, L, C>,  tile<W, 5, L, C>,
                               tile<W, 6, L, C>, tile<W, 7, L, C>, tile<W, 8, L, C>,  tile<W, 9, L, C>,  tile<W, 10, L, C>,
                               tile<W, 11, L, C>, tile<W, 12, L, C>, tile<W, 13, L, C>, tile<W, 14, L, C>};

// y = gelu(c) of whole tiles.
template <class C>
void activate(int64_t rows, const C* c, C* y, int64_t ldc) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < kColumns; j += 16) store(y + i * ldc + j, gelu(load(c + i * ldc + j)));
}

// C of the sums of a tile that is not whole, bias and GELU.
template <class C>
void finish(int64_t rows, int64_t columns, const float* sums, C* c, int64_t ldc, bool accumulate, const float* bias, C* y) {
  for (int64_t i = 0; i < rows; i++)
    for (int64_t j = 0; j < columns; j += 16) {
      C* at = c + i * ldc + j;
      v16 v = load(sums + i * kColumns + j);
      if (accumulate) v += load_tail(at, columns - j);
      if (bias) v += load_tail(bias + j, columns - j);
      store_tail(at, v, columns - j);
      if (y) store_tail(y + i * ldc + j, gelu(load_tail(at, columns - j)), columns - j);
    }
}

// What one thread does: a rectangle of C. The words of A and of B have equally many numbers.
template <class A, class B, class C>
class Rectangles {
 public:
  explicit Rectangles(const MixedShape& shape) : s_(shape) {
    const int64_t words = ceil_div(s_.k, A::kNumbers), blocks = kRounds ? 1 : ceil_div(words, kProductDepth);
    depth_ = ceil_div(ceil_div(words, blocks), 16) * 16;
    in_place_ = is_in_place();
  }
  // Panels of A that are packed at a time when there are `panels`, and panels of B for which there is room.
  int64_t block(int64_t panels) const { return ceil_div(panels, ceil_div(panels, most_block())); }
  int64_t kept(int64_t panels, int64_t columns, bool keep) const {
    return keep || panels > most_block() ? ceil_div(columns, kColumns) * ceil_div(s_.k, deep()) : 2;
  }
  int64_t scratch_floats(int64_t block, int64_t kept) const { return left_floats(block) + kept * kColumns * depth_; }

  void run(int64_t block, int64_t kept, Range rows, Range columns, const typename A::T* a, const typename B::T* b, Sums sums, C* c,
           const float* bias, C* y, float* scratch, Upcoming upcoming = {}) const {
    const int64_t m = rows.end - rows.begin, n = columns.end - columns.begin, corner = rows.begin * s_.ldc + columns.begin;
    if (m <= 0 || n <= 0) return;
    a += rows.begin * s_.a_row;
    const int64_t row_panels = ceil_div(m, kRows), column_panels = ceil_div(n, kColumns), panels = column_panels * ceil_div(s_.k, deep());
    float *left = scratch, *right = scratch + left_floats(block);
    const auto panel = [&](int64_t index) {  // in the order of use
      const int64_t k = index / column_panels * deep(), j = index % column_panels * kColumns, column = columns.begin + j;
      return Panel<B>{s_.b_mix, column >= s_.b_mix.begin && column < s_.b_mix.end, b ? b + k * s_.b_row + column * s_.b_column : nullptr,
                      smaller(kColumns, n - j), smaller(deep(), s_.k - k), s_.b_row, s_.b_column, right + index % kept * kColumns * depth_};
    };
    for (int64_t slice = 0; b && slice < panel(0).slices(); slice++) panel(0).pack_slice(slice);
    const int64_t upcoming_bytes = ceil_div(ceil_div(upcoming.bytes, (b ? 1 : panels) * row_panels), 64) * 64;  // for each tile that packs nothing
    for (int64_t i0 = 0; i0 < row_panels; i0 += block) {
      const int64_t i1 = smaller(row_panels, i0 + block);
      for (int64_t index = 0; index < panels; index++) {
        const bool ahead = b && i0 == 0 && index + 1 < panels;
        const Panel<B> now = panel(index), next = panel(ahead ? index + 1 : index);
        const int64_t k = index / column_panels * deep(), j = index % column_panels * kColumns;
        const int64_t slices = ahead ? next.slices() : 0, words = ceil_div(now.k, A::kNumbers);
        const bool accumulate = s_.accumulate || k > 0, last = k + now.k == s_.k;
        if (j == 0 && !in_place_)
          pack_block<A>(s_.a_mix, k, smaller(i1 * kRows, m) - i0 * kRows, now.k, a + i0 * kRows * s_.a_row + k * s_.a_column, s_.a_row, s_.a_column,
                        left, left_panel());
        for (int64_t i = i0; i < i1; i++) {
          const void* rows_of_a = in_place_ ? (const void*)(a + i * kRows * s_.a_row + k) : left + (i - i0) * left_panel();
          const int64_t height = smaller(kRows, m - i * kRows), at = corner + i * kRows * s_.ldc + j;
          const int64_t begin = slices * (i - i0) / (i1 - i0), end = slices * (i - i0 + 1) / (i1 - i0);
          Ahead soon;
          if (ahead) {
            next.add_slices(begin, end, &soon);
          } else if (upcoming.bytes > 0) {
            soon.add(upcoming.start, 1, 0, upcoming_bytes / 64);
            upcoming = {upcoming.start + upcoming_bytes, upcoming.bytes - upcoming_bytes};
          }
          float apart[kRows * kColumns];
          C *to = c + at, *last_y = last && y ? y + at : nullptr;
          const Sums before = {sums.at ? sums.at + i * kRows * sums.row + j : nullptr, sums.row};
          if (last_y)
            for (int64_t row = 0; row < height; row++) fetch_row(last_y + row * s_.ldc);
          const float* of_columns = s_.bias ? bias + columns.begin + j : nullptr;
          if (now.columns == kColumns) {
            tiles<C>()[height - 1](words, rows_of_a, row_bytes(), now.packed, before, to, s_.ldc, accumulate, s_.spread, k == 0 ? of_columns : nullptr, soon);
          } else {
            tiles<float>()[height - 1](words, rows_of_a, row_bytes(), now.packed, {}, apart, kColumns, false, 0, nullptr, soon);
          }
          for (int64_t slice = begin; slice < end; slice++) next.pack_slice(slice);
          if (now.columns != kColumns) finish(height, now.columns, apart, to, s_.ldc, accumulate, last ? of_columns : nullptr, last_y);
          else if (last_y) activate(height, to, last_y, s_.ldc);
        }
      }
    }
  }

 private:
  static const bool kRounds = std::is_same<C, bf16>::value;
  template <class To>
  const Tile<To>* tiles() const { return in_place_ ? kTiles<A, InPlace, To> : kTiles<A, Packed, To>; }
  int64_t deep() const { return depth_ * A::kNumbers; }
  int64_t most_block() const {
    const int64_t panels = kBlockBytes / (int64_t)(kRows * depth_ * sizeof(float));
    return panels > 1 ? panels : 1;
  }
  int64_t left_panel() const { return kRows * depth_ + 16; }
  int64_t left_floats(int64_t block) const { return in_place_ ? 0 : block * left_panel(); }
  int64_t row_bytes() const { return s_.a_row * (int64_t)sizeof(typename A::T); }
  // Words of A are read where they lie when there are whole ones, and rows do not crowd each other out of the L1 cache.
  bool is_in_place() const {
    return s_.a_column == 1 && !s_.a_mix.terms && s_.k % A::kNumbers == 0 && row_bytes() % 4096 != 0;
  }

  MixedShape s_;
  int64_t depth_;  // words of a block of k
  bool in_place_;
};

template <class Words, class C>
class OwnMixed final : public MixedGemm {
 public:
  explicit OwnMixed(const MixedShape& shape) : s_(shape), rectangles_(shape) {
    const int64_t panels = ceil_div(s_.m, kRows);
    block_ = rectangles_.block(panels);
    kept_ = rectangles_.kept(panels, s_.n, s_.keep);
  }
  size_t scratch_bytes() const override { return (size_t)rectangles_.scratch_floats(block_, kept_) * sizeof(float); }
  void run(int64_t rows, const void* a, const void* b, Sums sums, void* c, const float* bias, void* scratch, void* gelu,
           Upcoming upcoming) const override {
    typedef typename Words::T T;
    rectangles_.run(block_, kept_, {0, rows}, {0, s_.n}, (const T*)a, (const T*)b, sums, (C*)c, bias, (C*)gelu, (float*)scratch, upcoming);
  }

 private:
  MixedShape s_;
  Rectangles<Words, Words, C> rectangles_;
  int64_t block_, kept_;
};

template <class A, class B, class C>
class OwnGemm final : public Gemm {
 public:
  explicit OwnGemm(const GemmShape& shape) : s_(shape), rectangles_(MixedShape{shape, {}, {}, 0, false}) {}
  size_t scratch_bytes() const override {
    size_t most = 0;
    for (int threads = 1; threads <= slots_; threads++) {
      const Split split = split_for(threads);
      const size_t bytes = (size_t)(split.down * split.across * rectangles_.scratch_floats(split.block, split.kept)) * sizeof(float);
      if (bytes > most) most = bytes;
    }
    return most;
  }
  void run(const void* a, const void* b, void* c, const float* bias, void* scratch, void* gelu) const override {
    const int threads = use_threads(slots_);
    const Split split = split_for(threads);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int64_t t = 0; t < split.down * split.across; t++) {
      const Range rows = part(s_.m, kRows, t / split.across, split.down), columns = part(s_.n, kColumns, t % split.across, split.across);
      rectangles_.run(split.block, split.kept, rows, columns, (const typename A::T*)a, (const typename B::T*)b, {}, (C*)c, bias, (C*)gelu,
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
  Rectangles<A, B, C> rectangles_;
  int64_t slots_ = thread_slots(INT64_MAX);
};

#if defined(__AVX512BF16__)
const bool kOwnBf16 = true;
Gemm* own_bf16(const GemmShape& s) {
  if (s.c == HK_F32) return new OwnGemm<Pairs, Pairs, float>(s);
  if (s.rounds_b) return new OwnGemm<Pairs, RoundedPairs, bf16>(s);
  return new OwnGemm<Pairs, Pairs, bf16>(s);
}
MixedGemm* mixed_bf16(const MixedShape& s) {
  if (s.c == HK_F32) return new OwnMixed<Pairs, float>(s);
  return new OwnMixed<Pairs, bf16>(s);
}
#else
const bool kOwnBf16 = false;
Gemm* own_bf16(const GemmShape&) { return nullptr; }
MixedGemm* mixed_bf16(const MixedShape&) { return nullptr; }
#endif

// Smaller ones oneDNN multiplies as fast or faster: packing A is shared by the columns, packing B by the rows, moving C by k. These sizes
// are where ours began to win, GELU in the tile included; of f32 sooner where both operands lie k by k, as in forward products.
bool is_own(const GemmShape& s) {
  if (s.ab == HK_BF16) return kOwnBf16 && s.m >= 128 && s.n >= 128 && s.k >= 128;
  const bool lies_by_k = s.a_column == 1 && s.b_row == 1;
  return s.m >= 240 && s.n >= (lies_by_k ? 192 : 512) && s.k >= 192;
}

#else

bool is_own(const GemmShape&) { return false; }

#endif

}  // namespace

bool Gemm::rows_may_overlap(const GemmShape& shape) { return is_own(shape); }

Gemm* Gemm::make(const GemmShape& shape) {
#if defined(__AVX512F__)
  if (is_own(shape) && shape.ab == HK_BF16) return own_bf16(shape);
  if (is_own(shape)) return new OwnGemm<Numbers, Numbers, float>(shape);
#endif
  LibraryGemm* product = LibraryGemm::make(shape);
  return product ? new OneDnnGemm(shape, product) : nullptr;
}

#if defined(__AVX512F__)
bool MixedGemm::exists(hk_dtype ab) { return ab == HK_F32 || kOwnBf16; }
MixedGemm* MixedGemm::make(const MixedShape& shape) {
  return shape.ab == HK_BF16 ? mixed_bf16(shape) : new OwnMixed<Numbers, float>(shape);
}
#else
bool MixedGemm::exists(hk_dtype) { return false; }
MixedGemm* MixedGemm::make(const MixedShape&) { return nullptr; }
#endif

}  // namespace HK_ISA
}  // namespace hk
