// Convolution of kernel 3 and stride 2 with seven products for three frames where the direct form has nine, for AVX-512.
//
// With the even and odd frames of x, e[j] = x[2j] and o[j] = x[2j + 1], z[t] = e[t] w0 + e[t + 1] w2 + o[t] w1. Its first two terms have
// two taps and stride 1: Winograd's minimal filtering F(3, 2) makes three frames of them with four products (S. Winograd, Arithmetic
// Complexity of Computations, 1980), here with half the sum h = (w0 + w2) / 2 and half the difference d = (w0 - w2) / 2:
//   p = (e1 + e2) h, q = (e2 - e1) d:   z0 = p + q + (e0 - e2) w0 + o0 w1,   z1 = p - q + o1 w1,   z2 = p + q + (e3 - e1) w2 + o2 w1
// dx's even frames are such a filter of dz, with w2 before w0; dw is its transposed form. Sums of frames are made while a product packs
// its operands (product.h), so that nothing passes through memory for them, and all products of some threes of frames run one after the
// other while these are in the cache. Frames that make no whole three take the direct form.
// In bf16 the sums of frames and of taps are rounded as they are packed, and what the products add up to stays in f32 until it is whole.
#pragma once
#include <memory>
#include <type_traits>
#include <vector>

#include "cpu/gelu.h"
#include "cpu/op.h"
#include "cpu/product.h"
#include "cpu/softmax.h"
#include "ops/conv1d.h"

