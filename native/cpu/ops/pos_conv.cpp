// pos_conv and its gradient: the contract is in ops/pos_conv.h.
//
// Everything is done on planes: each channel's frames contiguous, with zeros around them. Then forward, data gradient and weight
// gradient are one operation, rows slid along rows (correlate.h):
//   z[o, t]     = sum_{i, j} w[o, i, j]        x[i, t + j]      coefficients: the weights as they are stored
//   dx[i, u]    = sum_{o, j} w[o, i, k-1-j]   dz[o, u + j]      coefficients: the weights flipped in time, [i, o, k]
//   dw[o, i, j] = sum_{b, t} dz[b, o, t]       x[b, i, t + j]   coefficients: dz itself
// Work is split over groups, batch rows and blocks of frames; every output is one sum in a fixed order. Where the products of bf16
// are made of pairs (factor.h), weights are rounded to bf16 and a plane holds each sample beside the next one; sums stay f32.
// In f32 a long kernel over many frames is made of nine shorter correlations (phases.h), summed over the channels (dw: the batch rows) before
// they are merged. Planes are split into parts once, coefficients [D, channels, k] by the task that uses them.
#include "cpu/correlate.h"
#include "cpu/gelu.h"
#include "cpu/op.h"
#include "cpu/phases.h"
#include "ops/pos_conv.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kBlock = 192;  // most frames of one task
const int64_t kRows = 8;     // channels of one task's tile
const int64_t kQuarterBlock = 96;

int64_t round16(int64_t n) { return (n + 15) / 16 * 16; }

struct Sizes : PosConvSizes {
  int64_t plane, blocks, block;
  explicit Sizes(const hk_call* call) : PosConvSizes(call) {
    plane = (time + 2 * kernel + 3 * kCorrelatePad + 63) / 64 * 64;
    blocks = (time + kBlock - 1) / kBlock;
    block = round16((time + blocks - 1) / blocks);
  }
};

// Sizes of the parts: everything counts in steps of kPhases.
struct Quarters : Sizes {
  int64_t frames, taps, row;          // row: of taps
  int64_t coefficients;               // floats of a part of kRows channels' coefficients
  int64_t part;                       // floats of a part of all planes
  explicit Quarters(const hk_call* call) : Sizes(call) {
    frames = (time + kPhases - 1) / kPhases;
    taps = (kernel + kPhases - 1) / kPhases;
    row = round16(taps);
    coefficients = kRows * row_step();
    plane /= kPhases;
    part = batch * width * plane;
    blocks = (frames + kQuarterBlock - 1) / kQuarterBlock;
    block = round16((frames + blocks - 1) / blocks);
  }
  int64_t row_step() const { return channels * row + 16; }  // of a channel's coefficients: not a power of two, whose rows would share a set of the cache
  int64_t thread_floats() const { return kParts * coefficients + kPhases * row; }
  int64_t tiles() const { return groups * ((channels + kRows - 1) / kRows); }
};

size_t plane_floats(const Sizes& s) { return (size_t)(s.batch * s.width * s.plane); }
size_t weight_floats(const Sizes& s) { return (size_t)round16(s.width * s.channels * s.kernel); }
size_t pair_floats(const Sizes& s) { return (size_t)round16(s.width * s.channels * ((s.kernel + 1) / 2)); }

bool in_pairs(const hk_call* call) { return makes_pairs(is_bf16(call->inputs[0])); }
bool in_parts(const hk_call* call) {
  const Sizes s(call);
  return !in_pairs(call) && s.kernel >= 64 && s.time >= 64;
}

// Parts of `planes` planes and each thread's coefficients.
size_t part_floats(const hk_call* call, int64_t planes, void** state) {
  const Quarters q(call);
  const int64_t slots = thread_slots(q.tiles());
  *state = (void*)(intptr_t)slots;
  return (size_t)(planes * kParts * q.part + slots * q.thread_floats());
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_pos_conv(call)) return 1;
  const Sizes s(call);
  const size_t behind = in_parts(call) ? part_floats(call, 1, state) : in_pairs(call) ? pair_floats(s) : 0;
  *scratch_bytes = (plane_floats(s) + behind) * sizeof(float);
  return 0;
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_pos_conv_grad(call)) return 1;
  const Sizes s(call);
  *scratch_bytes = (2 * plane_floats(s) + (in_parts(call) ? part_floats(call, 2, state) : weight_floats(s))) * sizeof(float);
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

// tile [rows, row] -> out[t, 0..rows) for `frames` frames, rows of `out` `width` apart.
template <class T>
void from_tile(const float* tile, int64_t row, int64_t rows, int64_t frames, T* out, int64_t width) {
  for (int64_t t = 0; t < frames; t++)
    for (int64_t r = 0; r < rows; r++) out[t * width + r] = tile[r * row + t];
}

// For every tile of channels and frames of every row: sums over a group's planes of coefficients [D, channels, k] -> finish(channel,
// rows, first, frames, b, tile, its row). Neighbouring tasks share a group, so its coefficients stay in the cache.
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
      finish(channel, rows, t, frames, b, tile, kBlock);
    }
  });
}

