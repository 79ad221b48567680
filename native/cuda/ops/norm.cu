// layer_norm and add_layer_norm with their gradients: the contracts are in ops/norm.h.
// One warp a row: lanes walk the row three times (sum, squares about the mean, result), from the L1 cache after the first; no barrier. A lane
// has N neighbours at a time: 8 where the width is a multiple of it, else 1.
// The parameters' gradients are column sums over all rows: a second kernel, in a fixed order.
#include "cuda/column_sums.cuh"
#include "cuda/dropout.cuh"
#include "cuda/map.cuh"
#include "ops/norm.h"

namespace hk {
namespace HK_ISA {
namespace {

// s = x + dropout(y), written when `sum` is wanted; else s = x. What is normalised is s as it is stored.
template <class T>
struct Residual {
  const T *x, *y;
  T* sum;
  Dropout dropout;
  template <int N>
  __device__ Neighbours<T, N> make(int64_t i) const {
    Neighbours<T, N> s = load_neighbours<N>(x + i);
    if (!sum) return s;
    const Neighbours<T, N> added = load_neighbours<N>(y + i);
    float factor[N];
    dropout.factors<N>((uint64_t)i, factor);
#pragma unroll
    for (int j = 0; j < N; j++) s.x[j] = s.x[j] + added.x[j] * factor[j];
    store_neighbours(s, sum + i);
    return s;
  }
};

template <int N, class T>
__global__ void norm_kernel(Residual<T> residual, const float* gamma, const float* beta, float eps, int64_t rows, int64_t width, T* out,
                            float* stats) {
  const int64_t r = row_index(), at = r * width;
  const int lane = threadIdx.x % 32;
  if (r >= rows) return;
  const T* s = residual.sum ? residual.sum : residual.x;
  float total = 0;
  for (int64_t i = N * lane; i < width; i += 32 * N) {
    const auto x = residual.template make<N>(at + i);
#pragma unroll
    for (int j = 0; j < N; j++) total += x.x[j];
  }
  const float mean = warp_sum(total) / (float)width;
  float squares = 0;
  for (int64_t i = N * lane; i < width; i += 32 * N) {
    const auto x = load_neighbours<N>(s + at + i);
#pragma unroll
    for (int j = 0; j < N; j++) squares += (x.x[j] - mean) * (x.x[j] - mean);
  }
  const float inverse = 1.0f / sqrtf(warp_sum(squares) / (float)width + eps);
  for (int64_t i = N * lane; i < width; i += 32 * N) {
    auto x = load_neighbours<N>(s + at + i);
    const auto scale = load_neighbours<N>(gamma + i), offset = load_neighbours<N>(beta + i);
#pragma unroll
    for (int j = 0; j < N; j++) x.x[j] = (x.x[j] - mean) * inverse * scale.x[j] + offset.x[j];
    store_neighbours(x, out + at + i);
  }
  if (lane == 0) {
    stats[2 * r] = mean;
    stats[2 * r + 1] = inverse;
  }
}

// dx = (g - mean(g) - unit mean(g unit)) / deviation (+ direct), g = dy gamma; dropped = dropout mask on dx where wanted.
template <int N, class T>
__global__ void norm_grad_kernel(const T* x, const float* gamma, const float* stats, const T* dy, const T* direct, Dropout dropout, int64_t rows,
                                 int64_t width, T* dx, T* dropped) {
  const int64_t r = row_index(), at = r * width;
  const int lane = threadIdx.x % 32;
  if (r >= rows) return;
  const float mean = stats[2 * r], inverse = stats[2 * r + 1];
  float sum_g = 0, sum_gu = 0;
  for (int64_t i = N * lane; i < width; i += 32 * N) {
    const auto values = load_neighbours<N>(x + at + i), upstream = load_neighbours<N>(dy + at + i);
    const auto scale = load_neighbours<N>(gamma + i);
#pragma unroll
    for (int j = 0; j < N; j++) {
      const float g = upstream.x[j] * scale.x[j];
      sum_g += g;
      sum_gu += g * (values.x[j] - mean) * inverse;
    }
  }
  const float mean_g = warp_sum(sum_g) / (float)width, mean_gu = warp_sum(sum_gu) / (float)width;
  for (int64_t i = N * lane; i < width; i += 32 * N) {
    const auto values = load_neighbours<N>(x + at + i), upstream = load_neighbours<N>(dy + at + i);
    const auto scale = load_neighbours<N>(gamma + i);
    Neighbours<T, N> above, made;
    if (direct) above = load_neighbours<N>(direct + at + i);
#pragma unroll
    for (int j = 0; j < N; j++) {
      const float unit = (values.x[j] - mean) * inverse;
      float d = (upstream.x[j] * scale.x[j] - mean_g - unit * mean_gu) * inverse;
      if (direct) d += above.x[j];
      made.x[j] = d;
    }
    store_neighbours(made, dx + at + i);
    if (!dropped) continue;
    float factor[N];
    dropout.factors<N>((uint64_t)(at + i), factor);
#pragma unroll
    for (int j = 0; j < N; j++) made.x[j] = made.x[j] * factor[j];
    store_neighbours(made, dropped + at + i);
  }
}

template <class T>
struct GammaValue {
  const T *x, *dy;
  const float* stats;
  int64_t width;
  __device__ float operator()(int64_t r, int64_t c) const { return dy[r * width + c] * (x[r * width + c] - stats[2 * r]) * stats[2 * r + 1]; }
};

template <class T>
int run_norm(hk_call* call, const Residual<T>& residual, const hk_tensor& gamma, const hk_tensor& beta, T* out, float* stats) {
  const int64_t n = rows(call->inputs[0]), width = last(call->inputs[0]);
  const auto kernel = width % kNeighbours ? norm_kernel<1, T> : norm_kernel<kNeighbours, T>;
  HK_LAUNCH(kernel, row_grid(n), dim3(kRowBlock), 0, stream_of(call), residual, f32(gamma), f32(beta), (float)eps_of(call), n, width, out, stats);
  return launched(call);
}

// inputs x, gamma, stats, dy lead in both gradients.
template <class T>
int run_norm_grad(hk_call* call, const T* direct, T* dropped, const hk_tensor& dgamma, const hk_tensor& dbeta) {
  const int64_t n = rows(call->inputs[0]), width = last(call->inputs[0]);
  const T *x = data<T>(call->inputs[0]), *dy = data<T>(call->inputs[3]);
  const float* stats = f32(call->inputs[2]);
  const auto kernel = width % kNeighbours ? norm_grad_kernel<1, T> : norm_grad_kernel<kNeighbours, T>;
  HK_LAUNCH(kernel, row_grid(n), dim3(kRowBlock), 0, stream_of(call), x, f32(call->inputs[1]), stats, dy, direct, Dropout(call), n, width,
            data<T>(call->outputs[0]), dropped);
  float* partial = (float*)call->scratch;
  if (present(dgamma)) add_column_sums_of(stream_of(call), GammaValue<T>{x, dy, stats, width}, n, width, partial, f32(dgamma));
  if (present(dbeta)) add_column_sums(stream_of(call), dy, n, width, partial, f32(dbeta));
  return launched(call);
}

template <class T>
int norm_as(hk_call* call) {
  const Residual<T> input = {data<T>(call->inputs[0]), nullptr, nullptr, Dropout(call)};
  return run_norm(call, input, call->inputs[1], call->inputs[2], data<T>(call->outputs[0]), f32(call->outputs[1]));
}
int norm_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], norm_as, call); }

