// What the losses share: sums over one row of logits, in an order that depends on its length alone.
#pragma once
#include "cpu/simd.h"

namespace hk {
namespace HK_ISA {

static inline v16 load_or(const float* p, int64_t n, float rest) {  // up to 16 floats, the others are `rest`
  if (n >= 16) return load(p);
  float t[16];
  for (int i = 0; i < 16; i++) t[i] = i < n ? p[i] : rest;
  return load(t);
}

template <class T>
static inline float dot(const T* a, const T* b, int64_t n) {
  v16 s = {};
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) s += load(a + i) * load(b + i);
  if (i < n) s += load_n(a + i, (int)(n - i)) * load_n(b + i, (int)(n - i));
  return sum(s);
}

static inline float row_max(const float* x, int64_t n) {
  v16 m = splat(-INFINITY);
  for (int64_t i = 0; i < n; i += 16) m = max(load_or(x + i, n - i, -INFINITY), m);
  return max_of(m);
}

// log(sum(exp(x))), given the largest entry. NaN when an entry is NaN.
static inline float log_sum_exp(const float* x, int64_t n, float largest) {
  if (largest == -INFINITY) largest = 0;
  v16 s = {};
  for (int64_t i = 0; i < n; i += 16) s += exp(load_or(x + i, n - i, -INFINITY) - largest);
  return largest + __builtin_logf(sum(s));
}

// y = (exp(x - lse)) * weight: the gradient of `weight` times the log-sum-exp. In place is fine.
static inline void weighted_softmax(const float* x, int64_t n, float lse, float weight, float* y) {
  int64_t i = 0;
  for (; i + 16 <= n; i += 16) store(y + i, exp(load(x + i) - lse) * weight);
  if (i < n) store_n(y + i, exp(load_n(x + i, (int)(n - i)) - lse) * weight, (int)(n - i));
}

// Whether `label` is the first of the largest entries; never when all entries are equal (a collapsed model is not right by chance).
static inline bool is_correct(const float* x, int64_t n, int64_t label, float largest) {
  if (x[label] != largest) return false;
  for (int64_t i = 0; i < label; i++)
    if (x[i] == largest) return false;
  for (int64_t i = 0; i < n; i++)
    if (x[i] != largest) return true;
  return false;
}

}  // namespace HK_ISA
}  // namespace hk
