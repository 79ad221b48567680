// attention in bf16 on tensor cores, in the shape of FlashAttention-2 (Dao 2023): blocks of four warps; tiles of 64 rows pass through shared
// memory, the next one on its way (cp.async) while this one is multiplied. Scores, softmax and sums are f32; what a second product takes,
// probabilities after dropout or gradients of scores, is rounded to bf16 and goes from the registers of one product to those of the next.
//
//   kernel          a warp has                         passes by      products
//   attend          16 M queries (q)                   k, v           s = q k', o += p v
//   query_gradient  16 M queries (q, do)               k, v           s, dp = do v', dq += ds k
//   key_gradient    16 keys (k, v)                     q, do          s' = k q', dp' = v do', dv += p' do, dk += ds' q
//
// The running maximum is rounded up to a whole power of two: rescaling then changes no bit but the exponent, and how a probability is rounded
// does not depend on which keys came before it. Every element has one writer and one order of summation (no atomics).
// Depth is any multiple of 8 up to 80: channels up to DEPTH, a multiple of 16, are zeros. Rows of shared memory lie an odd number of 16 bytes apart:
// the eight that ldmatrix reads at a time are in different banks.
#pragma once
#include "cuda/attention.cuh"
#include "cuda/mma.cuh"

namespace hk {
namespace HK_ISA {
namespace on_tensor_cores {

const int kRows = 64, kWarps = 4, kThreads = 32 * kWarps;
const float kLog2E = 1.44269504f;

// The running thread's place in a fragment of 16 x 8: rows g and g + 8, columns 2 t and 2 t + 1.
__device__ static inline int warp() { return (int)threadIdx.x / 32; }
__device__ static inline int lane() { return (int)threadIdx.x % 32; }
__device__ static inline int g() { return lane() / 4; }
__device__ static inline int t() { return lane() % 4; }

__device__ static inline float quad_sum(float x) {  // over the four threads of a row
  x += __shfl_xor_sync(0xFFFFFFFFu, x, 1);
  return x + __shfl_xor_sync(0xFFFFFFFFu, x, 2);
}
__device__ static inline float quad_max(float x) {
  x = fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 1));
  return fmaxf(x, __shfl_xor_sync(0xFFFFFFFFu, x, 2));
}

// M times 16 rows of a warp as left operands, as sums, and a number for each of the thread's rows.
template <int DEPTH, int M> using Operands = uint32_t[M][DEPTH / 16][4];
template <int DEPTH, int M> using Sums = float[M][DEPTH / 8][4];
template <int M> using OfRows = float[M][2];

// A matrix of one head in global memory: rows first .. end - 1 are real, the others zero.
struct Rows {
  const bf16* x;
  int stride, end, depth;
  __device__ const bf16* row(int i) const { return x + (int64_t)i * stride; }
};

// One head of one batch row: blockIdx.y counts them.
struct Head {
  int64_t pair, qkv_at, o_at;  // its number, and where its channels begin in qkv and in o
  int     frames, length;
  __device__ Head(const AttentionSizes& z, const int32_t* lengths) {
    pair = blockIdx.y;
    const int64_t b = pair / z.heads, h = pair % z.heads;
    frames = (int)z.frames;
    length = (int)clamp_length(lengths[b], z.frames);
    qkv_at = b * z.frames * 3 * z.width + h * z.depth;
    o_at = b * z.frames * z.width + h * z.depth;
  }
};
__device__ static inline Rows part_of_qkv(const AttentionSizes& z, const Head& head, const bf16* qkv, int part, int end) {
  return {qkv + head.qkv_at + part * z.width, 3 * (int)z.width, end, (int)z.depth};
}
__device__ static inline Rows rows_of_o(const AttentionSizes& z, const Head& head, const bf16* o) {
  return {o + head.o_at, (int)z.width, head.frames, (int)z.depth};
}

template <int DEPTH, int M>
__device__ static inline void read_operands(const Rows& rows, int first, Operands<DEPTH, M>& a) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int k = 0; k < DEPTH / 16; k++)
#pragma unroll
      for (int r = 0; r < 4; r++) {
        const int row = first + 16 * m + g() + 8 * (r % 2);
        const int column = 16 * k + 2 * t() + 8 * (r / 2);
        a[m][k][r] = row < rows.end && column < rows.depth ? load_pair(rows.row(row) + column) : 0u;
      }
}

