// attention without tensor cores: activations f32, or bf16 where attention_mma.cuh does not take the depth; f32 inside.
//
// Blocks of 256 threads work on tiles of 64 queries x 64 keys held in shared memory; a thread has 4 rows (row = 4 * (thread / 16) + i) and
// every 16th column. Forward: online softmax over the key tiles (Milakov & Gimelshein 2018, Dao 2022). Backward: probabilities are made
// again from lse; one kernel sums dq over the key tiles, another dk and dv over the query tiles, so every element has one writer and one order
// of summation (no atomics).
#pragma once
#include "cuda/attention.cuh"

namespace hk {
namespace HK_ISA {
namespace without_tensor_cores {

const int kTile = 64, kSide = 4, kThreads = 256;

// ---- tiles: kTile rows of `depth` floats, one float between rows so that a column's rows lie in different banks ----

__device__ static inline int pitch(const AttentionSizes& z) { return (int)z.depth + 1; }

// Rows first .. of a matrix whose rows are `stride` apart; rows at `end` and beyond are zero.
template <class T>
__device__ static inline void load_tile(const AttentionSizes& z, const T* x, int64_t stride, int64_t first, int64_t end, float factor, float* tile) {
  for (int e = (int)threadIdx.x; e < kTile * (int)z.depth; e += kThreads) {
    const int r = e / (int)z.depth, c = e % (int)z.depth;
    tile[r * pitch(z) + c] = first + r < end ? factor * x[(first + r) * stride + c] : 0.0f;
  }
}

// s[i][j] = row (4 ty + i) of `a` times row (tx + 16 j) of `b`.
__device__ static inline void tile_product(const AttentionSizes& z, const float* a, const float* b, int ty, int tx, float (&s)[kSide][kSide]) {
  for (int i = 0; i < kSide; i++)
    for (int j = 0; j < kSide; j++) s[i][j] = 0;
  for (int c = 0; c < (int)z.depth; c++) {
    float left[kSide], right[kSide];
#pragma unroll
    for (int i = 0; i < kSide; i++) left[i] = a[(kSide * ty + i) * pitch(z) + c];
#pragma unroll
    for (int j = 0; j < kSide; j++) right[j] = b[(tx + 16 * j) * pitch(z) + c];
#pragma unroll
    for (int i = 0; i < kSide; i++)
#pragma unroll
      for (int j = 0; j < kSide; j++) s[i][j] += left[i] * right[j];
  }
}

// sums[i][c] += sum over r of weights(4 ty + i, r) * tile[r][tx + 16 c].
template <int COLUMNS, class Weights>
__device__ static inline void accumulate(const AttentionSizes& z, const Weights& weights, const float* tile, int ty, int tx, float (&sums)[kSide][COLUMNS]) {
  for (int r = 0; r < kTile; r++) {
    float w[kSide];
#pragma unroll
    for (int i = 0; i < kSide; i++) w[i] = weights(kSide * ty + i, r);
#pragma unroll
    for (int c = 0; c < COLUMNS; c++) {
      const int column = tx + 16 * c;
      const float value = column < (int)z.depth ? tile[r * pitch(z) + column] : 0.0f;
#pragma unroll
      for (int i = 0; i < kSide; i++) sums[i][c] += w[i] * value;
    }
  }
}

__device__ static inline float max_of_row(float x) {  // over the 16 threads of a row
  for (int o = 8; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
  return x;
}
__device__ static inline float sum_of_row(float x) {
  for (int o = 8; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
  return x;
}

// A thread's columns (tx + 16 c) of its rows first + 4 ty + i < end.
template <int COLUMNS, class T>
__device__ static inline void store_rows(const AttentionSizes& z, const float (&x)[kSide][COLUMNS], const float (&factor)[kSide], int64_t first, int64_t end, int ty, int tx, T* out, int64_t stride) {
  for (int i = 0; i < kSide; i++) {
    const int64_t r = first + kSide * ty + i;
    for (int c = 0; c < COLUMNS; c++)
      if (r < end && tx + 16 * c < (int)z.depth) out[r * stride + tx + 16 * c] = factor[i] * x[i][c];
  }
}

static inline size_t tile_bytes(const AttentionSizes& z, int tiles, int squares) {
  return (size_t)(tiles * kTile * (z.depth + 1) + squares * kTile * (kTile + 1)) * sizeof(float);
}

// Bit kSide i + j: dropout keeps the thread's element (i, j); `first` is the number of (0, 0). One after the other: sixteen generators at a
// time would take the registers of the scores.
__device__ static inline uint32_t kept_elements(const AttentionSizes& z, const Dropout& dropout, int64_t first) {
  if (!dropout.on()) return ~0u;
  uint32_t kept = 0;
#pragma unroll 1
  for (int e = 0; e < kSide * kSide; e++)
    if (dropout.factor_of((uint64_t)(first + e / kSide * z.frames + 16 * (e % kSide))) > 0) kept |= 1u << e;
  return kept;
}

// ---- forward ---- grid (query tiles, batch x heads)

template <int COLUMNS, class T>
static __global__ void __launch_bounds__(256) attend(AttentionSizes z, Dropout dropout, const T* qkv, const int32_t* lengths, T* o, float* lse) {
  HK_SHARED(float, shared);
  const int tile = kTile * pitch(z), ty = (int)threadIdx.x / 16, tx = (int)threadIdx.x % 16;
  float *q = shared, *k = q + tile, *v = k + tile, *p = v + tile;
  const int64_t pair = blockIdx.y, b = pair / z.heads, h = pair % z.heads, first = (int64_t)blockIdx.x * kTile, row = 3 * z.width;
  const int64_t length = clamp_length(lengths[b], z.frames);
  const T* head = qkv + b * z.frames * row + h * z.depth;
  load_tile(z, head, row, first, z.frames, z.scale, q);
  float out[kSide][COLUMNS] = {}, maximum[kSide], total[kSide] = {};
  for (int i = 0; i < kSide; i++) maximum[i] = -INFINITY;
  for (int64_t begin = 0; begin < length; begin += kTile) {
    __syncthreads();
    load_tile(z, head + z.width, row, begin, length, 1, k);
    load_tile(z, head + 2 * z.width, row, begin, length, 1, v);
    __syncthreads();
    const uint32_t kept = kept_elements(z, dropout, (pair * z.frames + first + kSide * ty) * z.frames + begin + tx);
    float s[kSide][kSide];
    tile_product(z, q, k, ty, tx, s);
#pragma unroll
    for (int i = 0; i < kSide; i++) {
      float top = -INFINITY, sum = 0;
#pragma unroll
      for (int j = 0; j < kSide; j++) {
        if (begin + tx + 16 * j >= length) s[i][j] = -INFINITY;
        top = fmaxf(top, s[i][j]);
      }
      top = fmaxf(max_of_row(top), maximum[i]);
      const float shrink = expf(maximum[i] - top);
#pragma unroll
      for (int j = 0; j < kSide; j++) {
        const float probability = expf(s[i][j] - top);
        sum += probability;
        p[(kSide * ty + i) * (kTile + 1) + tx + 16 * j] = probability * (kept >> (kSide * i + j) & 1 ? dropout.scale : 0.0f);
      }
      maximum[i] = top;
      total[i] = total[i] * shrink + sum_of_row(sum);
#pragma unroll
      for (int c = 0; c < COLUMNS; c++) out[i][c] *= shrink;
    }
    __syncthreads();
    accumulate<COLUMNS>(z, [=](int i, int r) { return p[i * (kTile + 1) + r]; }, v, ty, tx, out);
  }
  float inverse[kSide];
  for (int i = 0; i < kSide; i++) inverse[i] = length > 0 ? 1 / total[i] : 0.0f;
  store_rows<COLUMNS>(z, out, inverse, first, z.frames, ty, tx, o + b * z.frames * z.width + h * z.depth, z.width);
  if (!lse || tx > 0) return;
  for (int i = 0; i < kSide; i++) {
    const int64_t t = first + kSide * ty + i;
    if (t < z.frames) lse[pair * z.frames + t] = length > 0 ? maximum[i] + logf(total[i]) : 0.0f;
  }
}

// ---- backward ----

// delta[pair, t] = sum over the head's channels of do * o: one thread for each.
template <class T>
static __global__ void row_products(AttentionSizes z, const T* o, const T* d_o, float* delta) {
  const int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= z.batch * z.heads * z.frames) return;
  const int64_t pair = n / z.frames, at = (pair / z.heads * z.frames + n % z.frames) * z.width + pair % z.heads * z.depth;
  float total = 0;
  for (int64_t c = 0; c < z.depth; c++) total += d_o[at + c] * o[at + c];
  delta[n] = total;
}

struct Tiles {
  float *q, *d_o, *k, *v, *p, *ds;
  __device__ Tiles(const AttentionSizes& z, float* shared) {
    const int tile = kTile * pitch(z);
    q = shared;
    d_o = q + tile;
    k = d_o + tile;
    v = k + tile;
    p = v + tile;
    ds = p + kTile * (kTile + 1);
  }
};

// The head of this block (blockIdx.y counts them): where it lies in qkv, and the tiles that the gradients are made from.
template <class T>
struct Head {
  const T *qkv, *d_o;
  int64_t length, at;
  __device__ Head(const AttentionSizes& z, const T* all, const int32_t* lengths, const T* all_d_o) {
    const int64_t b = blockIdx.y / z.heads, h = blockIdx.y % z.heads;
    length = clamp_length(lengths[b], z.frames);
    at = b * z.frames * 3 * z.width + h * z.depth;
    qkv = all + at;
    d_o = all_d_o + b * z.frames * z.width + h * z.depth;
  }
  __device__ void load_queries(const AttentionSizes& z, const Tiles& t, int64_t first) const {
    load_tile(z, qkv, 3 * z.width, first, z.frames, z.scale, t.q);
    load_tile(z, d_o, z.width, first, z.frames, 1, t.d_o);
  }
  __device__ void load_keys(const AttentionSizes& z, const Tiles& t, int64_t first) const {
    load_tile(z, qkv + z.width, 3 * z.width, first, length, 1, t.k);
    load_tile(z, qkv + 2 * z.width, 3 * z.width, first, length, 1, t.v);
  }
};

// From the four tiles: probabilities after dropout (p) and the gradient of the scores (ds), zero outside of the frames and the length.
__device__ static inline void score_gradients(const AttentionSizes& z, const Dropout& dropout, const Tiles& t, int64_t pair, int64_t query, int64_t key, int64_t length,
                                const float* lse, const float* delta, int ty, int tx) {
  const uint32_t kept = kept_elements(z, dropout, (pair * z.frames + query + kSide * ty) * z.frames + key + tx);
  float s[kSide][kSide], d[kSide][kSide];
  tile_product(z, t.q, t.k, ty, tx, s);
  tile_product(z, t.d_o, t.v, ty, tx, d);
  for (int i = 0; i < kSide; i++) {
    const int64_t n = query + kSide * ty + i;
    for (int j = 0; j < kSide; j++) {
      const int64_t m = key + tx + 16 * j;
      const bool inside = n < z.frames && m < length;
      const float probability = inside ? expf(s[i][j] - lse[n]) : 0.0f;
      const float factor = kept >> (kSide * i + j) & 1 ? dropout.scale : 0.0f;
      const int at = (kSide * ty + i) * (kTile + 1) + tx + 16 * j;
      t.p[at] = probability * factor;
      t.ds[at] = inside ? probability * (d[i][j] * factor - delta[n]) : 0.0f;
    }
  }
}

// grid (query tiles, batch x heads)
template <int COLUMNS, class T>
static __global__ void __launch_bounds__(256) query_gradient(AttentionSizes z, Dropout dropout, const T* qkv, const int32_t* lengths, const float* lse, const T* d_o,
                                                      const float* delta, T* dqkv) {
  HK_SHARED(float, shared);
  const Tiles t(z, shared);
  const Head<T> head(z, qkv, lengths, d_o);
  const int ty = (int)threadIdx.x / 16, tx = (int)threadIdx.x % 16;
  const int64_t pair = blockIdx.y, first = (int64_t)blockIdx.x * kTile, row = 3 * z.width, length = head.length, at = head.at;
  head.load_queries(z, t, first);
  float dq[kSide][COLUMNS] = {};
  for (int64_t begin = 0; begin < length; begin += kTile) {
    __syncthreads();
    head.load_keys(z, t, begin);
    __syncthreads();
    score_gradients(z, dropout, t, pair, first, begin, length, lse + pair * z.frames, delta + pair * z.frames, ty, tx);
    __syncthreads();
    accumulate<COLUMNS>(z, [=](int i, int r) { return t.ds[i * (kTile + 1) + r]; }, t.k, ty, tx, dq);
  }
  const float scale[kSide] = {z.scale, z.scale, z.scale, z.scale};
  store_rows<COLUMNS>(z, dq, scale, first, z.frames, ty, tx, dqkv + at, row);
}

// grid (key tiles, batch x heads). Keys at the length and beyond get zeros.
template <int COLUMNS, class T>
static __global__ void __launch_bounds__(256) key_gradient(AttentionSizes z, Dropout dropout, const T* qkv, const int32_t* lengths, const float* lse, const T* d_o,
                                                    const float* delta, T* dqkv) {
  HK_SHARED(float, shared);
  const Tiles t(z, shared);
  const Head<T> head(z, qkv, lengths, d_o);
  const int ty = (int)threadIdx.x / 16, tx = (int)threadIdx.x % 16;
  const int64_t pair = blockIdx.y, first = (int64_t)blockIdx.x * kTile, row = 3 * z.width, length = head.length, at = head.at;
  head.load_keys(z, t, first);
  float dk[kSide][COLUMNS] = {}, dv[kSide][COLUMNS] = {};
  for (int64_t begin = 0; begin < z.frames && first < length; begin += kTile) {
    __syncthreads();
    head.load_queries(z, t, begin);
    __syncthreads();
    score_gradients(z, dropout, t, pair, begin, first, length, lse + pair * z.frames, delta + pair * z.frames, ty, tx);
    __syncthreads();
    accumulate<COLUMNS>(z, [=](int i, int r) { return t.p[r * (kTile + 1) + i]; }, t.d_o, ty, tx, dv);
    accumulate<COLUMNS>(z, [=](int i, int r) { return t.ds[r * (kTile + 1) + i]; }, t.q, ty, tx, dk);
  }
  const float one[kSide] = {1, 1, 1, 1};  // the scale is in q already
  store_rows<COLUMNS>(z, dk, one, first, z.frames, ty, tx, dqkv + at + z.width, row);
  store_rows<COLUMNS>(z, dv, one, first, z.frames, ty, tx, dqkv + at + 2 * z.width, row);
}

// ---- host side ----

// body(Depth<N>()): 64 of base and large, 80 of xlarge, kMostDepth at most. bf16 comes here with other depths than these models have, and
// makes do with the last.
template <class T, class Body>
int with_depth(const AttentionSizes& z, const Body& body) {
  if constexpr (sizeof(T) == sizeof(float)) {
    if (z.depth <= 64) return body(Depth<64>());
    if (z.depth <= 80) return body(Depth<80>());
  }
  return body(Depth<kMostDepth>());
}

static inline dim3 grid(const AttentionSizes& z) { return dim3((unsigned)blocks_for(z.frames, kTile), (unsigned)z.pairs()); }

template <class T>
int allow_attend(hk_call* call) {
  const AttentionSizes z(call);
  return with_depth<T>(z, [&](auto depth) { return allow_shared(call, attend<decltype(depth)::value / 16, T>, tile_bytes(z, 3, 1)); });
}

template <class T>
int run_attend(hk_call* call) {
  const AttentionSizes z(call);
  const Dropout dropout(call);
  return with_depth<T>(z, [&](auto depth) {
    const auto kernel = attend<decltype(depth)::value / 16, T>;
    HK_LAUNCH(kernel, grid(z), dim3(kThreads), tile_bytes(z, 3, 1), stream_of(call), z, dropout, data<T>(call->inputs[0]), i32(call->inputs[1]),
              data<T>(call->outputs[0]), f32(call->outputs[1]));
    return launched(call);
  });
}

template <class T>
int allow_gradients(hk_call* call) {
  const AttentionSizes z(call);
  return with_depth<T>(z, [&](auto depth) {
    return allow_shared(call, query_gradient<decltype(depth)::value / 16, T>, tile_bytes(z, 4, 2)) ||
           allow_shared(call, key_gradient<decltype(depth)::value / 16, T>, tile_bytes(z, 4, 2));
  });
}

template <class T>
int run_gradients(hk_call* call) {
  const AttentionSizes z(call);
  const Dropout dropout(call);
  const T *qkv = data<T>(call->inputs[0]), *o = data<T>(call->inputs[2]), *d_o = data<T>(call->inputs[4]);
  const float* lse = f32(call->inputs[3]);
  const int32_t* lengths = i32(call->inputs[1]);
  T* dqkv = data<T>(call->outputs[0]);
  float* delta = (float*)call->scratch;
  const cudaStream_t stream = stream_of(call);
  HK_LAUNCH(row_products<T>, dim3((unsigned)blocks_for(z.pairs() * z.frames, 256)), dim3(256), 0, stream, z, o, d_o, delta);
  return with_depth<T>(z, [&](auto depth) {
    const size_t shared = tile_bytes(z, 4, 2);
    const auto of_queries = query_gradient<decltype(depth)::value / 16, T>, of_keys = key_gradient<decltype(depth)::value / 16, T>;
    HK_LAUNCH(of_queries, grid(z), dim3(kThreads), shared, stream, z, dropout, qkv, lengths, lse, d_o, delta, dqkv);
    HK_LAUNCH(of_keys, grid(z), dim3(kThreads), shared, stream, z, dropout, qkv, lengths, lse, d_o, delta, dqkv);
    return launched(call);
  });
}

}  // namespace without_tensor_cores
}  // namespace HK_ISA
}  // namespace hk
