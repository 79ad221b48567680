// gelu and gelu_grad: the contracts are in ops/elementwise.h.
#include "cpu/gelu.h"
#include "cpu/op.h"
#include "ops/elementwise.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 16384;

template <class T>
int run_as(hk_call* call) {
  gelu_all(data<T>(call->inputs[0]), data<T>(call->outputs[0]), elements(call->inputs[0]));
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

template <class T>
int run_grad_as(hk_call* call) {
  const T *z = data<T>(call->inputs[0]), *dy = data<T>(call->inputs[1]);
  T* dz = data<T>(call->outputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [&](int64_t, int64_t begin, int64_t end) {
    int64_t i = begin;
    for (; i + 16 <= end; i += 16) store(dz + i, gelu_derivative(load(z + i)) * load(dy + i));
    if (i < end) {
      const int n = (int)(end - i);
      store_n(dz + i, gelu_derivative(load_n(z + i, n)) * load_n(dy + i, n), n);
    }
  });
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(gelu, {"gelu", gelu_prepare, run, nullptr, gelu_cost}, {"gelu_grad", gelu_grad_prepare, run_grad, nullptr, gelu_cost})