// ---- tiles ----

// Two matrices of kRows rows, twice: one pair is multiplied while the other is filled. Behind them, for each, numbers of the rows.
template <int DEPTH>
struct Tiles {
  static const int kPitch = DEPTH + 8, kMatrix = kRows * kPitch;
  bf16* shared;
  __device__ bf16* matrix(int which, int turn) const { return shared + (2 * turn + which) * kMatrix; }
  __device__ float* numbers(int which, int turn) const { return (float*)(shared + 4 * kMatrix) + (2 * turn + which) * kRows; }
};
template <int DEPTH>
static inline size_t tile_bytes(bool with_numbers) {
  return 4 * (Tiles<DEPTH>::kMatrix * sizeof(bf16) + (with_numbers ? kRows * sizeof(float) : 0));
}

// Begins to copy kRows rows from `first` on: two threads a row, which take turns at its chunks of 16 bytes (together a sector of memory).
// The eight threads that write at a time have every second row, which lie in different banks.
template <int DEPTH>
__device__ static inline void fetch(const Rows& rows, int first, bf16* tile) {
  const int r = 16 * warp() + lane() / 16 * 8 + lane() / 2 % 4 * 2 + lane() / 8 % 2, c = 8 * (lane() % 2);
  const bool real = first + r < rows.end;
  const bf16* from = real ? rows.row(first + r) + c : rows.x;
#pragma unroll
  for (int i = 0; i < DEPTH; i += 16) {
    const bool inside = real && c + i < rows.depth;
    copy_async<16>(tile + r * Tiles<DEPTH>::kPitch + c + i, inside ? from + i : rows.x, inside);
  }
}

// s[m][n]: 16 rows of `a` times rows row + 8 n .. of the tile.
template <int DEPTH, int M, int N>
__device__ static inline void multiply_rows(const Operands<DEPTH, M>& a, const bf16* tile, int row, float (&s)[M][N][4]) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++) s[m][n][i] = 0;
  const bf16* mine = tile + (row + lane() % 8 + lane() / 16 * 8) * Tiles<DEPTH>::kPitch + lane() / 8 % 2 * 8;
#pragma unroll
  for (int k = 0; k < DEPTH / 16; k++)
#pragma unroll
    for (int n = 0; n < N; n += 2) {
      uint32_t b[4];
      ldmatrix_x4(b, mine + 8 * n * Tiles<DEPTH>::kPitch + 16 * k);
#pragma unroll
      for (int m = 0; m < M; m++) {
        mma_m16n8k16(s[m][n], a[m][k], b[0], b[1]);
        mma_m16n8k16(s[m][n + 1], a[m][k], b[2], b[3]);
      }
    }
}

// The first column of `s` stands `n_keys` before the end of the keys: scores from there on get probability 0.
template <int M, int N>
__device__ static inline void hide_keys(int n_keys, float (&s)[M][N][4]) {
  if (n_keys >= 8 * N) return;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int n = 0; n < N; n++)
#pragma unroll
      for (int i = 0; i < 4; i++)
        if (8 * n + 2 * t() + i % 2 >= n_keys) s[m][n][i] = -INFINITY;
}

