// add, scale, cast and select: the contracts are in ops/elementwise.h.
#include "cpu/op.h"
#include "ops/elementwise.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 16384;

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

int select_run(hk_call* call) {
  const uint8_t* from = u8(selected(call));
  uint8_t* y = u8(call->outputs[0]);
  const size_t size = element_bytes(call->inputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    memcpy(y + begin * size, from + begin * size, (size_t)(end - begin) * size);
  });
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(elementwise, {"add", add_prepare, add_run, nullptr, binary_cost}, {"scale", scale_prepare, scale_run, nullptr, unary_cost},
            {"cast", cast_prepare, cast_run, nullptr, unary_cost}, {"select", select_prepare, select_run, nullptr, unary_cost})