v16 reversed(v16 v) { return __builtin_shuffle(v, i16{15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0}); }

// The taps between channel c and channel o of its group. FLIP: with inputs and outputs exchanged and taps in reverse.
template <bool FLIP, class Number>
void pack_taps(const Sizes& s, const float* w, int64_t c, int64_t o, int64_t row, Number* to) {
  const float* from = w + (FLIP ? (c / s.channels * s.channels + o) * s.channels + c % s.channels : c * s.channels + o) * s.kernel;
  int64_t j = 0;
  for (; j + 16 <= s.kernel; j += 16) store(to + j, FLIP ? reversed(load(from + s.kernel - 16 - j)) : load(from + j));
  for (; j < s.kernel; j++) to[j] = from[FLIP ? s.kernel - 1 - j : j];
  for (; j < row; j++) to[j] = 0.0f;
}

// The weights [D, channels, k] as coefficients of type Number, rows of k rounded up to whole factors.
template <bool FLIP, class Number>
void pack(const Sizes& s, const float* w, int64_t row, Number* packed) {
  parallel_chunks(s.width, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++)
      for (int64_t o = 0; o < s.channels; o++) pack_taps<FLIP>(s, w, c, o, row, packed + (c * s.channels + o) * row);
  });
}

// All planes -> parts of samples, or of coefficients that begin at sample `before`.
void split_samples(const Quarters& q, const float* planes, float* parts) {
  parallel_chunks(q.batch * q.width, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++) sample_parts(planes + c * kPhases * q.plane, q.plane, parts + c * q.plane, q.part);
  });
}
void split_coefficients(const Quarters& q, const float* planes, int64_t before, float* parts) {
  parallel_chunks(q.batch * q.width, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t c = begin; c < end; c++)
      coefficient_parts(planes + c * kPhases * q.plane + before, round16(q.frames), parts + c * q.plane, q.part);
  });
}

