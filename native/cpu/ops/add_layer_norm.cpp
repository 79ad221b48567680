// add_layer_norm: the end of a post-norm block in one pass. s = x + dropout(y), h = layer_norm(s).
//   x, y[.., D], gamma[D], beta[D]  ->  h, s[.., D], stats[rows, 2]
// add_layer_norm_grad: s, gamma, stats, dh, ds? (a gradient that reaches s past the norm) -> dx = whole gradient of s,
// dy? = dropout mask applied to dx (absent without dropout: it is dx), dgamma +=, dbeta +=.
// The mask is made again from its counters, never stored.
#include "cpu/dropout.h"
#include "cpu/norm.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kPiece = 256;  // dropout words are made for this many elements at a time

// out = base (may be NULL) + dropout(y) for the elements that start at number `first`.
template <class T>
void dropout_row(const Dropout& dropout, uint64_t first, int64_t width, const T* base, const T* y, T* out) {
  alignas(64) uint32_t buffer[kPiece + 64 + 16];
  for (int64_t begin = 0; begin < width; begin += kPiece) {
    const int64_t end = begin + kPiece < width ? begin + kPiece : width;
    const uint32_t* words = dropout.on() ? dropout.words(first + (uint64_t)begin, end - begin, buffer) : nullptr;
    for (int64_t i = begin; i < end; i += 16) {
      const int64_t left = end - i;
      v16 v = load_tail(y + i, left);
      if (words) v = dropout.apply(v, words + (i - begin));
      if (base) v += load_tail(base + i, left);
      store_tail(out + i, v, left);
    }
  }
}

int add_norm_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "add_layer_norm";
  if (expect_counts(call, op, 4, 3)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_activation(call, op, "x", x, 1) || expect_eps(call, op) || expect_dropout(call, op)) return 1;
  if (expect_like(call, op, "y", call->inputs[1], x)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[2], last(x)) || expect_channels(call, op, "beta", call->inputs[3], last(x))) return 1;
  if (expect_like(call, op, "h", call->outputs[0], x) || expect_like(call, op, "s", call->outputs[1], x)) return 1;
  return expect_stats(call, op, call->outputs[2], x);
}

template <class T>
int add_norm_as(hk_call* call) {
  const int64_t width = last(call->inputs[0]);
  const T *x = data<T>(call->inputs[0]), *y = data<T>(call->inputs[1]);
  const float *gamma = f32(call->inputs[2]), *beta = f32(call->inputs[3]);
  T *h = data<T>(call->outputs[0]), *s = data<T>(call->outputs[1]);
  float* stats = f32(call->outputs[2]);
  const float eps = (float)attribute(call, "eps", 1e-5);
  const Dropout dropout(call);
  parallel_chunks(rows(call->inputs[0]), 16, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      dropout_row(dropout, (uint64_t)(r * width), width, x + r * width, y + r * width, s + r * width);
      norm_row(width, s + r * width, gamma, beta, eps, h + r * width, stats + r * 2);
    }
  });
  return 0;
}
int add_norm_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_norm_as, call); }

hk_cost add_norm_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {9 * n, 4.0 * element_bytes(call->inputs[0]) * n};
}

int add_norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "add_layer_norm_grad";
  if (expect_counts(call, op, 5, 4)) return 1;
  const hk_tensor &s = call->inputs[0], &ds = call->inputs[4], &dy = call->outputs[1];
  const hk_tensor &dgamma = call->outputs[2], &dbeta = call->outputs[3];
  if (expect_activation(call, op, "s", s, 1) || expect_dropout(call, op)) return 1;
  if (expect_channels(call, op, "gamma", call->inputs[1], last(s)) || expect_stats(call, op, call->inputs[2], s)) return 1;
  if (expect_like(call, op, "dh", call->inputs[3], s) || expect_like(call, op, "dx", call->outputs[0], s)) return 1;
  if (present(ds) && expect_like(call, op, "ds", ds, s)) return 1;
  if (present(dy) && expect_like(call, op, "dy", dy, s)) return 1;
  if (present(dgamma) && expect_channels(call, op, "dgamma", dgamma, last(s))) return 1;
  if (present(dbeta) && expect_channels(call, op, "dbeta", dbeta, last(s))) return 1;
  *scratch_bytes = (size_t)(partial_chunks(rows(s)) * 2 * last(s)) * sizeof(float);
  return 0;
}

template <class T>
int add_norm_grad_as(hk_call* call) {
  const int64_t width = last(call->inputs[0]), count = rows(call->inputs[0]);
  const T *s = data<T>(call->inputs[0]), *dh = data<T>(call->inputs[3]), *ds = data<T>(call->inputs[4]);
  const float *gamma = f32(call->inputs[1]), *stats = f32(call->inputs[2]);
  T *dx = data<T>(call->outputs[0]), *dy = data<T>(call->outputs[1]);
  float* partials = (float*)call->scratch;
  const Dropout dropout(call);
  parallel_chunks(count, partial_grain(count), [=](int64_t chunk, int64_t begin, int64_t end) {
    float* sums = partials + chunk * 2 * width;
    memset(sums, 0, (size_t)(2 * width) * sizeof(float));
    for (int64_t r = begin; r < end; r++) {
      const int64_t at = r * width;
      norm_row_grad(width, s + at, gamma, stats + r * 2, dh + at, ds ? ds + at : nullptr, dx + at, sums, sums + width);
      if (dy) dropout_row(dropout, (uint64_t)at, width, (const T*)nullptr, dx + at, dy + at);
    }
  });
  add_norm_partials(partials, count, width, call->outputs[2], call->outputs[3]);
  return 0;
}
int add_norm_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_norm_grad_as, call); }

hk_cost add_norm_grad_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {18 * n, (3.0 + present(call->inputs[4]) + present(call->outputs[1])) * element_bytes(call->inputs[0]) * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(add_layer_norm, {"add_layer_norm", add_norm_prepare, add_norm_run, nullptr, add_norm_cost},
            {"add_layer_norm_grad", add_norm_grad_prepare, add_norm_grad_run, nullptr, add_norm_grad_cost})
