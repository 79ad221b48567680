// Positional convolution: a long grouped convolution over time that keeps the number of frames, with bias and GELU.
//
//   x [B, T, D], w [D, D/G, k], bias [D] -> z[b, t, o] = bias_o + sum_{i, j} w[o, i, j] x[b, t - k/2 + j, group(o) + i],  y = gelu(z)
//   (x outside [0, T) is 0. An even k would give T + 1 frames: the last one is dropped. A back-end may round the
//   weights to the dtype of x; sums are f32.)
//
// Everything is done on planes: each channel's frames contiguous, with zeros around them. Then forward, data gradient and weight
// gradient are one operation, rows slid along rows (correlate.h):
//   z[o, t]     = sum_{i, j} w[o, i, j]        x[i, t + j]      coefficients: the weights as they are stored
//   dx[i, u]    = sum_{o, j} w[o, i, k-1-j]   dz[o, u + j]      coefficients: the weights flipped in time, [i, o, k]
//   dw[o, i, j] = sum_{b, t} dz[b, o, t]       x[b, i, t + j]   coefficients: dz itself
// Work is split over groups, batch rows and blocks of frames; every output is one sum in a fixed order. Where the products of bf16
// are made of pairs (factor.h), weights are rounded to bf16 and a plane holds each sample beside the next one; sums stay f32.
#include "cpu/cast.h"
#include "cpu/correlate.h"
#include "cpu/gelu.h"
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kBlock = 192;  // most frames of one task
const int64_t kRows = 8;     // channels of one task's tile

struct Sizes {
  int64_t batch, time, width, groups, channels, kernel;  // channels: of a group
  int64_t before_x, before_z;                            // zeros before frame 0 of a plane
  int64_t plane, blocks, block;
};

int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

Sizes sizes_of(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  Sizes s;
  s.batch = x.shape[0];
  s.time = x.shape[1];
  s.width = x.shape[2];
  s.channels = w.shape[1];
  s.groups = s.width / s.channels;
  s.kernel = w.shape[2];
  s.before_x = s.kernel / 2;
  s.before_z = s.kernel - 1 - s.before_x;
  s.plane = round16(s.time + 2 * s.kernel) + 3 * kCorrelatePad;
  s.blocks = (s.time + kBlock - 1) / kBlock;
  s.block = round16((s.time + s.blocks - 1) / s.blocks);
  return s;
}

int check(hk_call* call, const char* op) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (x.rank != 3 || !is_activation(x) || elements(x) < 1) return fail(call, "%s: x must be f32 or bf16 [B, T, D], got %s", op, describe(x, text));
  const double groups = attribute(call, "groups", 1);
  const int64_t width = x.shape[2];
  if (!(groups >= 1 && groups <= (double)width && groups == (double)(int64_t)groups) || width % (int64_t)groups)
    return fail(call, "%s: %lld channels do not divide into %g groups", op, (long long)width, groups);
  if (w.rank != 3 || w.shape[2] < 1) return fail(call, "%s: the weight must be f32[D, D / groups, k], got %s", op, describe(w, text));
  return expect(call, op, "the weight", w, HK_F32, {width, width / (int64_t)groups, w.shape[2]});
}

size_t plane_floats(const Sizes& s) { return (size_t)(s.batch * s.width * s.plane); }
size_t weight_floats(const Sizes& s) { return (size_t)round16(s.width * s.channels * s.kernel); }
size_t pair_floats(const Sizes& s) { return (size_t)round16(s.width * s.channels * ((s.kernel + 1) / 2)); }

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "pos_conv";
  if (expect_counts(call, op, 3, 2) || check(call, op)) return 1;
  const hk_tensor &x = call->inputs[0], &z = call->outputs[1];
  const double gelu = attribute(call, "gelu", 0);
  if (gelu != 0 && gelu != 1) return fail(call, "%s: gelu must be 0 or 1, got %g", op, gelu);
  if (present(z) && gelu == 0) return fail(call, "%s: z is an output only with gelu = 1", op);
  if (expect(call, op, "bias", call->inputs[2], HK_F32, {x.shape[2]}) || expect(call, op, "y", call->outputs[0], x.dtype, x.shape, 3)) return 1;
  if (present(z) && expect(call, op, "z", z, x.dtype, x.shape, 3)) return 1;
  const Sizes s = sizes_of(call);
  *scratch_bytes = (plane_floats(s) + (makes_pairs(is_bf16(x)) ? pair_floats(s) : 0)) * sizeof(float);
  return 0;
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "pos_conv_grad";
  if (expect_counts(call, op, 3, 3) || check(call, op)) return 1;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], *out = call->outputs;
  if (expect(call, op, "dz", call->inputs[2], x.dtype, x.shape, 3)) return 1;
  if (present(out[0]) && expect(call, op, "dx", out[0], x.dtype, x.shape, 3)) return 1;
  if (expect(call, op, "dw", out[1], HK_F32, w.shape, 3) || expect(call, op, "dbias", out[2], HK_F32, {x.shape[2]})) return 1;
  const Sizes s = sizes_of(call);
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
  const Sizes s = sizes_of(call);
  const bool with_gelu = attribute(call, "gelu", 0) == 1;
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
  const Sizes s = sizes_of(call);
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

hk_cost cost(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double n = (double)s.batch * s.time * s.width, reach = (double)s.channels * s.kernel;
  return {2.0 * n * reach, element_bytes(call->inputs[0]) * n * (present(call->outputs[1]) ? 3 : 2) + 4.0 * s.width * reach};
}
hk_cost cost_grad(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double n = (double)s.batch * s.time * s.width, reach = (double)s.channels * s.kernel, times = present(call->outputs[0]) ? 2 : 1;
  return {2.0 * times * n * reach, element_bytes(call->inputs[0]) * n * (1 + times) + 8.0 * s.width * reach};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(pos_conv, {"pos_conv", prepare, run, nullptr, cost}, {"pos_conv_grad", prepare_grad, run_grad, nullptr, cost_grad})
