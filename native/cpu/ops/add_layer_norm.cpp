// add_layer_norm and its gradient: the contract is in ops/norm.h.
#include "cpu/dropout.h"
#include "cpu/norm.h"
#include "ops/norm.h"

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

template <class T>
int add_norm_as(hk_call* call) {
  const int64_t width = last(call->inputs[0]);
  const T *x = data<T>(call->inputs[0]), *y = data<T>(call->inputs[1]);
  const float *gamma = f32(call->inputs[2]), *beta = f32(call->inputs[3]);
  T *h = data<T>(call->outputs[0]), *s = data<T>(call->outputs[1]);
  float* stats = f32(call->outputs[2]);
  const float eps = (float)eps_of(call);
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

int add_norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_add_layer_norm_grad(call)) return 1;
  *scratch_bytes = norm_partial_bytes(call->inputs[0]);
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

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(add_layer_norm, {"add_layer_norm", add_layer_norm_prepare, add_norm_run, nullptr, add_layer_norm_cost},
            {"add_layer_norm_grad", add_norm_grad_prepare, add_norm_grad_run, nullptr, add_layer_norm_grad_cost})