// sums += weights (16 columns of each m: w[m][n] and w[m][n + 1], rounded) times rows row .. row + 15 of the tile.
template <int DEPTH, int M, int N>
__device__ static inline void add_weighted_rows(const float (&w)[M][N][4], int n, const bf16* tile, int row, Sums<DEPTH, M>& sums) {
  uint32_t a[M][4];
#pragma unroll
  for (int m = 0; m < M; m++) as_left_operand(w[m][n], w[m][n + 1], a[m]);
  const bf16* mine = tile + (row + lane() % 16) * Tiles<DEPTH>::kPitch + lane() / 16 * 8;
#pragma unroll
  for (int c = 0; c < DEPTH / 16; c++) {
    uint32_t b[4];
    ldmatrix_x4_transposed(b, mine + 16 * c);
#pragma unroll
    for (int m = 0; m < M; m++) {
      mma_m16n8k16(sums[m][2 * c], a[m], b[0], b[1]);
      mma_m16n8k16(sums[m][2 * c + 1], a[m], b[2], b[3]);
    }
  }
}

// Rows first .. end - 1 of the warp: factor times the sums, zeros from row `live` on.
template <int DEPTH, int M>
__device__ static inline void store_rows(const Sums<DEPTH, M>& sums, const OfRows<M>& factor, int first, int live, int end, int depth, bf16* out,
                                         int stride) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = first + 16 * m + g() + 8 * h;
#pragma unroll
      for (int n = 0; n < DEPTH / 8; n++) {
        const float left = row < live ? factor[m][h] * sums[m][n][2 * h] : 0.0f, right = row < live ? factor[m][h] * sums[m][n][2 * h + 1] : 0.0f;
        if (row < end && 8 * n < depth) store_pair(out + (int64_t)row * stride + 8 * n + 2 * t(), pack(left, right));
      }
    }
}

// ---- dropout ----

// Element (query, key) of the probabilities of all heads.
__device__ static inline uint64_t element_of(const AttentionSizes& z, const Head& head, int query, int key) {
  return (uint64_t)(head.pair * z.frames + query) * (uint64_t)z.frames + (uint64_t)key;
}

// Bit 8 n + c, c < 2: the thread's column 2 t + c of the n-th eight of the 64 elements from `first` on is kept. The four threads of a row,
// which have the same `first`, draw 16 elements each.
__device__ static inline uint64_t kept_of_row(const Dropout& dropout, uint64_t first) {
  const uint32_t mine = dropout.kept_16(first + 16 * (uint64_t)t()) << 16 * (t() % 2);
  const uint32_t half = mine | __shfl_xor_sync(0xFFFFFFFFu, mine, 1), other = __shfl_xor_sync(0xFFFFFFFFu, half, 2);
  return ((uint64_t)(t() < 2 ? other : half) << 32 | (t() < 2 ? half : other)) >> 2 * t();
}

// ---- forward ---- grid (query tiles of 64 M, batch x heads)

// Scores of a tile -> 2^(score - maximum) of its keys, zero where dropped; sums and totals are rescaled to the new maximum.
template <int DEPTH, int M>
__device__ static inline void softmax_of_tile(float scale, float (&s)[M][8][4], OfRows<M>& maximum, OfRows<M>& total, Sums<DEPTH, M>& sums) {
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float top = s[m][0][2 * h];
#pragma unroll
      for (int n = 0; n < 8; n++) top = fmaxf(top, fmaxf(s[m][n][2 * h], s[m][n][2 * h + 1]));
      top = fmaxf(maximum[m][h], ceilf(scale * quad_max(top)));
      const float shrink = exp2_of(maximum[m][h] - top);
      maximum[m][h] = top;
      total[m][h] *= shrink;
#pragma unroll
      for (int n = 0; n < DEPTH / 8; n++) {
        sums[m][n][2 * h] *= shrink;
        sums[m][n][2 * h + 1] *= shrink;
      }
#pragma unroll
      for (int n = 0; n < 8; n++)
#pragma unroll
        for (int c = 2 * h; c < 2 * h + 2; c++) {
          s[m][n][c] = exp2_of(fmaf(scale, s[m][n][c], -top));
          total[m][h] += s[m][n][c];
        }
    }
}

