// add: a + b.  scale: factor * x.  select: gates[gate] ? a : b (how LayerDrop leaves a block out; the gate is known on the host, so it
// is a copy).  gelu, gelu_grad: exact erf form.  dropout: see native/cpu/ops/dropout.cpp; one thread makes one Philox block, four elements.
#include "cuda/dropout.cuh"
#include "cuda/gelu.cuh"
#include "cuda/reduce.cuh"

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

int expect_unary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 1, 1) || expect_dense(call, op, "x", call->inputs[0], HK_F32, 0)) return 1;
  return expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}
int expect_binary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 2, 1) || expect_dense(call, op, "a", call->inputs[0], HK_F32, 0)) return 1;
  return expect_like(call, op, "b", call->inputs[1], call->inputs[0]) || expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}

struct Add {
  const float *a, *b;
  float* y;
  __device__ void operator()(int64_t i) const { y[i] = a[i] + b[i]; }
};
struct Scale {
  const float* x;
  float* y;
  float factor;
  __device__ void operator()(int64_t i) const { y[i] = factor * x[i]; }
};
struct Gelu {
  const float* x;
  float* y;
  __device__ void operator()(int64_t i) const { y[i] = gelu(x[i]); }
};
struct GeluGrad {
  const float *z, *dy;
  float* dz;
  __device__ void operator()(int64_t i) const { dz[i] = dy[i] * gelu_derivative(z[i]); }
};
struct Drop {
  Dropout dropout;
  const float* x;
  float* y;
  int64_t n;
  __device__ void operator()(int64_t block) const {
    const Philox4 words = dropout.words((uint64_t)block);
    for (int j = 0; j < 4; j++) {
      const int64_t i = block * 4 + j;
      if (i < n) y[i] = x[i] * dropout.factor(words.word[j]);
    }
  }
};

int add_prepare(hk_call* call, size_t*, void**) { return expect_binary(call, "add"); }
int add_run(hk_call* call) {
  return map(call, Add{f32(call->inputs[0]), f32(call->inputs[1]), f32(call->outputs[0])}, elements(call->outputs[0]));
}

int scale_prepare(hk_call* call, size_t*, void**) { return expect_unary(call, "scale"); }
int scale_run(hk_call* call) {
  return map(call, Scale{f32(call->inputs[0]), f32(call->outputs[0]), (float)attribute(call, "factor", 1)}, elements(call->outputs[0]));
}

int copy_to_output(hk_call* call, const hk_tensor& from) {
  cudaMemcpyAsync(call->outputs[0].data, from.data, (size_t)elements(from) * sizeof(float), cudaMemcpyDeviceToDevice, stream_of(call));
  return launched(call);
}
int select_prepare(hk_call* call, size_t*, void**) {
  return expect_binary(call, "select") || expect_integer(call, "select", "gate", -1, 0, call->n_gates - 1);
}
int select_run(hk_call* call) { return copy_to_output(call, call->inputs[call->gates[(int)attribute(call, "gate", -1)] ? 0 : 1]); }

int gelu_prepare(hk_call* call, size_t*, void**) { return expect_unary(call, "gelu"); }
int gelu_run(hk_call* call) { return map(call, Gelu{f32(call->inputs[0]), f32(call->outputs[0])}, elements(call->outputs[0])); }

int gelu_grad_prepare(hk_call* call, size_t*, void**) { return expect_binary(call, "gelu_grad"); }
int gelu_grad_run(hk_call* call) {
  return map(call, GeluGrad{f32(call->inputs[0]), f32(call->inputs[1]), f32(call->outputs[0])}, elements(call->outputs[0]));
}

int dropout_prepare(hk_call* call, size_t*, void**) { return expect_unary(call, "dropout") || expect_dropout(call, "dropout"); }
int dropout_run(hk_call* call) {
  const Dropout dropout(call);
  if (!dropout.on()) return copy_to_output(call, call->inputs[0]);
  const int64_t n = elements(call->inputs[0]);
  return map(call, Drop{dropout, f32(call->inputs[0]), f32(call->outputs[0]), n}, blocks_for(n, 4));
}

hk_cost cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 4 * n * (call->n_inputs + 1)};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(elementwise, {"add", add_prepare, add_run, nullptr, cost}, {"scale", scale_prepare, scale_run, nullptr, cost},
            {"select", select_prepare, select_run, nullptr, cost}, {"gelu", gelu_prepare, gelu_run, nullptr, cost},
            {"gelu_grad", gelu_grad_prepare, gelu_grad_run, nullptr, cost}, {"dropout", dropout_prepare, dropout_run, nullptr, cost})