namespace hk {
namespace HK_ISA {

namespace fast_conv {

// Threes of frames that stay in the cache, with what is fetched of the next ones meanwhile.
const int64_t kThrees = 4 * MixedGemm::kPanelRows, kWeightBytes = 192 * 4;  // bytes of the threes of one channel

// Where it is faster; else the direct form.
static inline bool suits(const ConvSizes& s, hk_dtype dtype) {
  const auto fits = [](int64_t channels) { return channels % MixedGemm::kPanelColumns == 0 && channels >= 128 && channels <= kProductDepth; };
  const int64_t least = dtype == HK_BF16 ? 900 : 240;  // packing the taps costs as much of a bf16 product that takes half the time
  return MixedGemm::exists(dtype) && s.kernel == 3 && s.stride == 2 && fits(s.in) && fits(s.out) && s.frames >= 240 && s.batch * s.frames >= least;
}

// Rows of the packed weight and of its gradient: h, d, w0, w1, w2, each `in` numbers.
static inline int64_t width(const ConvSizes& s) { return 5 * s.in; }

// w [Cout, Cin, 3] -> packed [Cout, 5, Cin]
template <class T>
static inline void pack(const ConvSizes& s, const float* w, T* packed) {
  parallel_chunks(s.out, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o++) {
      T *h = packed + o * 5 * s.in, *d = h + s.in, *w0 = d + s.in, *w1 = w0 + s.in, *w2 = w1 + s.in;
      const float* from = w + o * s.in * 3;
      for (int64_t i = 0; i < s.in; i++) {
        w0[i] = from[3 * i];
        w1[i] = from[3 * i + 1];
        w2[i] = from[3 * i + 2];
        h[i] = .5f * from[3 * i] + .5f * from[3 * i + 2];
        d[i] = .5f * from[3 * i] - .5f * from[3 * i + 2];
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
template <class T>
static inline Upcoming behind(const T* piece, int64_t numbers) {
  return {(const char*)(piece + numbers), numbers * (int64_t)sizeof(T)};
}

template <class T>
const hk_dtype kType = std::is_same<T, bf16>::value ? HK_BF16 : HK_F32;
// Whether sums lie in scratch until they are whole; in f32 they lie in the result.
template <class T>
const bool kApart = kType<T> != HK_F32;

// Products that a thread runs in turn, each with scratch of its own.
class Parts {
 public:
  void add(const MixedShape& shape) {
    parts_.emplace_back(MixedGemm::make(shape));
    offsets_.push_back(room(parts_.back()->scratch_bytes()));
  }
  // Adds to the scratch; where it begins there.
  size_t room(size_t bytes) {
    const size_t at = bytes_;
    bytes_ += (bytes + 63) / 64 * 64;
    return at;
  }
  size_t scratch_bytes() const { return bytes_; }  // of one thread
  // Each fetches its share of `next`.
  void run(int index, void* scratch, int64_t rows, const void* a, const void* b, Sums sums, void* c, Upcoming next, const float* bias = nullptr,
           void* gelu = nullptr) const {
    const int64_t lines = next.bytes / 64, count = (int64_t)parts_.size(), begin = lines * index / count, end = lines * (index + 1) / count;
    parts_[index]->run(rows, a, b, sums, c, bias, (char*)scratch + offsets_[index], gelu, {next.start + 64 * begin, 64 * (end - begin)});
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
template <class T>
class Forward {
 public:
  Forward(const ConvSizes& s, bool bias) : s_(s), threes_(s.frames / 3) {
    const int64_t in = s.in;
    const auto shape = [&](int64_t k, bool last, const Mix& mix, int64_t spread) {
      return MixedShape{{kThrees, s.out, k, 6 * in, 1, 1, 5 * in, 3 * s.out, false, last && bias, kType<T>, last ? kType<T> : HK_F32}, mix, {}, spread, true};
    };
    parts_.add(shape(in, false, {0, in, 1, {2 * in}, {1}}, 0));
    parts_.add(shape(in, false, {0, in, 1, {-2 * in}, {-1}}, s.out));
    parts_.add(shape(2 * in, true, {0, in, 1, {4 * in}, {-1}}, 0));
    parts_.add(shape(in, true, {}, 0));
    parts_.add(shape(2 * in, true, {in, 2 * in, 1, {-4 * in}, {-1}}, 0));
    if (kApart<T>) sums_ = parts_.room((size_t)(kThrees * 3 * s.out) * sizeof(float));
  }
  size_t scratch_bytes() const { return slots_ * parts_.scratch_bytes(); }
  void run(const T* x, const T* packed, T* z, const float* bias, T* y, void* scratch) const {
    const int64_t in = s_.in, out = s_.out;
    const T *h = packed, *d = h + in, *w0 = d + in, *w1 = w0 + in;
    const auto gelu_at = [&](int64_t frame) { return y ? y + frame * out : nullptr; };
    in_pieces(s_, threes_, parts_, slots_, scratch, [&](int64_t b, int64_t begin, int64_t end, bool first, char* own) {
      const int64_t n = end - begin, frame = b * s_.frames + 3 * begin;
      const T* from = x + (b * s_.time + 6 * begin) * in;
      T* to = z + frame * out;
      float* sums = kApart<T> ? (float*)(own + sums_) : (float*)to;
      const auto at = [&](int64_t i) { return Sums{sums + i * out, 3 * out}; };
      const auto weights = [&](const T* w) { return first ? w : nullptr; };
      const Upcoming next = behind(from, n * 6 * in);
      parts_.run(0, own, n, from + 2 * in, weights(h), {}, at(1).at, next);
      parts_.run(1, own, n, from + 4 * in, weights(d), at(1), at(1).at, next);
      parts_.run(2, own, n, from, weights(w0), at(0), to, next, bias, gelu_at(frame));
      parts_.run(3, own, n, from + 3 * in, weights(w1), at(1), to + out, next, bias, gelu_at(frame + 1));
      parts_.run(4, own, n, from + 5 * in, weights(w1), at(2), to + 2 * out, next, bias, gelu_at(frame + 2));
    });
    parallel_chunks(out, 16, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t b = 0; b < s_.batch; b++)
        for (int64_t t = 3 * threes_; t < s_.frames; t++) {
          const int64_t frame = b * s_.frames + t;
          const T* window = x + (b * s_.time + 2 * t) * in;
          T* to = z + frame * out;
          for (int64_t o = begin; o < end; o++) to[o] = dot(window, w0 + o * 5 * in, 3 * in) + (bias ? bias[o] : 0.0f);
          if (y) store(gelu_at(frame) + begin, gelu(load(to + begin)));
        }
    });
  }

 private:
  ConvSizes s_;
  int64_t threes_, slots_ = thread_slots(INT64_MAX);
  size_t sums_ = 0;
  Parts parts_;
};

template <class T>
class InputGradient {
 public:
  explicit InputGradient(const ConvSizes& s) : s_(s), threes_((s.frames - 1) / 3), even_(kApart<T> ? s.in : 2 * s.in) {
    const int64_t in = s.in, out = s.out;
    const auto shape = [&](bool last, const Mix& mix, int64_t spread) {
      return MixedShape{{kThrees, in, out, 3 * out, 1, 5 * in, 1, last ? 6 * in : 3 * even_, false, false, kType<T>, last ? kType<T> : HK_F32},
                        mix, {}, spread, true};
    };
    parts_.add(shape(false, {0, out, 1, {out}, {1}}, 0));
    parts_.add(shape(true, {0, out, 1, {out}, {-1}}, even_));
    parts_.add(shape(true, {0, out, 1, {2 * out}, {-1}}, 0));
    parts_.add(shape(true, {0, out, 1, {-2 * out}, {-1}}, 0));
    parts_.add({{3 * kThrees + 3, in, out, out, 1, 5 * in, 1, 2 * in, false, false, kType<T>, kType<T>}, {}, {}, 0, true});
    if (kApart<T>) sums_ = parts_.room((size_t)(kThrees * 3 * in) * sizeof(float));
  }
  size_t scratch_bytes() const { return slots_ * parts_.scratch_bytes(); }
  void run(const T* dz, const T* packed, T* dx, void* scratch) const {
    const int64_t in = s_.in, out = s_.out, covered = 2 * s_.frames + 1, done = 3 * threes_, left = s_.frames - done;
    const T *h = packed, *d = h + in, *w0 = d + in, *w1 = w0 + in, *w2 = w1 + in;
    in_pieces(s_, threes_, parts_, slots_, scratch, [&](int64_t b, int64_t begin, int64_t end, bool first, char* own) {
      const int64_t n = end - begin;
      const T* from = dz + (b * s_.frames + 3 * begin) * out;
      T* to = dx + (b * s_.time + 6 * begin) * in;
      const auto weights = [&](const T* w) { return first ? w : nullptr; };
      const auto even = [&](int64_t j) { return to + j * 2 * in; };
      float* sums = kApart<T> ? (float*)(own + sums_) : (float*)even(1);
      const auto at = [&](int64_t j) { return Sums{sums + (j - 1) * even_, 3 * even_}; };
      const Upcoming next = behind(from, n * 3 * out);
      parts_.run(0, own, n, from + out, weights(h), {}, at(2).at, next);
      parts_.run(1, own, n, from + out, weights(d), at(2), even(2), next);
      parts_.run(2, own, n, from, weights(w2), at(1), even(1), next);
      parts_.run(3, own, n, from + 3 * out, weights(w0), at(3), even(3), next);
      parts_.run(4, own, 3 * n + (end == threes_ ? left : 0), from, weights(w1), {}, to + in, next);
    });
    parallel_chunks(in, MixedGemm::kPanelColumns, [&](int64_t, int64_t begin, int64_t) {  // the first even frame and those behind the threes
      for (int64_t b = 0; b < s_.batch; b++)
        for (int64_t j = 0; j <= s_.frames; j = j == 0 ? done + 1 : j + 1) {
          const T* from = dz + (b * s_.frames + j) * out;
          T* to = dx + (b * s_.time + 2 * j) * in + begin;
          v16 sum[2] = {};
          if (j > 0) add_row(from - out, w2 + begin, sum);
          if (j < s_.frames) add_row(from, w0 + begin, sum);
          store(to, sum[0]);
          store(to + 16, sum[1]);
        }
    });
    for (int64_t b = 0; b < s_.batch; b++)  // frames without an output
      memset((void*)(dx + (b * s_.time + covered) * in), 0, (size_t)((s_.time - covered) * in) * sizeof(T));
  }

 private:
  // A frame times a panel of columns of a tap.
  void add_row(const T* frame, const T* w, v16 (&sum)[2]) const {
    for (int64_t o = 0; o < s_.out; o++, w += 5 * s_.in) {
      sum[0] += (float)frame[o] * load(w);
      sum[1] += (float)frame[o] * load(w + 16);
    }
  }

  ConvSizes s_;
  int64_t threes_, slots_ = thread_slots(INT64_MAX), even_;  // even_: from the sums of one even frame to those of the next
  size_t sums_ = 0;
  Parts parts_;
};

// Makes the gradient of `packed`.
template <class T>
class WeightGradient {
 public:
  explicit WeightGradient(const ConvSizes& s) : s_(s), threes_(s.frames / 3), sums_(s.out <= 256 ? 2 : 1) {
    const int64_t most = kWeightBytes / (int64_t)sizeof(T);
    int64_t wanted = (threes_ + most - 1) / most;
    if (s.batch * wanted % sums_) wanted++;
    piece_ = (threes_ + wanted - 1) / wanted;
    pieces_ = (threes_ + piece_ - 1) / piece_;  // fewer than wanted when rounding up leaves the last one nothing
    add_parts(piece_, &whole_);
    add_parts(threes_ - (pieces_ - 1) * piece_, &last_);
  }
  size_t scratch_bytes() const { return second_bytes() + slots_ * thread_bytes(); }
  void run(const T* dz, const T* x, float* packed, void* scratch) const {
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
            const T* window = x + (b * s_.time + 2 * t) * in;
            float* to = w0 + o * 5 * in;
            for (int64_t i = 0; i < 3 * in; i += 16) store(to + i, load(to + i) + of_frame * load(window + i));
          }
    });
  }

 private:
  size_t packed_bytes() const { return (size_t)(s_.out * width(s_)) * sizeof(float); }
  size_t second_bytes() const { return sums_ == 2 ? packed_bytes() : 0; }
  size_t thread_bytes() const { return whole_.scratch_bytes() + last_.scratch_bytes(); }
  void add_piece(int64_t piece, int64_t row, int64_t rows, const T* dz, const T* x, float* packed, char* own) const {
    const int64_t in = s_.in, out = s_.out, b = piece / pieces_, begin = piece % pieces_ * piece_;
    const bool whole = begin + piece_ < threes_;
    const Parts& parts = whole ? whole_ : last_;
    if (!whole) own += whole_.scratch_bytes();
    const T *left = dz + (b * s_.frames + 3 * begin) * out + row, *right = x + (b * s_.time + 6 * begin) * in;
    float *h = packed, *d = h + in, *w0 = d + in, *w1 = w0 + in;
    const Upcoming next = rows == out ? behind(left, piece_ * 3 * out) : Upcoming{};
    parts.run(0, own, rows, left + out, right + 2 * in, {}, h, next);
    parts.run(1, own, rows, left, right + 4 * in, {}, d, next);
    parts.run(2, own, rows, left, right, {}, w0, next);
    parts.run(3, own, rows, left + out, right + 3 * in, {}, w1, next);
    parts.run(4, own, rows, left + 2 * out, right + 5 * in, {}, w1, next);
  }
  void add_parts(int64_t threes, Parts* parts) const {
    const int64_t in = s_.in, out = s_.out;
    const auto shape = [&](int64_t n, const Mix& a, const Mix& b) {
      return MixedShape{{out, n, threes, 1, 3 * out, 6 * in, 1, 5 * in, true, false, kType<T>, HK_F32}, a, b, 0, false};
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

// What is made of an op's call: its form forward, or those of its gradients.
template <class T>
struct Forms {
  std::unique_ptr<Forward<T>> forward;
  std::unique_ptr<InputGradient<T>> dx;
  std::unique_ptr<WeightGradient<T>> dw;
};

}  // namespace fast_conv

}  // namespace HK_ISA
}  // namespace hk