template <int DEPTH, int M>
static __global__ void __launch_bounds__(kThreads) attend(AttentionSizes z, Dropout dropout, const bf16* qkv, const int32_t* lengths, bf16* o, float* lse) {
  HK_SHARED(bf16, shared);
  const Tiles<DEPTH> tiles = {shared};
  const Head head(z, lengths);
  const int first = 16 * M * ((int)blockIdx.x * kWarps + warp());  // of this warp
  const Rows k = part_of_qkv(z, head, qkv, 1, head.length), v = part_of_qkv(z, head, qkv, 2, head.length);
  const auto fetch_keys = [&](int begin, int turn) {
    fetch<DEPTH>(k, begin, tiles.matrix(0, turn));
    fetch<DEPTH>(v, begin, tiles.matrix(1, turn));
  };
  if (head.length > 0) fetch_keys(0, 0);
  Operands<DEPTH, M> q;
  read_operands<DEPTH, M>(part_of_qkv(z, head, qkv, 0, head.frames), first, q);
  Sums<DEPTH, M> sums = {};
  OfRows<M> maximum, total = {};
#pragma unroll
  for (int m = 0; m < M; m++) maximum[m][0] = maximum[m][1] = -INFINITY;
  int turn = 0;
  for (int begin = 0; begin < head.length; begin += kRows, turn ^= 1) {
    wait_for_copies();
    __syncthreads();  // this tile is there, and nobody reads the one before it any more
    if (begin + kRows < head.length) fetch_keys(begin + kRows, turn ^ 1);
    float s[M][8][4];
    multiply_rows<DEPTH>(q, tiles.matrix(0, turn), 0, s);
    hide_keys(head.length - begin, s);
    softmax_of_tile<DEPTH>(z.scale * kLog2E, s, maximum, total, sums);
    if (dropout.on()) {
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int h = 0; h < 2; h++) {
          const uint64_t kept = kept_of_row(dropout, element_of(z, head, first + 16 * m + g() + 8 * h, begin));
#pragma unroll
          for (int n = 0; n < 8; n++)
#pragma unroll
            for (int c = 0; c < 2; c++)
              if (!(kept >> (8 * n + c) & 1)) s[m][n][2 * h + c] = 0;
        }
    }
#pragma unroll
    for (int n = 0; n < 8; n += 2) add_weighted_rows<DEPTH>(s, n, tiles.matrix(1, turn), 8 * n, sums);
  }
  OfRows<M> factor;
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      total[m][h] = quad_sum(total[m][h]);
      factor[m][h] = dropout.scale / total[m][h];
      const int row = first + 16 * m + g() + 8 * h;
      if (lse && t() == 0 && row < head.frames) lse[head.pair * z.frames + row] = head.length > 0 ? (maximum[m][h] + log2f(total[m][h])) / kLog2E : 0.0f;
    }
  store_rows<DEPTH, M>(sums, factor, first, head.length > 0 ? head.frames : 0, head.frames, (int)z.depth, o + head.o_at, (int)z.width);
}

// ---- backward ----

// A score's probability after dropout, and the score's gradient.
struct ScoreGradient {
  float p, ds;
  __device__ ScoreGradient(float scale, float dropout_scale, float s, float dp, bool kept, float log2_total, float delta) {
    const float probability = exp2_of(fmaf(scale, s, -log2_total));
    p = kept ? probability : 0.0f;
    ds = probability * ((kept ? dropout_scale * dp : 0.0f) - delta);
  }
};

// delta = sum over the head's channels of do * o, here and in memory for key_gradient. Threads have columns of their rows as in `d_o`.
template <int DEPTH, int M>
__device__ static inline void row_products(const Rows& o, const Operands<DEPTH, M>& d_o, int first, OfRows<M>& delta, float* out) {
  Operands<DEPTH, M> other;
  read_operands<DEPTH, M>(o, first, other);
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      float sum = 0;
#pragma unroll
      for (int k = 0; k < DEPTH / 16; k++)
#pragma unroll
        for (int r = h; r < 4; r += 2) {
          sum = fmaf(low(d_o[m][k][r]), low(other[m][k][r]), sum);
          sum = fmaf(high(d_o[m][k][r]), high(other[m][k][r]), sum);
        }
      delta[m][h] = quad_sum(sum);
      const int row = first + 16 * m + g() + 8 * h;
      if (t() == 0 && row < o.end) out[row] = delta[m][h];
    }
}

