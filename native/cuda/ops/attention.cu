// attention: softmax(q k^T / sqrt(depth)) v for every batch row and head, without ever holding a T x T matrix. Contract, dropout's
// numbering and the treatment of padded frames: native/cpu/ops/attention.cpp.
//
// f32 inside, without tensor cores. Blocks of 256 threads work on tiles of 64 queries x 64 keys held in shared memory; a thread has 4 rows
// (row = 4 * (thread / 16) + i) and every 16th column. Forward: online softmax over the key tiles (Milakov & Gimelshein 2018, Dao 2022).
// Backward: probabilities are made again from lse; one kernel sums dq over the key tiles, another dk and dv over the query tiles, so every
// element has one writer and one order of summation (no atomics).
#include "cuda/dropout.cuh"

namespace hk {
namespace HK_ISA {
namespace {

const int kTile = 64, kSide = 4, kThreads = 256, kMostDepth = 128;

struct Sizes {
  int64_t batch, frames, width, heads, depth;
  float   scale;
  int64_t pairs() const { return batch * heads; }
};

Sizes sizes_of(const hk_call* call) {
  const hk_tensor& qkv = call->inputs[0];
  Sizes z = {qkv.shape[0], qkv.shape[1], qkv.shape[2] / 3, (int64_t)attribute(call, "heads", 1), 0, 0};
  z.depth = z.width / z.heads;
  z.scale = (float)(1 / sqrt((double)z.depth));
  return z;
}

int expect_attention(hk_call* call, const char* op) {
  const hk_tensor& qkv = call->inputs[0];
  char text[96];
  if (expect_activation(call, op, "qkv", qkv, 3)) return 1;
  if (qkv.rank != 3 || qkv.shape[2] % 3 != 0) return fail(call, "%s: qkv must be [batch, frames, 3 width], got %s", op, describe(qkv, text));
  if (expect(call, op, "lengths", call->inputs[1], HK_I32, {qkv.shape[0]})) return 1;
  const int64_t width = qkv.shape[2] / 3;
  if (expect_integer(call, op, "heads", 1, 1, (double)width) || expect_dropout(call, op)) return 1;
  const int64_t heads = (int64_t)attribute(call, "heads", 1);
  if (width % heads) return fail(call, "%s: %lld heads do not divide width %lld", op, (long long)heads, (long long)width);
  if (width / heads > kMostDepth) return fail(call, "%s: at most %d channels for each head on a GPU, got %lld", op, kMostDepth, (long long)(width / heads));
  if (qkv.shape[0] * heads > 65535) return fail(call, "%s: at most 65535 heads in a batch, got %lld", op, (long long)(qkv.shape[0] * heads));
  return 0;
}

// ---- tiles: kTile rows of `depth` floats, one float between rows so that a column's rows lie in different banks ----

__device__ int pitch(const Sizes& z) { return (int)z.depth + 1; }

// Rows first .. of a matrix whose rows are `stride` apart; rows at `end` and beyond are zero.
template <class T>
__device__ void load_tile(const Sizes& z, const T* x, int64_t stride, int64_t first, int64_t end, float factor, float* tile) {
  for (int e = (int)threadIdx.x; e < kTile * (int)z.depth; e += kThreads) {
    const int r = e / (int)z.depth, c = e % (int)z.depth;
    tile[r * pitch(z) + c] = first + r < end ? factor * x[(first + r) * stride + c] : 0.0f;
  }
}

// s[i][j] = row (4 ty + i) of `a` times row (tx + 16 j) of `b`.
__device__ void tile_product(const Sizes& z, const float* a, const float* b, int ty, int tx, float (&s)[kSide][kSide]) {
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
__device__ void accumulate(const Sizes& z, const Weights& weights, const float* tile, int ty, int tx, float (&sums)[kSide][COLUMNS]) {
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

__device__ float max_of_row(float x) {  // over the 16 threads of a row
  for (int o = 8; o > 0; o >>= 1) x = fmaxf(x, __shfl_xor_sync(0xffffffffu, x, o));
  return x;
}
__device__ float sum_of_row(float x) {
  for (int o = 8; o > 0; o >>= 1) x += __shfl_xor_sync(0xffffffffu, x, o);
  return x;
}

// A thread's columns (tx + 16 c) of its rows first + 4 ty + i < end.
template <int COLUMNS, class T>
__device__ void store_rows(const Sizes& z, const float (&x)[kSide][COLUMNS], const float (&factor)[kSide], int64_t first, int64_t end, int ty, int tx, T* out, int64_t stride) {
  for (int i = 0; i < kSide; i++) {
    const int64_t r = first + kSide * ty + i;
    for (int c = 0; c < COLUMNS; c++)
      if (r < end && tx + 16 * c < (int)z.depth) out[r * stride + tx + 16 * c] = factor[i] * x[i][c];
  }
}

size_t tile_bytes(const Sizes& z, int tiles, int squares) {
  return (size_t)(tiles * kTile * (z.depth + 1) + squares * kTile * (kTile + 1)) * sizeof(float);
}

// ---- forward ---- grid (query tiles, batch x heads)

template <int COLUMNS, class T>
__global__ void __launch_bounds__(256) attend(Sizes z, Dropout dropout, const T* qkv, const int32_t* lengths, T* o, float* lse) {
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
      const uint64_t element = (uint64_t)(pair * z.frames + first + kSide * ty + i) * (uint64_t)z.frames + (uint64_t)(begin + tx);
#pragma unroll
      for (int j = 0; j < kSide; j++) {
        const float probability = expf(s[i][j] - top);
        sum += probability;
        p[(kSide * ty + i) * (kTile + 1) + tx + 16 * j] = probability * dropout.factor_of(element + 16 * (uint64_t)j);
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
__global__ void row_products(Sizes z, const T* o, const T* d_o, float* delta) {
  const int64_t n = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (n >= z.batch * z.heads * z.frames) return;
  const int64_t pair = n / z.frames, at = (pair / z.heads * z.frames + n % z.frames) * z.width + pair % z.heads * z.depth;
  float total = 0;
  for (int64_t c = 0; c < z.depth; c++) total += d_o[at + c] * o[at + c];
  delta[n] = total;
}

struct Tiles {
  float *q, *d_o, *k, *v, *p, *ds;
  __device__ Tiles(const Sizes& z, float* shared) {
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
  __device__ Head(const Sizes& z, const T* all, const int32_t* lengths, const T* all_d_o) {
    const int64_t b = blockIdx.y / z.heads, h = blockIdx.y % z.heads;
    length = clamp_length(lengths[b], z.frames);
    at = b * z.frames * 3 * z.width + h * z.depth;
    qkv = all + at;
    d_o = all_d_o + b * z.frames * z.width + h * z.depth;
  }
  __device__ void load_queries(const Sizes& z, const Tiles& t, int64_t first) const {
    load_tile(z, qkv, 3 * z.width, first, z.frames, z.scale, t.q);
    load_tile(z, d_o, z.width, first, z.frames, 1, t.d_o);
  }
  __device__ void load_keys(const Sizes& z, const Tiles& t, int64_t first) const {
    load_tile(z, qkv + z.width, 3 * z.width, first, length, 1, t.k);
    load_tile(z, qkv + 2 * z.width, 3 * z.width, first, length, 1, t.v);
  }
};

// From the four tiles: probabilities after dropout (p) and the gradient of the scores (ds), zero outside of the frames and the length.
__device__ void score_gradients(const Sizes& z, const Dropout& dropout, const Tiles& t, int64_t pair, int64_t query, int64_t key, int64_t length,
                                const float* lse, const float* delta, int ty, int tx) {
  float s[kSide][kSide], d[kSide][kSide];
  tile_product(z, t.q, t.k, ty, tx, s);
  tile_product(z, t.d_o, t.v, ty, tx, d);
  for (int i = 0; i < kSide; i++) {
    const int64_t n = query + kSide * ty + i;
    for (int j = 0; j < kSide; j++) {
      const int64_t m = key + tx + 16 * j;
      const bool inside = n < z.frames && m < length;
      const float probability = inside ? expf(s[i][j] - lse[n]) : 0.0f;
      const float factor = dropout.factor_of((uint64_t)(pair * z.frames + n) * (uint64_t)z.frames + (uint64_t)m);
      const int at = (kSide * ty + i) * (kTile + 1) + tx + 16 * j;
      t.p[at] = probability * factor;
      t.ds[at] = inside ? probability * (d[i][j] * factor - delta[n]) : 0.0f;
    }
  }
}

// grid (query tiles, batch x heads)
template <int COLUMNS, class T>
__global__ void __launch_bounds__(256) query_gradient(Sizes z, Dropout dropout, const T* qkv, const int32_t* lengths, const float* lse, const T* d_o,
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
__global__ void __launch_bounds__(256) key_gradient(Sizes z, Dropout dropout, const T* qkv, const int32_t* lengths, const float* lse, const T* d_o,
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

// body(Columns<N>()): a thread has N columns, 16 N are enough for the depth: 64 of base and large, 80 of xlarge, 128 at most.
template <int N> struct Columns { static const int value = N; };
template <class Body>
int with_columns(const Sizes& z, const Body& body) {
  return z.depth <= 64 ? body(Columns<4>()) : z.depth <= 80 ? body(Columns<5>()) : body(Columns<8>());
}

template <class T>
int allow_forward(hk_call* call) {
  const Sizes z = sizes_of(call);
  return with_columns(z, [&](auto columns) { return allow_shared(call, attend<decltype(columns)::value, T>, tile_bytes(z, 3, 1)); });
}

int prepare(hk_call* call, size_t*, void**) {
  const char* op = "attention";
  if (expect_counts(call, op, 2, 2) || expect_attention(call, op)) return 1;
  const Sizes z = sizes_of(call);
  if (expect(call, op, "o", call->outputs[0], call->inputs[0].dtype, {z.batch, z.frames, z.width})) return 1;
  if (present(call->outputs[1]) && expect(call, op, "lse", call->outputs[1], HK_F32, {z.batch, z.heads, z.frames})) return 1;
  return HK_BY_TYPE(call->inputs[0], allow_forward, call);
}

dim3 grid(const Sizes& z) { return dim3((unsigned)blocks_for(z.frames, kTile), (unsigned)z.pairs()); }

template <class T>
int run_as(hk_call* call) {
  const Sizes z = sizes_of(call);
  const Dropout dropout(call);
  return with_columns(z, [&](auto columns) {
    const auto kernel = attend<decltype(columns)::value, T>;
    HK_LAUNCH(kernel, grid(z), dim3(kThreads), tile_bytes(z, 3, 1), stream_of(call), z, dropout, data<T>(call->inputs[0]), i32(call->inputs[1]),
              data<T>(call->outputs[0]), f32(call->outputs[1]));
    return launched(call);
  });
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

template <class T>
int allow_backward(hk_call* call) {
  const Sizes z = sizes_of(call);
  return with_columns(z, [&](auto columns) {
    return allow_shared(call, query_gradient<decltype(columns)::value, T>, tile_bytes(z, 4, 2)) ||
           allow_shared(call, key_gradient<decltype(columns)::value, T>, tile_bytes(z, 4, 2));
  });
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "attention_grad";
  if (expect_counts(call, op, 5, 1) || expect_attention(call, op)) return 1;
  const Sizes z = sizes_of(call);
  const hk_tensor* in = call->inputs;
  if (expect(call, op, "o", in[2], in[0].dtype, {z.batch, z.frames, z.width}) || expect(call, op, "lse", in[3], HK_F32, {z.batch, z.heads, z.frames})) return 1;
  if (expect(call, op, "do", in[4], in[0].dtype, {z.batch, z.frames, z.width}) || expect_like(call, op, "dqkv", call->outputs[0], in[0])) return 1;
  *scratch_bytes = (size_t)(z.pairs() * z.frames) * sizeof(float);
  return HK_BY_TYPE(in[0], allow_backward, call);
}

template <class T>
int run_grad_as(hk_call* call) {
  const Sizes z = sizes_of(call);
  const Dropout dropout(call);
  const T *qkv = data<T>(call->inputs[0]), *o = data<T>(call->inputs[2]), *d_o = data<T>(call->inputs[4]);
  const float* lse = f32(call->inputs[3]);
  const int32_t* lengths = i32(call->inputs[1]);
  T* dqkv = data<T>(call->outputs[0]);
  float* delta = (float*)call->scratch;
  const cudaStream_t stream = stream_of(call);
  HK_LAUNCH(row_products<T>, dim3((unsigned)blocks_for(z.pairs() * z.frames, 256)), dim3(256), 0, stream, z, o, d_o, delta);
  return with_columns(z, [&](auto columns) {
    const size_t shared = tile_bytes(z, 4, 2);
    const auto of_queries = query_gradient<decltype(columns)::value, T>, of_keys = key_gradient<decltype(columns)::value, T>;
    HK_LAUNCH(of_queries, grid(z), dim3(kThreads), shared, stream, z, dropout, qkv, lengths, lse, d_o, delta, dqkv);
    HK_LAUNCH(of_keys, grid(z), dim3(kThreads), shared, stream, z, dropout, qkv, lengths, lse, d_o, delta, dqkv);
    return launched(call);
  });
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_grad_as, call); }

hk_cost cost(const hk_call* call) {
  const Sizes z = sizes_of(call);
  const double bt = (double)z.batch * (double)z.frames, d = (double)z.width;
  return {4 * bt * (double)z.frames * d, 4.0 * element_bytes(call->inputs[0]) * bt * d};
}
hk_cost cost_grad(const hk_call* call) {
  const Sizes z = sizes_of(call);
  const double bt = (double)z.batch * (double)z.frames, d = (double)z.width;
  return {10 * bt * (double)z.frames * d, 8.0 * element_bytes(call->inputs[0]) * bt * d};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(attention, {"attention", prepare, run, nullptr, cost}, {"attention_grad", prepare_grad, run_grad, nullptr, cost_grad})
