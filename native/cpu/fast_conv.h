// Convolution of kernel 3 and stride 2 in f32 with seven products for three frames where the direct form has nine, for AVX-512.
//
// With the even and odd frames of x, e[j] = x[2j] and o[j] = x[2j + 1], z[t] = e[t] w0 + e[t + 1] w2 + o[t] w1. Its first two terms have
// two taps and stride 1: Winograd's minimal filtering F(3, 2) makes three frames of them with four products (S. Winograd, Arithmetic
// Complexity of Computations, 1980), here with half the sum h = (w0 + w2) / 2 and half the difference d = (w0 - w2) / 2:
//   p = (e1 + e2) h, q = (e2 - e1) d:   z0 = p + q + (e0 - e2) w0 + o0 w1,   z1 = p - q + o1 w1,   z2 = p + q + (e3 - e1) w2 + o2 w1
// dx's even frames are such a filter of dz, with w2 before w0; dw is its transposed form. Sums of frames are made while a product packs
// its operands (product.h), so that nothing passes through memory for them, and all products of some threes of frames run one after the
// other while these are in the cache. Frames that make no whole three take the direct form.
#pragma once
#include <memory>
#include <vector>

#include "cpu/gelu.h"
#include "cpu/op.h"
#include "cpu/product.h"
#include "cpu/softmax.h"
#include "cpu/tile.h"
#include "ops/conv1d.h"

namespace hk {
namespace HK_ISA {

namespace fast_conv {

// Threes of frames that stay in the cache, with what is fetched of the next ones meanwhile.
const int64_t kThrees = 4 * MixedGemm::kPanelRows, kWeightThrees = 192;

// Where it is faster; else the direct form.
static inline bool suits(const ConvSizes& s, hk_dtype dtype) {
  const auto fits = [](int64_t channels) { return channels % MixedGemm::kPanelColumns == 0 && channels >= 128 && channels <= kProductDepth; };
  return MixedGemm::exists() && dtype == HK_F32 && s.kernel == 3 && s.stride == 2 && fits(s.in) && fits(s.out) && s.frames >= 240;
}

// Rows of the packed weight and of its gradient: h, d, w0, w1, w2, each `in` numbers.
static inline int64_t width(const ConvSizes& s) { return 5 * s.in; }

// w [Cout, Cin, 3] -> packed [Cout, 5, Cin]
static inline void pack(const ConvSizes& s, const float* w, float* packed) {
  parallel_chunks(s.out, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o++) {
      float *h = packed + o * 5 * s.in, *d = h + s.in, *w0 = d + s.in, *w1 = w0 + s.in, *w2 = w1 + s.in;
      const float* from = w + o * s.in * 3;
      for (int64_t i = 0; i < s.in; i++) {
        w0[i] = from[3 * i];
        w1[i] = from[3 * i + 1];
        w2[i] = from[3 * i + 2];
        h[i] = .5f * w0[i] + .5f * w2[i];
        d[i] = .5f * w0[i] - .5f * w2[i];
      }
    }
  });
}

// The gradient of `packed`, [Cout, 5, Cin] -> added to dw [Cout, Cin, 3]
static inline void add_unpacked(const ConvSizes& s, const float* packed, float* dw) {
  parallel_chunks(s.out, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o++) {
      const float *h = packed + o * 5 * s.in, *d = h + s.in, *w0 = d + s.in, *w1 = w0 + s.in, *w2 = w1 + s.in;
      float* to = dw + o * s.in * 3;
      for (int64_t i = 0; i < s.in; i++) {
        to[3 * i] += w0[i] + .5f * (h[i] + d[i]);
        to[3 * i + 1] += w1[i];
        to[3 * i + 2] += w2[i] + .5f * (h[i] - d[i]);
      }
    }
  });
}

// As many numbers as a piece reads, behind them.
static inline Upcoming behind(const float* piece, int64_t numbers) {
  return {(const char*)(piece + numbers), numbers * (int64_t)sizeof(float)};
}