// grid (query tiles of 64 M, batch x heads)
template <int DEPTH, int M>
static __global__ void __launch_bounds__(kThreads) query_gradient(AttentionSizes z, Dropout dropout, const bf16* qkv, const int32_t* lengths, const bf16* o,
                                                                  const float* lse, const bf16* d_o, float* delta, bf16* dqkv) {
  HK_SHARED(bf16, shared);
  const Tiles<DEPTH> tiles = {shared};
  const Head head(z, lengths);
  const int first = 16 * M * ((int)blockIdx.x * kWarps + warp());  // of this warp
  const Rows k = part_of_qkv(z, head, qkv, 1, head.length), v = part_of_qkv(z, head, qkv, 2, head.length);
  const auto fetch_keys = [&](int begin, int turn) {
    fetch<DEPTH>(k, begin, tiles.matrix(0, turn));
    fetch<DEPTH>(v, begin, tiles.matrix(1, turn));
  };
  if (head.length > 0) fetch_keys(0, 0);
  Operands<DEPTH, M> q, upstream;
  OfRows<M> log2_total, deltas, factor;
  read_operands<DEPTH, M>(part_of_qkv(z, head, qkv, 0, head.frames), first, q);
  read_operands<DEPTH, M>(rows_of_o(z, head, d_o), first, upstream);
  row_products<DEPTH, M>(rows_of_o(z, head, o), upstream, first, deltas, delta + head.pair * z.frames);
#pragma unroll
  for (int m = 0; m < M; m++)
#pragma unroll
    for (int h = 0; h < 2; h++) {
      const int row = first + 16 * m + g() + 8 * h;
      log2_total[m][h] = row < head.frames ? kLog2E * lse[head.pair * z.frames + row] : 0.0f;
      factor[m][h] = z.scale;
    }
  Sums<DEPTH, M> dq = {};
  int turn = 0;
  for (int begin = 0; begin < head.length; begin += kRows, turn ^= 1) {
    wait_for_copies();
    __syncthreads();  // this tile is there, and nobody reads the one before it any more
    if (begin + kRows < head.length) fetch_keys(begin + kRows, turn ^ 1);
    uint64_t kept[M][2];
#pragma unroll
    for (int m = 0; m < M; m++)
#pragma unroll
      for (int h = 0; h < 2; h++)
        kept[m][h] = dropout.on() ? kept_of_row(dropout, element_of(z, head, first + 16 * m + g() + 8 * h, begin)) : ~0ull;
#pragma unroll 1
    for (int j = 0; j < kRows; j += 16) {
      float s[M][2][4], dp[M][2][4];
      multiply_rows<DEPTH>(q, tiles.matrix(0, turn), j, s);
      multiply_rows<DEPTH>(upstream, tiles.matrix(1, turn), j, dp);
      hide_keys(head.length - begin - j, s);
#pragma unroll
      for (int m = 0; m < M; m++)
#pragma unroll
        for (int n = 0; n < 2; n++)
#pragma unroll
          for (int i = 0; i < 4; i++) {
            const int h = i / 2;
            const bool is_kept = kept[m][h] >> (j + 8 * n + i % 2) & 1;
            s[m][n][i] = ScoreGradient(z.scale * kLog2E, dropout.scale, s[m][n][i], dp[m][n][i], is_kept, log2_total[m][h], deltas[m][h]).ds;
          }
      add_weighted_rows<DEPTH>(s, 0, tiles.matrix(0, turn), j, dq);
    }
  }
  store_rows<DEPTH, M>(dq, factor, first, head.frames, head.frames, (int)z.depth, dqkv + head.qkv_at, 3 * (int)z.width);
}