size_t partial_bytes(const hk_tensor& x) { return (size_t)column_sum_floats(rows(x), last(x)) * sizeof(float); }

int norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_layer_norm_grad(call)) return 1;
  *scratch_bytes = partial_bytes(call->inputs[0]);
  return 0;
}
template <class T>
int norm_grad_as(hk_call* call) { return run_norm_grad<T>(call, nullptr, nullptr, call->outputs[1], call->outputs[2]); }
int norm_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], norm_grad_as, call); }

template <class T>
int add_norm_as(hk_call* call) {
  const Residual<T> sum = {data<T>(call->inputs[0]), data<T>(call->inputs[1]), data<T>(call->outputs[1]), Dropout(call)};
  return run_norm(call, sum, call->inputs[2], call->inputs[3], data<T>(call->outputs[0]), f32(call->outputs[2]));
}
int add_norm_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_norm_as, call); }

int add_norm_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_add_layer_norm_grad(call)) return 1;
  *scratch_bytes = partial_bytes(call->inputs[0]);
  return 0;
}
template <class T>
int add_norm_grad_as(hk_call* call) {
  return run_norm_grad<T>(call, data<T>(call->inputs[4]), data<T>(call->outputs[1]), call->outputs[2], call->outputs[3]);
}
int add_norm_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], add_norm_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(norm, {"layer_norm", layer_norm_prepare, norm_run, nullptr, layer_norm_cost},
            {"layer_norm_grad", norm_grad_prepare, norm_grad_run, nullptr, layer_norm_grad_cost},
            {"add_layer_norm", add_layer_norm_prepare, add_norm_run, nullptr, add_layer_norm_cost},
            {"add_layer_norm_grad", add_norm_grad_prepare, add_norm_grad_run, nullptr, add_layer_norm_grad_cost})
