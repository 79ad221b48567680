// What the op files of every back-end share: attributes, shapes and the checks of `prepare`. Each back-end (each instruction set of
// the CPU) has its own copy, in the namespace HK_ISA.
// An op file NAME ends with HK_OP_TABLE(NAME, {"kind", prepare, run, release, cost}, ...).
#pragma once
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hubertkit/backend.h"
#include "hubertkit/bf16.h"
#include "hubertkit/philox.h"

namespace hk {
namespace HK_ISA {

// Fails `prepare` with a message: return fail(call, "attention: ...", ...).
__attribute__((format(printf, 2, 3))) static inline int fail(hk_call* call, const char* format, ...) {
  va_list args;
  va_start(args, format);
  vsnprintf(call->error, HK_ERROR_BYTES, format, args);
  va_end(args);
  return 1;
}

static inline double attribute(const hk_call* call, const char* name, double fallback) {
  for (int i = 0; i < call->n_attributes; i++)
    if (strcmp(call->attributes[i].name, name) == 0) return call->attributes[i].value;
  return fallback;
}

static inline bool present(const hk_tensor& t) { return t.rank >= 0; }
static inline int64_t elements(const hk_tensor& t) {
  int64_t n = 1;
  for (int i = 0; i < t.rank; i++) n *= t.shape[i];
  return n;
}
static inline int64_t last(const hk_tensor& t) { return t.rank > 0 ? t.shape[t.rank - 1] : 1; }
static inline int64_t rows(const hk_tensor& t) { return last(t) ? elements(t) / last(t) : 0; }  // all but the last dimension
static inline float*   f32(const hk_tensor& t) { return (float*)t.data; }
static inline int32_t* i32(const hk_tensor& t) { return (int32_t*)t.data; }
static inline uint8_t* u8(const hk_tensor& t) { return (uint8_t*)t.data; }
template <class T>
static inline T* data(const hk_tensor& t) { return (T*)t.data; }  // NULL when absent
static inline bool is_bf16(const hk_tensor& t) { return t.dtype == HK_BF16; }
static inline hk_dtype dtype_of(const hk_tensor& t) { return is_bf16(t) ? HK_BF16 : HK_F32; }
static inline bool is_activation(const hk_tensor& t) { return t.dtype == HK_F32 || t.dtype == HK_BF16; }
static inline size_t element_bytes(const hk_tensor& t) { return t.dtype == HK_BF16 ? 2 : t.dtype == HK_U8 ? 1 : 4; }

static inline const char* dtype_name(int dtype) {
  static const char* names[] = {"f32", "bf16", "i32", "u8"};
  return names[dtype & 3];
}

// "f32[2, 37, 48]" into a buffer of at least 96 bytes; returns the buffer.
static inline const char* describe(const hk_tensor& t, char* out) {
  if (!present(t)) return strcpy(out, "absent");
  int n = snprintf(out, 96, "%s[", dtype_name(t.dtype));
  for (int i = 0; i < t.rank && n < 72; i++) n += snprintf(out + n, 96 - n, i ? ", %lld" : "%lld", (long long)t.shape[i]);
  snprintf(out + n, 96 - n, "]");
  return out;
}

// 0 when tensor `t` is `dtype` with exactly these dimensions; else fills call->error: `expect(call, "linear", "weight", w, HK_F32, {o, i})`.
static inline int expect(hk_call* call, const char* op, const char* what, const hk_tensor& t, int dtype,
                         const int64_t* shape, int rank) {
  bool good = t.rank == rank && t.dtype == dtype;
  for (int i = 0; good && i < rank; i++) good = t.shape[i] == shape[i];
  if (good) return 0;
  hk_tensor want = {};
  want.dtype = dtype;
  want.rank = rank;
  for (int i = 0; i < rank; i++) want.shape[i] = shape[i];
  char a[96], b[96];
  return fail(call, "%s: %s must be %s, got %s", op, what, describe(want, a), describe(t, b));
}
template <int RANK>
static inline int expect(hk_call* call, const char* op, const char* what, const hk_tensor& t, int dtype,
                         const int64_t (&shape)[RANK]) {
  return expect(call, op, what, t, dtype, shape, RANK);
}
static inline int expect_counts(hk_call* call, const char* op, int inputs, int outputs) {
  if (call->n_inputs == inputs && call->n_outputs == outputs) return 0;
  return fail(call, "%s takes %d inputs and %d outputs, got %d and %d", op, inputs, outputs, call->n_inputs, call->n_outputs);
}

// 0 when `t` has this dtype, a rank of at least `min_rank` and no empty dimension (at most 2^40 elements).
static inline int expect_dense(hk_call* call, const char* op, const char* what, const hk_tensor& t, int dtype, int min_rank) {
  char text[96];
  if (t.dtype != dtype || t.rank < min_rank || t.rank > HK_MAX_RANK)
    return fail(call, "%s: %s must be %s of rank %d or more, got %s", op, what, dtype_name(dtype), min_rank, describe(t, text));
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
  char text[96];
  if (!is_activation(t)) return fail(call, "%s: %s must be f32 or bf16, got %s", op, what, describe(t, text));
  return expect_dense(call, op, what, t, t.dtype, min_rank);
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

static inline bool has_gelu(const hk_call* call) { return attribute(call, "gelu", 0) != 0; }

// 0 when attribute "gelu" is 0 or 1, and the value before it, z, an output only with 1.
static inline int expect_gelu(hk_call* call, const char* op, const hk_tensor& z) {
  if (expect_integer(call, op, "gelu", 0, 0, 1)) return 1;
  return present(z) && !has_gelu(call) ? fail(call, "%s: z is an output only with gelu = 1", op) : 0;
}

// A length read from a tensor cannot be trusted: into [0, frames].
HK_ANYWHERE static inline int64_t clamp_length(int32_t length, int64_t frames) {
  return length < 0 ? 0 : length > frames ? frames : length;
}

}  // namespace HK_ISA
}  // namespace hk

// RUN<element type of `tensor`>(arguments), for ops whose activations are f32 or bf16.
#define HK_BY_TYPE(tensor, RUN, ...) (is_bf16(tensor) ? RUN<bf16>(__VA_ARGS__) : RUN<float>(__VA_ARGS__))

#define HK_OP_TABLE(name, ...)                                              \
  namespace hk { namespace HK_ISA {                                         \
  static const hk_op name##_table[] = {__VA_ARGS__};                        \
  extern const hk_op* const name##_ops;                                     \
  extern const int name##_op_count;                                         \
  const hk_op* const name##_ops = name##_table;                             \
  const int name##_op_count = (int)(sizeof(name##_table) / sizeof(hk_op));  \
  } }
