// One row of layer norm, forward and backward: what layer_norm and add_layer_norm share.
//   y = (x - mean) / sqrt(variance + eps) * gamma + beta, biased variance, two passes over the row (it lies in the L1 cache).
#pragma once
#include "cpu/op.h"
#include "cpu/partials.h"

namespace hk {
namespace HK_ISA {

// 1 in the first `left` lanes, 0 in the others.
static inline v16 lanes(int64_t left) {
  const v16 count = {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15};
  return count < (float)left ? splat(1.0f) : v16{};
}

// stats = {mean, 1 / standard deviation}.
template <class T>
static inline void norm_row(int64_t width, const T* x, const float* gamma, const float* beta, float eps, T* y,
                            float* stats) {
  v16 total = {};
  for (int64_t i = 0; i < width; i += 16) total += load_tail(x + i, width - i);
  const float mean = sum(total) / (float)width;
  v16 square = {};
  for (int64_t i = 0; i < width; i += 16) {
    const v16 d = (load_tail(x + i, width - i) - mean) * (width - i >= 16 ? splat(1.0f) : lanes(width - i));
    square += d * d;
  }
  const float inverse = 1.0f / sqrtf(sum(square) / (float)width + eps);
  for (int64_t i = 0; i < width; i += 16) {
    const int64_t left = width - i;
    const v16 unit = (load_tail(x + i, left) - mean) * inverse;
    store_tail(y + i, unit * load_tail(gamma + i, left) + load_tail(beta + i, left), left);
  }
  stats[0] = mean;
  stats[1] = inverse;
}

// dx = (g - mean(g) - unit * mean(g * unit)) / deviation (+ direct), g = dy * gamma; dgamma += dy * unit, dbeta += dy.
// `direct` may be NULL: a gradient that reaches x past the norm.
template <class T>
static inline void norm_row_grad(int64_t width, const T* x, const float* gamma, const float* stats, const T* dy, const T* direct, T* dx, float* dgamma,
                                 float* dbeta) {
  const float mean = stats[0], inverse = stats[1];
  v16 sum_g = {}, sum_gu = {};
  for (int64_t i = 0; i < width; i += 16) {
    const int64_t left = width - i;
    const v16 unit = (load_tail(x + i, left) - mean) * inverse;
    const v16 upstream = load_tail(dy + i, left), g = upstream * load_tail(gamma + i, left);
    sum_g += g;
    sum_gu += g * unit;
    store_tail(dgamma + i, load_tail(dgamma + i, left) + upstream * unit, left);
    store_tail(dbeta + i, load_tail(dbeta + i, left) + upstream, left);
  }
  const float mean_g = sum(sum_g) / (float)width, mean_gu = sum(sum_gu) / (float)width;
  for (int64_t i = 0; i < width; i += 16) {
    const int64_t left = width - i;
    const v16 unit = (load_tail(x + i, left) - mean) * inverse;
    const v16 g = load_tail(dy + i, left) * load_tail(gamma + i, left);
    v16 d = (g - mean_g - unit * mean_gu) * inverse;
    if (direct) d += load_tail(direct + i, left);
    store_tail(dx + i, d, left);
  }
}

static inline size_t norm_partial_bytes(const hk_tensor& x) { return (size_t)(partial_chunks(rows(x)) * 2 * last(x)) * sizeof(float); }

// Adds the chunks' sums, partials[chunks, 2, width], to whichever of dgamma and dbeta is wanted.
static inline void add_norm_partials(const float* partials, int64_t rows, int64_t width, const hk_tensor& dgamma,
                                     const hk_tensor& dbeta) {
  if (present(dgamma)) add_partials(partials, partial_chunks(rows), 2 * width, width, f32(dgamma));
  if (present(dbeta)) add_partials(partials + width, partial_chunks(rows), 2 * width, width, f32(dbeta));
}

}  // namespace HK_ISA
}  // namespace hk