// grid (key tiles, batch x heads). Keys at the length and beyond get zeros; queries beyond the frames are rows of zeros, whose upstream
// gradient, lse and delta are zero too: they add nothing.
template <int DEPTH>
static __global__ void __launch_bounds__(kThreads) key_gradient(AttentionSizes z, Dropout dropout, const bf16* qkv, const int32_t* lengths, const float* lse,
                                                                const bf16* d_o, const float* delta, bf16* dqkv) {
  HK_SHARED(bf16, shared);
  const Tiles<DEPTH> tiles = {shared};
  const Head head(z, lengths);
  const int block_first = (int)blockIdx.x * kRows, first = block_first + 16 * warp();
  const Rows q = part_of_qkv(z, head, qkv, 0, head.frames), upstream = rows_of_o(z, head, d_o);
  const auto fetch_queries = [&](int begin, int turn) {
    fetch<DEPTH>(q, begin, tiles.matrix(0, turn));
    fetch<DEPTH>(upstream, begin, tiles.matrix(1, turn));
    const int which = (int)threadIdx.x / kRows, r = (int)threadIdx.x % kRows;
    const float* numbers = (which ? delta : lse) + head.pair * z.frames;
    const bool inside = begin + r < head.frames;
    copy_async<4>(tiles.numbers(which, turn) + r, inside ? numbers + begin + r : numbers, inside);
  };
  if (block_first < head.length) fetch_queries(0, 0);
  Operands<DEPTH, 1> k, v;
  read_operands<DEPTH, 1>(part_of_qkv(z, head, qkv, 1, head.length), first, k);
  read_operands<DEPTH, 1>(part_of_qkv(z, head, qkv, 2, head.length), first, v);
  Sums<DEPTH, 1> dk = {}, dv = {};
  int turn = 0;
  for (int begin = 0; begin < head.frames && block_first < head.length; begin += kRows, turn ^= 1) {
    wait_for_copies();
    __syncthreads();  // this tile is there, and nobody reads the one before it any more
    if (begin + kRows < head.frames) fetch_queries(begin + kRows, turn ^ 1);
    const float *log_totals = tiles.numbers(0, turn), *deltas = tiles.numbers(1, turn);
    // Bit i of a half: the warp's key i is kept, of query begin + lane in the low half and of begin + lane + 32 in the high one.
    const uint32_t kept = !dropout.on() ? ~0u
                                        : dropout.kept_16(element_of(z, head, begin + lane(), first)) |
                                              dropout.kept_16(element_of(z, head, begin + lane() + 32, first)) << 16;
#pragma unroll 1
    for (int j = 0; j < kRows; j += 16) {
      float s[1][2][4], dp[1][2][4];
      multiply_rows<DEPTH>(k, tiles.matrix(0, turn), j, s);
      multiply_rows<DEPTH>(v, tiles.matrix(1, turn), j, dp);
#pragma unroll
      for (int n = 0; n < 2; n++)
#pragma unroll
        for (int c = 0; c < 2; c++) {
          const int query = j + 8 * n + 2 * t() + c;
          const uint32_t kept_keys = __shfl_sync(0xFFFFFFFFu, kept, query % 32) >> (j / 32 * 16 + g());
#pragma unroll
          for (int h = 0; h < 2; h++) {
            const int i = 2 * h + c;
            const ScoreGradient of(z.scale * kLog2E, dropout.scale, s[0][n][i], dp[0][n][i], kept_keys >> 8 * h & 1, kLog2E * log_totals[query],
                                   deltas[query]);
            s[0][n][i] = of.p;
            dp[0][n][i] = of.ds;
          }
        }
      add_weighted_rows<DEPTH>(s, 0, tiles.matrix(1, turn), j, dv);
      add_weighted_rows<DEPTH>(dp, 0, tiles.matrix(0, turn), j, dk);
    }
  }
  const OfRows<1> of_dk = {{z.scale, z.scale}}, of_dv = {{dropout.scale, dropout.scale}};
  store_rows<DEPTH, 1>(dk, of_dk, first, head.length, head.frames, (int)z.depth, dqkv + head.qkv_at + z.width, 3 * (int)z.width);
  store_rows<DEPTH, 1>(dv, of_dv, first, head.length, head.frames, (int)z.depth, dqkv + head.qkv_at + 2 * z.width, 3 * (int)z.width);
}

