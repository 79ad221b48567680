// add, scale, cast, select (the gate is known on the host, so it is a copy), gelu, gelu_grad and dropout (one thread makes one Philox block, four
// elements): the contracts are in ops/elementwise.h.
#include "cuda/activate.cuh"
#include "cuda/cast.cuh"
#include "cuda/dropout.cuh"
#include "ops/elementwise.h"

namespace hk {
namespace HK_ISA {
namespace {

template <class F>
__global__ void map_kernel(F f, int64_t n) {
  const int64_t i = element_index();
  if (i < n) f(i);
}
template <class F>
int map(hk_call* call, F f, int64_t n) {
  HK_LAUNCH(map_kernel<F>, element_grid(n), dim3(kBlock), 0, stream_of(call), f, n);
  return launched(call);
}

template <class T>
struct Add {
  const T *a, *b;
  T* y;
  __device__ void operator()(int64_t i) const { y[i] = a[i] + b[i]; }
};
template <class T>
struct Scale {
  const T* x;
  T* y;
  float factor;
  __device__ void operator()(int64_t i) const { y[i] = factor * x[i]; }
};
template <class T>
struct GeluGrad {
  const T *z, *dy;
  T* dz;
  __device__ void operator()(int64_t i) const { dz[i] = dy[i] * gelu_derivative(z[i]); }
};
template <class T>
struct Drop {
  Dropout dropout;
  const T* x;
  T* y;
  int64_t n;
  __device__ void operator()(int64_t block) const {
    const Philox4 words = dropout.words((uint64_t)block);
    for (int j = 0; j < 4; j++) {
      const int64_t i = block * 4 + j;
      if (i < n) y[i] = x[i] * dropout.factor(words.word[j]);
    }
  }
};

template <class T>
int add_as(hk_call* call) {
  return map(call, Add<T>{data<T>(call->inputs[0]), data<T>(call->inputs[1]), data<T>(call->outputs[0])}, elements(call->outputs[0]));
}
int add_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_as, call); }

template <class T>
int scale_as(hk_call* call) {
  return map(call, Scale<T>{data<T>(call->inputs[0]), data<T>(call->outputs[0]), (float)attribute(call, "factor", 1)}, elements(call->outputs[0]));
}
int scale_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], scale_as, call); }

template <class T>
int cast_from(hk_call* call) {
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  if (is_bf16(y)) cast(stream_of(call), data<T>(x), data<bf16>(y), elements(x));
  else cast(stream_of(call), data<T>(x), f32(y), elements(x));
  return launched(call);
}
int cast_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], cast_from, call); }

int copy_to_output(hk_call* call, const hk_tensor& from) {
  cudaMemcpyAsync(call->outputs[0].data, from.data, (size_t)elements(from) * element_bytes(from), cudaMemcpyDeviceToDevice, stream_of(call));
  return launched(call);
}
int select_run(hk_call* call) { return copy_to_output(call, selected(call)); }

int gelu_run(hk_call* call) {
  activate(stream_of(call), call->inputs[0], call->outputs[0]);
  return launched(call);
}

template <class T>
int gelu_grad_as(hk_call* call) {
  return map(call, GeluGrad<T>{data<T>(call->inputs[0]), data<T>(call->inputs[1]), data<T>(call->outputs[0])}, elements(call->outputs[0]));
}
int gelu_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], gelu_grad_as, call); }

template <class T>
int dropout_as(hk_call* call) {
  const Dropout dropout(call);
  if (!dropout.on()) return copy_to_output(call, call->inputs[0]);
  const int64_t n = elements(call->inputs[0]);
  return map(call, Drop<T>{dropout, data<T>(call->inputs[0]), data<T>(call->outputs[0]), n}, blocks_for(n, 4));
}
int dropout_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], dropout_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(elementwise, {"add", add_prepare, add_run, nullptr, binary_cost}, {"scale", scale_prepare, scale_run, nullptr, unary_cost},
            {"cast", cast_prepare, cast_run, nullptr, unary_cost}, {"select", select_prepare, select_run, nullptr, unary_cost},
            {"gelu", gelu_prepare, gelu_run, nullptr, gelu_cost}, {"gelu_grad", gelu_grad_prepare, gelu_grad_run, nullptr, gelu_cost},
            {"dropout", dropout_prepare, dropout_run, nullptr, unary_cost})
