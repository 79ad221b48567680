// pos_conv and its gradient: the contract is in ops/pos_conv.h.
//
// Everything is done on planes: each channel's frames contiguous, with zeros around them. Then forward, data gradient and weight
// gradient are one operation, rows slid along rows (correlate.h):
//   z[o, t]     = sum_{i, j} w[o, i, j]        x[i, t + j]      coefficients: the weights as they are stored
//   dx[i, u]    = sum_{o, j} w[o, i, k-1-j]   dz[o, u + j]      coefficients: the weights flipped in time, [i, o, k]
//   dw[o, i, j] = sum_{b, t} dz[b, o, t]       x[b, i, t + j]   coefficients: dz itself
// Work is split over groups, batch rows and blocks of frames; every output is one sum in a fixed order. Where the products of bf16
// are made of pairs (factor.h), weights are rounded to bf16 and a plane holds each sample beside the next one; sums stay f32.
#include "cpu/correlate.h"
#include "cpu/gelu.h"
#include "cpu/op.h"
#include "ops/pos_conv.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kBlock = 192;  // most frames of one task
const int64_t kRows = 8;     // channels of one task's tile

int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

struct Sizes : PosConvSizes {
  int64_t plane, blocks, block;
  explicit Sizes(const hk_call* call) : PosConvSizes(call) {
    plane = round16(time + 2 * kernel) + 3 * kCorrelatePad;
    blocks = (time + kBlock - 1) / kBlock;
    block = round16((time + blocks - 1) / blocks);
  }
};

size_t plane_floats(const Sizes& s) { return (size_t)(s.batch * s.width * s.plane); }
size_t weight_floats(const Sizes& s) { return (size_t)round16(s.width * s.channels * s.kernel); }
size_t pair_floats(const Sizes& s) { return (size_t)round16(s.width * s.channels * ((s.kernel + 1) / 2)); }

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_pos_conv(call)) return 1;
  const Sizes s(call);
  *scratch_bytes = (plane_floats(s) + (makes_pairs(is_bf16(call->inputs[0])) ? pair_floats(s) : 0)) * sizeof(float);
  return 0;
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_pos_conv_grad(call)) return 1;
  const Sizes s(call);
  *scratch_bytes = (2 * plane_floats(s) + weight_floats(s)) * sizeof(float);
  return 0;
}

// x [B, T, D] -> planes [B, D, plane], frame 0 at `before`, zeros elsewhere.
template <class T, class Factor>
void to_planes(const Sizes& s, const T* x, int64_t before, Factor* planes) {
  const int64_t blocks = (s.width + 15) / 16;
  parallel_chunks(s.batch * blocks, 1, [&](int64_t task, int64_t, int64_t) {
    const int64_t b = task / blocks, c0 = task % blocks * 16, n = s.width - c0 < 16 ? s.width - c0 : 16;
    const T* from = x + b * s.time * s.width + c0;
    Factor* to = planes + (b * s.width + c0) * s.plane;
    for (int64_t c = 0; c < n; c++) {
      memset((void*)(to + c * s.plane), 0, (size_t)before * sizeof(Factor));
      memset((void*)(to + c * s.plane + before + s.time), 0, (size_t)(s.plane - before - s.time) * sizeof(Factor));
      if (before > 0) set_factor(to + c * s.plane + before - 1, 0.0f, from[c]);
    }
    for (int64_t t0 = 0; t0 < s.time; t0 += 16) {
      const int64_t frames = s.time - t0 < 16 ? s.time - t0 : 16;
      for (int64_t c = 0; c < n; c++)
        for (int64_t t = t0; t < t0 + frames; t++)
          set_factor(to + c * s.plane + before + t, from[t * s.width + c], t + 1 < s.time ? from[(t + 1) * s.width + c] : T(0.0f));
    }
  });
}

// tile [rows, kBlock] -> out[t, 0..rows) for `frames` frames, rows of `out` `width` apart.
template <class T>
void from_tile(const float* tile, int64_t rows, int64_t frames, T* out, int64_t width) {
  for (int64_t t = 0; t < frames; t++)
    for (int64_t r = 0; r < rows; r++) out[t * width + r] = tile[r * kBlock + t];
}

// For every tile of channels and frames of every row: sums over a group's planes of coefficients [D, channels, k] -> finish(channel,
// rows, first, frames, b, tile). Neighbouring tasks share a group, so its coefficients stay in the cache.
template <class Factor, class Finish>
void convolve(const Sizes& s, const Factor* coefficients, const Factor* planes, const Finish& finish) {
  const int64_t per_group = s.batch * s.blocks, taps = factors<Factor>(s.kernel), reach = s.channels * taps;
  parallel_chunks(s.groups * per_group, 1, [&](int64_t task, int64_t, int64_t) {
    const int64_t g = task / per_group, b = task % per_group / s.blocks, t = task % s.blocks * s.block;
    const int64_t frames = s.time - t < s.block ? s.time - t : s.block;
    if (frames <= 0) return;
    float tile[kRows * kBlock];
    for (int64_t r = 0; r < s.channels; r += kRows) {
      const int64_t rows = s.channels - r < kRows ? s.channels - r : kRows, channel = g * s.channels + r;
      correlate(rows, coefficients + channel * reach, reach, taps, planes + (b * s.width + g * s.channels) * s.plane + t, s.plane,
                s.channels, s.kernel, frames, tile, kBlock);
      finish(channel, rows, t, frames, b, tile);
    }
  });
}

v16 reversed(v16 v) { return __builtin_shuffle(v, i16{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}); }