// ---- host side ----

// Of more channels, operands and sums do not fit the registers. Frames and distances of rows are 32-bit numbers.
static inline bool takes(const hk_call* call) {
  const AttentionSizes z(call);
  return is_bf16(call->inputs[0]) && z.depth % 8 == 0 && z.depth <= 80 && z.frames < 1 << 30 && z.width < 1 << 29;
}

// body(Depth<N>()): N is the number of channels that a kernel is made for: 64 of base and large, 80 of xlarge.
template <class Body>
int with_depth(const AttentionSizes& z, const Body& body) {
  return z.depth <= 64 ? body(Depth<64>()) : body(Depth<80>());
}

// A warp has 32 queries where their sums leave room for it in the registers, else 16.
constexpr int sixteens(int depth) { return depth <= 64 ? 2 : 1; }
static inline dim3 grid(const AttentionSizes& z, int rows) { return dim3((unsigned)blocks_for(z.frames, rows), (unsigned)z.pairs()); }

static inline int allow_attend(hk_call* call) {
  return with_depth(AttentionSizes(call), [&](auto depth) {
    const int DEPTH = decltype(depth)::value;
    return allow_shared(call, attend<DEPTH, sixteens(DEPTH)>, tile_bytes<DEPTH>(false));
  });
}

static inline int run_attend(hk_call* call) {
  const AttentionSizes z(call);
  const Dropout dropout(call);
  return with_depth(z, [&](auto depth) {
    const int DEPTH = decltype(depth)::value, M = sixteens(DEPTH);
    const auto kernel = attend<DEPTH, M>;
    HK_LAUNCH(kernel, grid(z, kRows * M), dim3(kThreads), tile_bytes<DEPTH>(false), stream_of(call), z, dropout, data<bf16>(call->inputs[0]),
              i32(call->inputs[1]), data<bf16>(call->outputs[0]), f32(call->outputs[1]));
    return launched(call);
  });
}

static inline int allow_gradients(hk_call* call) {
  return with_depth(AttentionSizes(call), [&](auto depth) {
    const int DEPTH = decltype(depth)::value;
    return allow_shared(call, query_gradient<DEPTH, sixteens(DEPTH)>, tile_bytes<DEPTH>(false)) ||
           allow_shared(call, key_gradient<DEPTH>, tile_bytes<DEPTH>(true));
  });
}

static inline int run_gradients(hk_call* call) {
  const AttentionSizes z(call);
  const Dropout dropout(call);
  const bf16 *qkv = data<bf16>(call->inputs[0]), *o = data<bf16>(call->inputs[2]), *d_o = data<bf16>(call->inputs[4]);
  const float* lse = f32(call->inputs[3]);
  const int32_t* lengths = i32(call->inputs[1]);
  bf16* dqkv = data<bf16>(call->outputs[0]);
  float* delta = (float*)call->scratch;
  return with_depth(z, [&](auto depth) {
    const int DEPTH = decltype(depth)::value, M = sixteens(DEPTH);
    const auto of_queries = query_gradient<DEPTH, M>;
    const auto of_keys = key_gradient<DEPTH>;
    HK_LAUNCH(of_queries, grid(z, kRows * M), dim3(kThreads), tile_bytes<DEPTH>(false), stream_of(call), z, dropout, qkv, lengths, o, lse, d_o, delta, dqkv);
    HK_LAUNCH(of_keys, grid(z, kRows), dim3(kThreads), tile_bytes<DEPTH>(true), stream_of(call), z, dropout, qkv, lengths, lse, d_o, delta, dqkv);
    return launched(call);
  });
}

}  // namespace on_tensor_cores
}  // namespace HK_ISA
}  // namespace hk