// `convolve` on parts of planes. A task has all frames of a tile of channels, so that its coefficients are split once.
template <bool FLIP, class Finish>
void convolve_parts(const hk_call* call, const Quarters& q, const float* w, const float* parts, float* scratch, const Finish& finish) {
  const int64_t tiles = q.tiles() / q.groups;
#pragma omp parallel for schedule(static) num_threads(use_threads(call))
  for (int64_t task = 0; task < q.tiles(); task++) {
    const int64_t group = task / tiles * q.channels, r = task % tiles * kRows, channel = group + r;
    const int64_t rows = q.channels - r < kRows ? q.channels - r : kRows;
    float *coefficients = scratch + omp_get_thread_num() * q.thread_floats(), *taps = coefficients + kParts * q.coefficients;
    for (int64_t c = 0; c < rows; c++)
      for (int64_t o = 0; o < q.channels; o++) {
        pack_taps<FLIP>(q, w, channel + c, o, kPhases * q.row, taps);
        coefficient_parts(taps, q.row, coefficients + c * q.row_step() + o * q.row, q.coefficients);
      }
    for (int64_t b = 0; b < q.batch; b++)
      for (int64_t t = 0; t < q.frames; t += q.block) {
        const int64_t frames = q.frames - t < q.block ? q.frames - t : q.block, left = q.time - kPhases * t;
        float products[kParts][kRows * kQuarterBlock], tile[kRows * kPhases * kQuarterBlock];
        for (int64_t p = 0; p < kParts; p++)
          correlate(rows, coefficients + p * q.coefficients, q.row_step(), q.row, parts + p * q.part + (b * q.width + group) * q.plane + t,
                    q.plane, q.channels, q.taps, frames, products[p], kQuarterBlock);
        for (int64_t c = 0; c < rows; c++)
          merge_parts(products[0] + c * kQuarterBlock, kRows * kQuarterBlock, frames, tile + c * kPhases * kQuarterBlock);
        finish(channel, rows, kPhases * t, left < kPhases * frames ? left : kPhases * frames, b, tile, kPhases * kQuarterBlock);
      }
  }
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
  float *planes = (float*)call->scratch, *behind = planes + plane_floats(s);
  T *y = data<T>(call->outputs[0]), *z = data<T>(call->outputs[1]);
  const float *w = f32(call->inputs[1]), *bias = f32(call->inputs[2]);
  const auto finish = [&](int64_t channel, int64_t rows, int64_t t, int64_t frames, int64_t b, float* tile, int64_t row) {
    const int64_t at = (b * s.time + t) * s.width + channel;
    for (int64_t r = 0; r < rows; r++)
      for (int64_t i = 0; i < frames; i += 16) store(tile + r * row + i, load(tile + r * row + i) + bias[channel + r]);
    if (z) from_tile(tile, row, rows, frames, z + at, s.width);
    if (with_gelu)
      for (int64_t r = 0; r < rows; r++)
        for (int64_t i = 0; i < frames; i += 16) store(tile + r * row + i, gelu(load(tile + r * row + i)));
    from_tile(tile, row, rows, frames, y + at, s.width);
  };
  to_planes(s, data<T>(call->inputs[0]), s.before_x, (Factor*)planes);
  if (in_parts(call)) {
    const Quarters q(call);
    split_samples(q, planes, behind);
    convolve_parts<false>(call, q, w, behind, behind + kParts * q.part, finish);
  } else {
    convolve(s, forward_coefficients(s, w, (Factor*)behind), (const Factor*)planes, finish);
  }
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

// For every tile of channels o and every channel i of their group: correlate_taps(o, rows, i, first tap, taps, tile [rows, most_taps]), added
// to dw.
template <class CorrelateTaps>
void add_to_weights(const Sizes& s, int64_t most_taps, float* dw, const CorrelateTaps& correlate_taps) {
  const int64_t tiles = (s.channels + kRows - 1) / kRows;
  parallel_chunks(s.groups * tiles, 1, [&](int64_t task, int64_t, int64_t) {
    const int64_t first = task / tiles * s.channels, r = task % tiles * kRows;
    const int64_t rows = s.channels - r < kRows ? s.channels - r : kRows;
    float tile[kRows * kPhases * kQuarterBlock];
    for (int64_t i = 0; i < s.channels; i++)
      for (int64_t j = 0; j < s.kernel; j += most_taps) {
        const int64_t taps = s.kernel - j < most_taps ? s.kernel - j : most_taps;
        correlate_taps(first + r, rows, first + i, j, taps, tile);
        for (int64_t o = 0; o < rows; o++) {
          float* to = dw + ((first + r + o) * s.channels + i) * s.kernel + j;
          for (int64_t e = 0; e < taps; e++) to[e] += tile[o * most_taps + e];
        }
      }
  });
}

template <class Factor>
void weight_gradient(const Sizes& s, const Factor* x, const Factor* dz, float* dw) {
  const int64_t step = s.width * s.plane;
  add_to_weights(s, kBlock, dw, [&](int64_t o, int64_t rows, int64_t i, int64_t j, int64_t taps, float* tile) {
    correlate<kNumbers<Factor>>(rows, dz + o * s.plane + s.before_z, s.plane, step, x + i * s.plane + j, step, s.batch, s.time, taps, tile, kBlock);
  });
}

// Out of line, so that GCC keeps the pointers to all rows in registers.
__attribute__((noinline)) void correlate_planes(const Quarters& q, int64_t rows, const float* dz, const float* x, int64_t taps, float* out) {
  const int64_t step = q.width * q.plane;
  correlate(rows, dz, q.plane, step, x, step, q.batch, q.frames, taps, out, kQuarterBlock);
}

void weight_gradient_of_parts(const Quarters& q, const float* x, const float* dz, float* dw) {
  add_to_weights(q, kPhases * kQuarterBlock, dw, [&](int64_t o, int64_t rows, int64_t i, int64_t j, int64_t taps, float* tile) {
    const int64_t quarter = (taps + kPhases - 1) / kPhases;
    float products[kParts][kRows * kQuarterBlock];
    for (int64_t p = 0; p < kParts; p++)
      correlate_planes(q, rows, dz + p * q.part + o * q.plane, x + p * q.part + i * q.plane + j / kPhases, quarter, products[p]);
    for (int64_t c = 0; c < rows; c++)
      merge_parts(products[0] + c * kQuarterBlock, kRows * kQuarterBlock, quarter, tile + c * kPhases * kQuarterBlock);
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
  float *x = (float*)call->scratch, *dz = x + plane_floats(s), *behind = dz + plane_floats(s);
  T* dx = data<T>(call->outputs[0]);
  const float* w = f32(call->inputs[1]);
  float* dw = f32(call->outputs[1]);
  const auto finish = [&](int64_t channel, int64_t rows, int64_t t, int64_t frames, int64_t b, float* tile, int64_t row) {
    from_tile(tile, row, rows, frames, dx + (b * s.time + t) * s.width + channel, s.width);
  };
  to_planes(s, data<T>(call->inputs[0]), s.before_x, (Factor*)x);
  to_planes(s, data<T>(call->inputs[2]), s.before_z, (Factor*)dz);
  if (in_parts(call)) {
    const Quarters q(call);
    float *parts = behind, *coefficients = parts + kParts * q.part, *threads = coefficients + kParts * q.part;
    if (dx) {
      split_samples(q, dz, parts);
      convolve_parts<true>(call, q, w, parts, threads, finish);
    }
    split_samples(q, x, parts);
    split_coefficients(q, dz, s.before_z, coefficients);
    weight_gradient_of_parts(q, parts, coefficients, dw);
  } else {
    if (dx) {
      pack<true>(s, w, kNumbers<Factor> * factors<Factor>(s.kernel), (typename Product<T>::Number*)behind);
      convolve(s, (const Factor*)behind, (const Factor*)dz, finish);
    }
    weight_gradient(s, (const Factor*)x, (const Factor*)dz, dw);
  }
  bias_gradient(s, (const Factor*)dz, f32(call->outputs[2]));
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(pos_conv, {"pos_conv", prepare, run, nullptr, pos_conv_cost}, {"pos_conv_grad", prepare_grad, run_grad, nullptr, pos_conv_grad_cost})