// Products that a thread runs in turn, each with scratch of its own.
class Parts {
 public:
  void add(const MixedShape& shape) {
    offsets_.push_back(bytes_);
    parts_.emplace_back(MixedGemm::make(shape));
    bytes_ += (parts_.back()->scratch_bytes() + 63) / 64 * 64;
  }
  size_t scratch_bytes() const { return bytes_; }  // of one thread
  // Each fetches its share of `next`.
  void run(int index, void* scratch, int64_t rows, const float* a, const float* b, float* c, Upcoming next, const float* bias = nullptr,
           float* gelu = nullptr) const {
    const int64_t lines = next.bytes / 64, count = (int64_t)parts_.size(), begin = lines * index / count, end = lines * (index + 1) / count;
    parts_[index]->run(rows, a, b, c, bias, (char*)scratch + offsets_[index], gelu, {next.start + 64 * begin, 64 * (end - begin)});
  }

 private:
  std::vector<std::unique_ptr<MixedGemm>> parts_;
  std::vector<size_t> offsets_;
  size_t bytes_ = 0;
};

// body(b, begin, end, first, scratch) for all threes of every row of the batch, in pieces; first: of this thread.
template <class Body>
static inline void in_pieces(const ConvSizes& s, int64_t threes, const Parts& parts, int64_t slots, void* scratch, const Body& body) {
  const int threads = use_threads(slots);
#pragma omp parallel for schedule(static, 1) num_threads(threads)
  for (int t = 0; t < threads; t++) {
    const Range mine = part(threes, MixedGemm::kPanelRows, t, threads);
    for (int64_t b = 0; b < s.batch; b++)
      for (int64_t begin = mine.begin; begin < mine.end; begin += kThrees)
        body(b, begin, begin + kThrees < mine.end ? begin + kThrees : mine.end, b == 0 && begin == mine.begin, (char*)scratch + t * parts.scratch_bytes());
  }
}

// z = conv(x) + bias, y = gelu(z) unless y is NULL.
class Forward {
 public:
  Forward(const ConvSizes& s, bool bias) : s_(s), threes_(s.frames / 3) {
    const int64_t in = s.in;
    const auto shape = [&](int64_t k, bool last, const Mix& mix, int64_t spread) {
      return MixedShape{{kThrees, s.out, k, 6 * in, 1, 1, 5 * in, 3 * s.out, last, last && bias}, mix, {}, spread, true};
    };
    parts_.add(shape(in, false, {0, in, 1, {2 * in}, {1}}, 0));
    parts_.add(shape(in, false, {0, in, 1, {-2 * in}, {-1}}, s.out));
    parts_.add(shape(2 * in, true, {0, in, 1, {4 * in}, {-1}}, 0));
    parts_.add(shape(in, true, {}, 0));
    parts_.add(shape(2 * in, true, {in, 2 * in, 1, {-4 * in}, {-1}}, 0));
  }
  size_t scratch_bytes() const { return slots_ * parts_.scratch_bytes(); }
  void run(const float* x, const float* packed, float* z, const float* bias, float* y, void* scratch) const {
    const int64_t in = s_.in, out = s_.out;
    const float *h = packed, *d = h + in, *w0 = d + in, *w1 = w0 + in;
    const auto gelu_at = [&](int64_t frame) { return y ? y + frame * out : nullptr; };
    in_pieces(s_, threes_, parts_, slots_, scratch, [&](int64_t b, int64_t begin, int64_t end, bool first, void* own) {
      const int64_t n = end - begin, frame = b * s_.frames + 3 * begin;
      const float* from = x + (b * s_.time + 6 * begin) * in;
      float* to = z + frame * out;
      const auto weights = [&](const float* w) { return first ? w : nullptr; };
      const Upcoming next = behind(from, n * 6 * in);
      parts_.run(0, own, n, from + 2 * in, weights(h), to + out, next);
      parts_.run(1, own, n, from + 4 * in, weights(d), to + out, next);
      parts_.run(2, own, n, from, weights(w0), to, next, bias, gelu_at(frame));
      parts_.run(3, own, n, from + 3 * in, weights(w1), to + out, next, bias, gelu_at(frame + 1));
      parts_.run(4, own, n, from + 5 * in, weights(w1), to + 2 * out, next, bias, gelu_at(frame + 2));
    });
    parallel_chunks(out, 16, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t b = 0; b < s_.batch; b++)
        for (int64_t t = 3 * threes_; t < s_.frames; t++) {
          const int64_t frame = b * s_.frames + t;
          const float* window = x + (b * s_.time + 2 * t) * in;
          float* to = z + frame * out;
          for (int64_t o = begin; o < end; o++) to[o] = dot(window, w0 + o * 5 * in, 3 * in) + (bias ? bias[o] : 0.0f);
          if (y) store(gelu_at(frame) + begin, gelu(load(to + begin)));
        }
    });
  }

 private:
  ConvSizes s_;
  int64_t threes_, slots_ = thread_slots(INT64_MAX);
  Parts parts_;
};

