// GELU (exact erf form) and its gradient, element by element.
//   gelu       x [..] -> y = x Phi(x)
//   gelu_grad  z [..], dy [..] -> dz = dy (Phi(z) + z phi(z))
#include "cpu/gelu.h"
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 16384;

int check(hk_call* call, const char* op, int inputs) {
  if (expect_counts(call, op, inputs, 1)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (!present(x) || !is_activation(x)) {
    char text[96];
    return fail(call, "%s: the input must be f32 or bf16, got %s", op, describe(x, text));
  }
  return (inputs == 2 && expect(call, op, "dy", call->inputs[1], x.dtype, x.shape, x.rank)) ||
         expect(call, op, "the output", call->outputs[0], x.dtype, x.shape, x.rank);
}
int prepare(hk_call* call, size_t*, void**) { return check(call, "gelu", 1); }
int prepare_grad(hk_call* call, size_t*, void**) { return check(call, "gelu_grad", 2); }

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

hk_cost cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {30.0 * n, element_bytes(call->inputs[0]) * n * (call->n_inputs + 1)};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(gelu, {"gelu", prepare, run, nullptr, cost}, {"gelu_grad", prepare_grad, run_grad, nullptr, cost})
