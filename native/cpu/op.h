// What every file of native/cpu/ops includes: checks for `prepare`, parallel loops, attributes.
// A file native/cpu/ops/NAME.cpp ends with HK_OP_TABLE(NAME, {"kind", prepare, run, release, cost}, ...).
#pragma once
#include <omp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "hubertkit/backend.h"
#include "hubertkit/philox.h"
#include "cpu/simd.h"

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
static inline size_t element_bytes(const hk_tensor& t) { return t.dtype == HK_BF16 ? 2 : t.dtype == HK_U8 ? 1 : 4; }
static inline bool is_activation(const hk_tensor& t) { return t.dtype == HK_F32 || t.dtype == HK_BF16; }

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

// Calls body(begin, end) over [0, n) split into fixed chunks: the split depends on n and `grain` alone, never on the number
// of threads, so a chunk's partial sums are the same for any thread count.
template <class Body>
static inline void parallel_chunks(int64_t n, int64_t grain, const Body& body) {
  const int64_t chunks = (n + grain - 1) / grain;
#pragma omp parallel for schedule(static) if (chunks > 1)
  for (int64_t c = 0; c < chunks; c++) {
    const int64_t begin = c * grain, end = begin + grain < n ? begin + grain : n;
    body(c, begin, end);
  }
}

}  // namespace HK_ISA
}  // namespace hk

// RUN<element type of `tensor`>(call), for ops whose activations are f32 or bf16.
#define HK_BY_TYPE(tensor, RUN, call) (is_bf16(tensor) ? RUN<bf16>(call) : RUN<float>(call))

#define HK_OP_TABLE(name, ...)                                              \
  namespace hk { namespace HK_ISA {                                         \
  static const hk_op name##_table[] = {__VA_ARGS__};                        \
  extern const hk_op* const name##_ops;                                     \
  extern const int name##_op_count;                                         \
  const hk_op* const name##_ops = name##_table;                             \
  const int name##_op_count = (int)(sizeof(name##_table) / sizeof(hk_op));  \
  } }