class InputGradient {
 public:
  explicit InputGradient(const ConvSizes& s) : s_(s), threes_((s.frames - 1) / 3) {
    const int64_t in = s.in, out = s.out;
    const auto shape = [&](bool accumulate, const Mix& mix, int64_t spread) {
      return MixedShape{{kThrees, in, out, 3 * out, 1, 5 * in, 1, 6 * in, accumulate, false}, mix, {}, spread, true};
    };
    parts_.add(shape(false, {0, out, 1, {out}, {1}}, 0));
    parts_.add(shape(false, {0, out, 1, {out}, {-1}}, 2 * in));
    parts_.add(shape(true, {0, out, 1, {2 * out}, {-1}}, 0));
    parts_.add(shape(true, {0, out, 1, {-2 * out}, {-1}}, 0));
    parts_.add({{3 * kThrees + 3, in, out, out, 1, 5 * in, 1, 2 * in, false, false}, {}, {}, 0, true});
  }
  size_t scratch_bytes() const { return slots_ * parts_.scratch_bytes(); }
  void run(const float* dz, const float* packed, float* dx, void* scratch) const {
    const int64_t in = s_.in, out = s_.out, covered = 2 * s_.frames + 1, done = 3 * threes_, left = s_.frames - done;
    const float *h = packed, *d = h + in, *w0 = d + in, *w1 = w0 + in, *w2 = w1 + in;
    in_pieces(s_, threes_, parts_, slots_, scratch, [&](int64_t b, int64_t begin, int64_t end, bool first, void* own) {
      const int64_t n = end - begin;
      const float* from = dz + (b * s_.frames + 3 * begin) * out;
      float* to = dx + (b * s_.time + 6 * begin) * in;
      const auto weights = [&](const float* w) { return first ? w : nullptr; };
      const auto even = [&](int64_t j) { return to + j * 2 * in; };
      const Upcoming next = behind(from, n * 3 * out);
      parts_.run(0, own, n, from + out, weights(h), even(2), next);
      parts_.run(1, own, n, from + out, weights(d), even(2), next);
      parts_.run(2, own, n, from, weights(w2), even(1), next);
      parts_.run(3, own, n, from + 3 * out, weights(w0), even(3), next);
      parts_.run(4, own, 3 * n + (end == threes_ ? left : 0), from, weights(w1), to + in, next);
    });
    parallel_chunks(in, 64, [&](int64_t, int64_t begin, int64_t end) {  // the first even frame and those behind the threes
      for (int64_t b = 0; b < s_.batch; b++) {
        const float* from = dz + b * s_.frames * out;
        float* to = dx + b * s_.time * in + begin;
        const auto add = [&](int64_t n, int64_t frame, const float* w, int64_t even, bool accumulate) {
          tile_gemm(n, end - begin, out, from + frame * out, out, 1, w + begin, 5 * in, to + even * 2 * in, 2 * in, accumulate);
        };
        add(1, 0, w0, 0, false);
        add(left, done, w2, done + 1, false);
        add(left - 1, done + 1, w0, done + 1, true);
      }
    });
    for (int64_t b = 0; b < s_.batch; b++)  // frames without an output
      memset(dx + (b * s_.time + covered) * in, 0, (size_t)((s_.time - covered) * in) * sizeof(float));
  }

 private:
  ConvSizes s_;
  int64_t threes_, slots_ = thread_slots(INT64_MAX);
  Parts parts_;
};

