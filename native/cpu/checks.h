// Checks that many ops share in `prepare`.
#pragma once
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {

// 0 when `t` has this dtype, a rank of at least `min_rank` and no empty dimension (at most 2^40 elements).
static inline int expect_dense(hk_call* call, const char* op, const char* what, const hk_tensor& t, int dtype, int min_rank) {
  char text[96];
  if (t.dtype != dtype || t.rank < min_rank || t.rank > HK_MAX_RANK)
    return fail(call, "%s: %s must be %s of rank %d or more, got %s", op, what,
                dtype_name(dtype), min_rank, describe(t, text));
  double n = 1;
  bool positive = true;
  for (int i = 0; i < t.rank; i++) {
    n *= (double)t.shape[i];
    positive = positive && t.shape[i] > 0;
  }
  if (positive && n <= 1099511627776.0) return 0;
  return fail(call, "%s: %s must have no empty dimension and at most 2^40 elements, got %s", op, what, describe(t, text));
}

// 0 when `t` is an activation: f32 or bf16, as expect_dense.
static inline int expect_activation(hk_call* call, const char* op, const char* what, const hk_tensor& t, int min_rank) {
  return expect_dense(call, op, what, t, t.dtype == HK_BF16 ? HK_BF16 : HK_F32, min_rank);
}

static inline int expect_like(hk_call* call, const char* op, const char* what, const hk_tensor& t, const hk_tensor& like) {
  return expect(call, op, what, t, like.dtype, like.shape, like.rank);
}

// 0 when attribute `name` is a whole number in [low, high].
static inline int expect_integer(hk_call* call, const char* op, const char* name, double fallback, double low, double high) {
  const double v = attribute(call, name, fallback);
  if (v >= low && v <= high && v == floor(v)) return 0;
  return fail(call, "%s: %s must be a whole number from %.0f to %.0f, got %g", op, name, low, high, v);
}

// 0 when attribute "dropout" is a probability in [0, 1) and "stream" a 32-bit number.
static inline int expect_dropout(hk_call* call, const char* op) {
  const double p = attribute(call, "dropout", 0);
  if (!(p >= 0 && p < 1)) return fail(call, "%s: dropout must be in [0, 1), got %g", op, p);
  return expect_integer(call, op, "stream", 0, 0, 4294967295.0);
}

// A length read from a tensor cannot be trusted: into [0, frames].
static inline int64_t clamp_length(int32_t length, int64_t frames) {
  return length < 0 ? 0 : length > frames ? frames : length;
}

}  // namespace HK_ISA
}  // namespace hk
