// add: a + b.  scale: factor * x.  cast: x as another of f32 and bf16.  select: gates[gate] ? a : b (how LayerDrop leaves a block out).
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 16384;

int expect_unary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 1, 1) || expect_activation(call, op, "x", call->inputs[0], 0)) return 1;
  return expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}
int expect_binary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 2, 1) || expect_activation(call, op, "a", call->inputs[0], 0)) return 1;
  return expect_like(call, op, "b", call->inputs[1], call->inputs[0]) || expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}

int add_prepare(hk_call* call, size_t* scratch_bytes, void** state) { return expect_binary(call, "add"); }

template <class T>
int add_as(hk_call* call) {
  const T *a = data<T>(call->inputs[0]), *b = data<T>(call->inputs[1]);
  T* y = data<T>(call->outputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i += 16) store_tail(y + i, load_tail(a + i, end - i) + load_tail(b + i, end - i), end - i);
  });
  return 0;
}
int add_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_as, call); }

int scale_prepare(hk_call* call, size_t* scratch_bytes, void** state) { return expect_unary(call, "scale"); }

template <class T>
int scale_as(hk_call* call) {
  const T* x = data<T>(call->inputs[0]);
  T* y = data<T>(call->outputs[0]);
  const float factor = (float)attribute(call, "factor", 1);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    map(x, y, begin, end, [=](v16 v) { return factor * v; });
  });
  return 0;
}
int scale_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], scale_as, call); }

int cast_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_counts(call, "cast", 1, 1) || expect_activation(call, "cast", "x", call->inputs[0], 0)) return 1;
  const hk_tensor& y = call->outputs[0];
  return expect(call, "cast", "y", y, is_bf16(y) ? HK_BF16 : HK_F32, call->inputs[0].shape, call->inputs[0].rank);
}

template <class T, class U>
int cast_as(hk_call* call) {
  const T* x = data<T>(call->inputs[0]);
  U* y = data<U>(call->outputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    map(x, y, begin, end, [](v16 v) { return v; });
  });
  return 0;
}
template <class T>
int cast_from(hk_call* call) { return is_bf16(call->outputs[0]) ? cast_as<T, bf16>(call) : cast_as<T, float>(call); }
int cast_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], cast_from, call); }

int select_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  return expect_binary(call, "select") || expect_integer(call, "select", "gate", -1, 0, call->n_gates - 1);
}

int select_run(hk_call* call) {
  const uint8_t* from = u8(call->inputs[call->gates[(int)attribute(call, "gate", -1)] ? 0 : 1]);
  uint8_t* y = u8(call->outputs[0]);
  const size_t size = element_bytes(call->inputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    memcpy(y + begin * size, from + begin * size, (size_t)(end - begin) * size);
  });
  return 0;
}

hk_cost binary_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 3.0 * element_bytes(call->inputs[0]) * n};
}
hk_cost unary_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, (element_bytes(call->inputs[0]) + element_bytes(call->outputs[0])) * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(elementwise, {"add", add_prepare, add_run, nullptr, binary_cost}, {"scale", scale_prepare, scale_run, nullptr, unary_cost},
            {"cast", cast_prepare, cast_run, nullptr, unary_cost}, {"select", select_prepare, select_run, nullptr, unary_cost})
