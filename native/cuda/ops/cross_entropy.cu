// cross_entropy (+ gradient), argmax, mean_square (+ gradient): the contracts are in native/ops. One warp a row of logits; sums over
// rows and elements are made by one block in a fixed order, in double.
#include "cuda/softmax.cuh"
#include "ops/argmax.h"
#include "ops/cross_entropy.h"
#include "ops/mean_square.h"

namespace hk {
namespace HK_ISA {
namespace {

struct HasLabel {
  const int32_t* labels;
  int64_t K;
  __device__ bool operator()(int64_t r) const { return labels[r] >= 0 && labels[r] < K; }
};

__global__ void cross_entropy_kernel(const float* logits, HasLabel has_label, int64_t N, int64_t K, float* lse, double* loss, uint8_t* correct) {
  const int64_t r = row_index();
  if (r >= N) return;
  const int64_t label = has_label.labels[r];
  const bool counts = has_label(r);
  const RowLoss row = counts ? row_loss(logits + r * K, K, label) : RowLoss{0, false};
  if (threadIdx.x % 32) return;
  lse[r] = row.lse;
  loss[r] = counts ? (double)row.lse - logits[r * K + label] : 0.0;
  correct[r] = row.correct;
}

__global__ void cross_entropy_grad_kernel(const float* logits, const int32_t* labels, const float* lse, const float* dsums, int64_t n, int64_t K,
                                          float* dlogits) {
  const int64_t i = element_index(), r = i / K;
  if (i >= n) return;
  const int64_t label = labels[r];
  dlogits[i] = label < 0 || label >= K ? 0.0f : dsums[0] * (expf(logits[i] - lse[r]) - (i % K == label ? 1.0f : 0.0f));
}

__global__ void argmax_kernel(const float* x, int64_t rows, int64_t width, int32_t* y) {
  const int64_t r = row_index();
  if (r >= rows) return;
  float best = -INFINITY;
  int32_t index = 0;
  for (int64_t i = threadIdx.x % 32; i < width; i += 32)
    if (x[r * width + i] > best) {
      best = x[r * width + i];
      index = (int32_t)i;
    }
  keep_largest(32, best, index);
  if (threadIdx.x % 32 == 0) y[r] = index;
}

template <class T>
__global__ void sum_squares(const T* x, int64_t n, float* sums) {
  __shared__ float shared[32];
  const int64_t begin = (int64_t)blockIdx.x * kSquareChunk, end = begin + kSquareChunk < n ? begin + kSquareChunk : n;
  float total = 0;
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) total += x[i] * x[i];
  total = block_sum(total, shared);
  if (threadIdx.x == 0) sums[blockIdx.x] = total;
}

__global__ void mean_of_chunks(const float* sums, int64_t chunks, int64_t n, float* y) {
  __shared__ double shared[32];
  double total = 0;
  for (int64_t c = threadIdx.x; c < chunks; c += blockDim.x) total += sums[c];
  total = block_sum(total, shared);
  if (threadIdx.x == 0) y[0] = (float)(total / (double)n);
}

template <class T>
__global__ void mean_square_grad_kernel(const T* x, const float* dy, int64_t n, T* dx) {
  const int64_t i = element_index();
  if (i < n) dx[i] = (float)(2.0 * dy[0] / (double)n) * x[i];
}

// ---- cross_entropy ----

int run(hk_call* call) {
  const int64_t N = call->inputs[0].shape[0], K = call->inputs[0].shape[1];
  const HasLabel has_label = {i32(call->inputs[1]), K};
  Scratch scratch(call->scratch);
  const RowResults of_row(scratch, N);
  HK_LAUNCH(cross_entropy_kernel, row_grid(N), dim3(kRowBlock), 0, stream_of(call), f32(call->inputs[0]), has_label, N, K, f32(call->outputs[1]), of_row.loss,
            of_row.correct);
  HK_LAUNCH(sum_rows<HasLabel>, dim3(1), dim3(kBlock), 0, stream_of(call), of_row.loss, of_row.correct, has_label, N, f32(call->outputs[0]));
  return launched(call);
}
int run_grad(hk_call* call) {
  const int64_t n = elements(call->inputs[0]);
  HK_LAUNCH(cross_entropy_grad_kernel, element_grid(n), dim3(kBlock), 0, stream_of(call), f32(call->inputs[0]), i32(call->inputs[1]),
            f32(call->inputs[2]), f32(call->inputs[3]), n, last(call->inputs[0]), f32(call->outputs[0]));
  return launched(call);
}

// ---- argmax ----

int argmax_run(hk_call* call) {
  const hk_tensor& x = call->inputs[0];
  HK_LAUNCH(argmax_kernel, row_grid(rows(x)), dim3(kRowBlock), 0, stream_of(call), f32(x), rows(x), last(x), i32(call->outputs[0]));
  return launched(call);
}

// ---- mean_square ----

template <class T>
int mean_square_as(hk_call* call) {
  const int64_t n = elements(call->inputs[0]), chunks = square_chunks(call->inputs[0]);
  float* sums = (float*)call->scratch;
  HK_LAUNCH(sum_squares<T>, dim3((unsigned)chunks), dim3(kBlock), 0, stream_of(call), data<T>(call->inputs[0]), n, sums);
  HK_LAUNCH(mean_of_chunks, dim3(1), dim3(kBlock), 0, stream_of(call), sums, chunks, n, f32(call->outputs[0]));
  return launched(call);
}
int mean_square_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mean_square_as, call); }
template <class T>
int mean_square_grad_as(hk_call* call) {
  const int64_t n = elements(call->inputs[0]);
  HK_LAUNCH(mean_square_grad_kernel<T>, element_grid(n), dim3(kBlock), 0, stream_of(call), data<T>(call->inputs[0]), f32(call->inputs[1]), n,
            data<T>(call->outputs[0]));
  return launched(call);
}
int mean_square_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mean_square_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(cross_entropy, {"cross_entropy", cross_entropy_prepare, run, nullptr, cross_entropy_cost},
            {"cross_entropy_grad", cross_entropy_grad_prepare, run_grad, nullptr, cross_entropy_grad_cost},
            {"argmax", argmax_prepare, argmax_run, nullptr, argmax_cost}, {"mean_square", mean_square_prepare, mean_square_run, nullptr, mean_square_cost},
            {"mean_square_grad", mean_square_grad_prepare, mean_square_grad_run, nullptr, mean_square_grad_cost})
