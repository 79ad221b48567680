// out[c] += sum over rows r of value(r, c), in an order that depends on the shape alone: each block sums kRowsOfChunk rows, a second
// kernel adds the blocks' sums one after the other.
#pragma once
#include "cuda/cuda_op.h"

namespace hk {
namespace HK_ISA {

const int64_t kRowsOfChunk = 128;

static inline int64_t column_sum_floats(int64_t rows, int64_t width) { return blocks_for(rows, kRowsOfChunk) * width; }

// grid (columns / 32, chunks), block (32, 8)
template <class Value>
static __global__ void sum_chunk(Value value, int64_t rows, int64_t width, float* partial) {
  __shared__ float sums[8][33];
  const int64_t c = (int64_t)blockIdx.x * 32 + threadIdx.x, first = (int64_t)blockIdx.y * kRowsOfChunk;
  const int64_t end = first + kRowsOfChunk < rows ? first + kRowsOfChunk : rows;
  float sum = 0;
  if (c < width)
    for (int64_t r = first + threadIdx.y; r < end; r += 8) sum += value(r, c);
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y > 0 || c >= width) return;
  for (int i = 1; i < 8; i++) sum += sums[i][threadIdx.x];
  partial[blockIdx.y * width + c] = sum;
}

static __global__ void add_chunks(const float* partial, int64_t chunks, int64_t width, float* out) {
  const int64_t c = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (c >= width) return;
  float sum = 0;
#pragma unroll 16  // so many loads are under way at a time: few threads have much to read
  for (int64_t i = 0; i < chunks; i++) sum += partial[i * width + c];
  out[c] += sum;
}

// The sums of each chunk of rows: partial[chunk, c], column_sum_floats(rows, width) floats.
template <class Value>
static inline void sum_chunks(cudaStream_t stream, Value value, int64_t rows, int64_t width, float* partial) {
  const dim3 grid((unsigned)blocks_for(width, 32), (unsigned)blocks_for(rows, kRowsOfChunk));
  HK_LAUNCH(sum_chunk<Value>, grid, dim3(32, 8), 0, stream, value, rows, width, partial);
}

// out[c] += the sums of the chunks, in order.
static inline void add_chunk_sums(cudaStream_t stream, const float* partial, int64_t chunks, int64_t width, float* out) {
  HK_LAUNCH(add_chunks, dim3((unsigned)blocks_for(width, 128)), dim3(128), 0, stream, partial, chunks, width, out);
}

template <class Value>
static inline void add_column_sums_of(cudaStream_t stream, Value value, int64_t rows, int64_t width, float* partial, float* out) {
  sum_chunks(stream, value, rows, width, partial);
  add_chunk_sums(stream, partial, blocks_for(rows, kRowsOfChunk), width, out);
}

template <class T>
struct MatrixValue {
  const T* x;
  int64_t width;
  __device__ float operator()(int64_t r, int64_t c) const { return x[r * width + c]; }
};
template <class T>
static inline void add_column_sums(cudaStream_t stream, const T* x, int64_t rows, int64_t width, float* partial, float* out) {
  add_column_sums_of(stream, MatrixValue<T>{x, width}, rows, width, partial, out);
}
static inline void add_column_sums(cudaStream_t stream, const hk_tensor& x, float* partial, float* out) {
  if (is_bf16(x)) add_column_sums(stream, data<bf16>(x), rows(x), last(x), partial, out);
  else add_column_sums(stream, f32(x), rows(x), last(x), partial, out);
}

}  // namespace HK_ISA
}  // namespace hk
