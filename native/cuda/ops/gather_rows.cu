// gather_rows and scatter_rows: the contracts are in ops/gather_rows.h. One thread an element.
#include "cuda/reduce.cuh"
#include "ops/gather_rows.h"

namespace hk {
namespace HK_ISA {
namespace {

template <class T>
__global__ void gather_kernel(const T* x, const int32_t* index, int64_t n, int64_t rows, int64_t width, T* y) {
  const int64_t i = element_index();
  if (i >= n) return;
  const int32_t row = index[i / width];
  y[i] = is_row(row, rows) ? (float)x[row * width + i % width] : 0.0f;
}

template <class T>
__global__ void scatter_kernel(const T* y, const int32_t* index, int64_t n, int64_t rows, int64_t width, T* x) {
  const int64_t i = element_index();
  if (i >= n) return;
  const int32_t row = index[i / width];
  if (is_row(row, rows)) x[row * width + i % width] = y[i];
}

template <class T>
int gather_rows_as(hk_call* call) {
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  HK_LAUNCH(gather_kernel<T>, element_grid(elements(y)), dim3(kBlock), 0, stream_of(call), data<T>(x), i32(call->inputs[1]), elements(y), rows(x),
            last(x), data<T>(y));
  return launched(call);
}
int gather_rows_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], gather_rows_as, call); }

template <class T>
int scatter_rows_as(hk_call* call) {
  const hk_tensor &y = call->inputs[0], &x = call->outputs[0];
  cudaMemsetAsync(x.data, 0, (size_t)elements(x) * sizeof(T), stream_of(call));
  HK_LAUNCH(scatter_kernel<T>, element_grid(elements(y)), dim3(kBlock), 0, stream_of(call), data<T>(y), i32(call->inputs[1]), elements(y), rows(x),
            last(x), data<T>(x));
  return launched(call);
}
int scatter_rows_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], scatter_rows_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(gather_rows, {"gather_rows", gather_rows_prepare, gather_rows_run, nullptr, gather_rows_cost},
            {"scatter_rows", scatter_rows_prepare, scatter_rows_run, nullptr, scatter_rows_cost})
