// add, scale, cast, select (the gate is known on the host, so it is a copy), gelu, gelu_grad and dropout (one thread makes one Philox block, four
// elements): the contracts are in ops/elementwise.h.
#include "cuda/activate.cuh"
#include "cuda/cast.cuh"
#include "cuda/dropout.cuh"
#include "ops/elementwise.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Add {
  __device__ float operator()(float a, float b) const { return a + b; }
};
struct Scale {
  float factor;
  __device__ float operator()(float x) const { return factor * x; }
};
struct GeluGrad {
  __device__ float operator()(float z, float dy) const { return dy * gelu_derivative(z); }
};

// Element by element from x, or from both inputs, into the first output.
template <class T, class F>
int map_one(hk_call* call, F f) {
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  map(stream_of(call), f, elements(y), data<T>(y), (const T*)x.data);
  return launched(call);
}
template <class T, class F>
int map_two(hk_call* call, F f) {
  const hk_tensor &a = call->inputs[0], &b = call->inputs[1], &y = call->outputs[0];
  map(stream_of(call), f, elements(y), data<T>(y), (const T*)a.data, (const T*)b.data);
  return launched(call);
}

template <class T>
__global__ void drop_kernel(Dropout dropout, const T* x, int64_t n, T* y) {
  const int64_t block = element_index(), first = 4 * block;
  if (first >= n) return;
  const Philox4 words = dropout.words((uint64_t)block);
  if (first + 4 <= n) {
    auto kept = load_neighbours<4>(x + first);
#pragma unroll
    for (int j = 0; j < 4; j++) kept.x[j] = kept.x[j] * dropout.factor(words.word[j]);
    store_neighbours(kept, y + first);
  } else {
    for (int64_t i = first; i < n; i++) y[i] = x[i] * dropout.factor(words.word[i % 4]);
  }
}

template <class T>
int add_as(hk_call* call) { return map_two<T>(call, Add()); }
int add_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_as, call); }

template <class T>
int scale_as(hk_call* call) { return map_one<T>(call, Scale{(float)attribute(call, "factor", 1)}); }
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
int gelu_grad_as(hk_call* call) { return map_two<T>(call, GeluGrad()); }
int gelu_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], gelu_grad_as, call); }

template <class T>
int dropout_as(hk_call* call) {
  const Dropout dropout(call);
  if (!dropout.on()) return copy_to_output(call, call->inputs[0]);
  const int64_t n = elements(call->inputs[0]);
  HK_LAUNCH(drop_kernel<T>, element_grid(blocks_for(n, 4)), dim3(kBlock), 0, stream_of(call), dropout, data<T>(call->inputs[0]), n,
            data<T>(call->outputs[0]));
  return launched(call);
}
int dropout_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], dropout_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(elementwise, {"add", add_prepare, add_run, nullptr, binary_cost}, {"scale", scale_prepare, scale_run, nullptr, unary_cost},
            {"cast", cast_prepare, cast_run, nullptr, unary_cost}, {"select", select_prepare, select_run, nullptr, unary_cost},
            {"gelu", gelu_prepare, gelu_run, nullptr, gelu_cost}, {"gelu_grad", gelu_grad_prepare, gelu_grad_run, nullptr, gelu_cost},
            {"dropout", dropout_prepare, dropout_run, nullptr, unary_cost})