// Makes the gradient of `packed`.
class WeightGradient {
 public:
  explicit WeightGradient(const ConvSizes& s) : s_(s), threes_(s.frames / 3), sums_(s.out <= 256 ? 2 : 1) {
    int64_t wanted = (threes_ + kWeightThrees - 1) / kWeightThrees;
    if (s.batch * wanted % sums_) wanted++;
    piece_ = (threes_ + wanted - 1) / wanted;
    pieces_ = (threes_ + piece_ - 1) / piece_;  // fewer than wanted when rounding up leaves the last one nothing
    add_parts(piece_, &whole_);
    add_parts(threes_ - (pieces_ - 1) * piece_, &last_);
  }
  size_t scratch_bytes() const { return second_bytes() + slots_ * thread_bytes(); }
  void run(const float* dz, const float* x, float* packed, void* scratch) const {
    const int64_t in = s_.in, out = s_.out, pieces = s_.batch * pieces_;
    float *w0 = packed + 2 * in, *second = (float*)scratch;
    memset(packed, 0, packed_bytes());
    memset(second, 0, second_bytes());
    const int threads = use_threads(slots_), ranges = threads % sums_ ? threads : threads / sums_;
#pragma omp parallel for schedule(static, 1) num_threads(threads)
    for (int job = 0; job < sums_ * ranges; job++) {
      const int64_t range = job / sums_, row = out * range / ranges, rows = out * (range + 1) / ranges - row, half = job % sums_;
      char* own = (char*)scratch + second_bytes() + omp_get_thread_num() * thread_bytes();
      for (int64_t piece = pieces * half / sums_; piece < pieces * (half + 1) / sums_; piece++)
        add_piece(piece, row, rows, dz, x, (half ? second : packed) + row * width(s_), own);
    }
    if (sums_ == 2) parallel_chunks(out * width(s_), 16384, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t i = begin; i < end; i += 16) store(packed + i, load(packed + i) + load(second + i));
    });
    parallel_chunks(out, 16, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t o = begin; o < end; o++)
        for (int64_t b = 0; b < s_.batch; b++)
          for (int64_t t = 3 * threes_; t < s_.frames; t++) {
            const float of_frame = dz[(b * s_.frames + t) * out + o];
            const float* window = x + (b * s_.time + 2 * t) * in;
            float* to = w0 + o * 5 * in;
            for (int64_t i = 0; i < 3 * in; i += 16) store(to + i, load(to + i) + of_frame * load(window + i));
          }
    });
  }

 private:
  size_t packed_bytes() const { return (size_t)(s_.out * width(s_)) * sizeof(float); }
  size_t second_bytes() const { return sums_ == 2 ? packed_bytes() : 0; }
  size_t thread_bytes() const { return whole_.scratch_bytes() + last_.scratch_bytes(); }
  void add_piece(int64_t piece, int64_t row, int64_t rows, const float* dz, const float* x, float* packed, char* own) const {
    const int64_t in = s_.in, out = s_.out, b = piece / pieces_, begin = piece % pieces_ * piece_;
    const bool whole = begin + piece_ < threes_;
    const Parts& parts = whole ? whole_ : last_;
    if (!whole) own += whole_.scratch_bytes();
    const float *left = dz + (b * s_.frames + 3 * begin) * out + row, *right = x + (b * s_.time + 6 * begin) * in;
    float *h = packed, *d = h + in, *w0 = d + in, *w1 = w0 + in;
    const Upcoming next = rows == out ? behind(left, piece_ * 3 * out) : Upcoming{};
    parts.run(0, own, rows, left + out, right + 2 * in, h, next);
    parts.run(1, own, rows, left, right + 4 * in, d, next);
    parts.run(2, own, rows, left, right, w0, next);
    parts.run(3, own, rows, left + out, right + 3 * in, w1, next);
    parts.run(4, own, rows, left + 2 * out, right + 5 * in, w1, next);
  }
  void add_parts(int64_t threes, Parts* parts) const {
    const int64_t in = s_.in, out = s_.out;
    const auto shape = [&](int64_t n, const Mix& a, const Mix& b) {
      return MixedShape{{out, n, threes, 1, 3 * out, 6 * in, 1, 5 * in, true, false}, a, b, 0, false};
    };
    parts->add(shape(in, {0, threes, 2, {-out, out}, {1, 1}}, {0, in, 1, {2 * in}, {1}}));
    parts->add(shape(in, {0, threes, 2, {out, 2 * out}, {-1, 1}}, {0, in, 1, {-2 * in}, {-1}}));
    parts->add(shape(2 * in, {}, {0, in, 1, {4 * in}, {-1}}));
    parts->add(shape(in, {}, {}));
    parts->add(shape(2 * in, {}, {in, 2 * in, 1, {-4 * in}, {-1}}));
  }

  ConvSizes s_;
  int64_t threes_, sums_;  // two sums, each of half of the pieces, when these are small: then two threads pack half of dz and of x each
  int64_t pieces_, piece_, slots_ = thread_slots(INT64_MAX);
  Parts whole_, last_;
};

}  // namespace fast_conv

}  // namespace HK_ISA
}  // namespace hk