// The weights [D, channels, k] as coefficients of type Number, rows of k rounded up to whole factors. FLIP: inputs and outputs of each
// group exchanged, taps in reverse.
template <bool FLIP, class Number>
void pack(const Sizes& s, const float* w, int64_t row, Number* packed) {
  parallel_chunks(s.width, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) {
      const int64_t group = c / s.channels * s.channels;
      for (int64_t o = 0; o < s.channels; o++) {
        const float* from = w + (FLIP ? (group + o) * s.channels + c - group : c * s.channels + o) * s.kernel;
        Number* to = packed + (c * s.channels + o) * row;
        int64_t j = 0;
        for (; j + 16 <= s.kernel; j += 16) store(to + j, FLIP ? reversed(load(from + s.kernel - 16 - j)) : load(from + j));
        for (; j < s.kernel; j++) to[j] = from[FLIP ? s.kernel - 1 - j : j];
        for (; j < row; j++) to[j] = 0.0f;
      }
    }
  });
}

// Coefficients of the forward pass: the weights themselves, or pairs of them made in `scratch`.
const float* forward_coefficients(const Sizes&, const float* w, float*) { return w; }
#if defined(__AVX512BF16__)
const Pair* forward_coefficients(const Sizes& s, const float* w, Pair* scratch) {
  pack<false>(s, w, 2 * factors<Pair>(s.kernel), (bf16*)scratch);
  return scratch;
}
#endif

template <class T>
int run_as(hk_call* call) {
  typedef typename Product<T>::Factor Factor;
  const Sizes s(call);
  const bool with_gelu = has_gelu(call);
  Factor* planes = (Factor*)call->scratch;
  T *y = data<T>(call->outputs[0]), *z = data<T>(call->outputs[1]);
  const float* bias = f32(call->inputs[2]);
  to_planes(s, data<T>(call->inputs[0]), s.before_x, planes);
  const Factor* coefficients = forward_coefficients(s, f32(call->inputs[1]), planes + plane_floats(s));
  convolve(s, coefficients, planes, [&](int64_t channel, int64_t rows, int64_t t, int64_t frames, int64_t b, float* tile) {
    const int64_t at = (b * s.time + t) * s.width + channel;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < frames; i += 16) store(tile + r * kBlock + i, load(tile + r * kBlock + i) + bias[channel + r]);
    if (z) from_tile(tile, rows, frames, z + at, s.width);
    if (with_gelu)
      for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < frames; i += 16) store(tile + r * kBlock + i, gelu(load(tile + r * kBlock + i)));
    from_tile(tile, rows, frames, y + at, s.width);
  });
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

template <class Factor>
void weight_gradient(const Sizes& s, const Factor* x, const Factor* dz, float* dw) {
  const int64_t tiles = (s.channels + kRows - 1) / kRows, step = s.width * s.plane;
  parallel_chunks(s.groups * tiles, 1, [&](int64_t task, int64_t, int64_t) {
    const int64_t first = task / tiles * s.channels, r = task % tiles * kRows;
    const int64_t rows = s.channels - r < kRows ? s.channels - r : kRows;
    float tile[kRows * kBlock];
    for (int64_t i = 0; i < s.channels; i++)
      for (int64_t j = 0; j < s.kernel; j += kBlock) {
        const int64_t taps = s.kernel - j < kBlock ? s.kernel - j : kBlock;
        correlate<kNumbers<Factor>>(rows, dz + (first + r) * s.plane + s.before_z, s.plane, step, x + (first + i) * s.plane + j, step, s.batch,
                                    s.time, taps, tile, kBlock);
        for (int64_t o = 0; o < rows; o++) {
          float* to = dw + ((first + r + o) * s.channels + i) * s.kernel + j;
          for (int64_t e = 0; e < taps; e++) to[e] += tile[o * kBlock + e];
        }
      }
  });
}

template <class Factor>
void bias_gradient(const Sizes& s, const Factor* dz, float* dbias) {
  parallel_chunks(s.width, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) {
      v16 total = {};
      for (int64_t b = 0; b < s.batch; b++)
        for (int64_t t = 0; t < s.plane; t += 16) total += first_numbers(dz + (b * s.width + c) * s.plane + t);
      dbias[c] += sum(total);
    }
  });
}

template <class T>
int run_grad_as(hk_call* call) {
  typedef typename Product<T>::Factor Factor;
  const Sizes s(call);
  Factor *x = (Factor*)call->scratch, *dz = x + plane_floats(s), *flipped = dz + plane_floats(s);
  T* dx = data<T>(call->outputs[0]);
  to_planes(s, data<T>(call->inputs[0]), s.before_x, x);
  to_planes(s, data<T>(call->inputs[2]), s.before_z, dz);
  if (present(call->outputs[0])) {
    pack<true>(s, f32(call->inputs[1]), kNumbers<Factor> * factors<Factor>(s.kernel), (typename Product<T>::Number*)flipped);
    convolve(s, flipped, dz, [&](int64_t channel, int64_t rows, int64_t t, int64_t frames, int64_t b, float* tile) {
      from_tile(tile, rows, frames, dx + (b * s.time + t) * s.width + channel, s.width);
    });
  }
  weight_gradient(s, x, dz, f32(call->outputs[1]));
  bias_gradient(s, dz, f32(call->outputs[2]));
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(pos_conv, {"pos_conv", prepare, run, nullptr, pos_conv_cost}, {"pos_conv_grad", prepare_grad, run_grad, nullptr, pos_conv_grad_cost})
