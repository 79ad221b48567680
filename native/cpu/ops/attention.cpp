// attention: softmax(q k^T / sqrt(depth)) v for every batch row and head, without ever holding a T x T matrix.
//   qkv[B, T, 3 D] (q, k, v blocks of D = heads x depth), lengths i32[B]  ->  o[B, T, D], lse[B, heads, T]
// Keys t >= length take no part; queries at padded frames are computed like any other; a row of length 0 gives o = 0, lse = 0.
// Dropout falls on the probabilities; element ((b heads + h) T + i) T + j.
//
// qkv, o and their gradients may be bf16. Softmax and sums are f32 in either case; where the products of bf16 are made of pairs
// (factor.h), probabilities and the gradients of scores are rounded to bf16 before they are multiplied.
// Forward: work item = (batch row, head, block of queries). k transposed (and scaled) and v of every head are first copied to
// dense, padded scratch; then scores of the block (block x length) -> softmax in place -> times v.
// Backward: work item = (batch row, head), so that dk and dv have one writer and one order of summation. Probabilities are
// computed again from lse, in tiles (block of queries x block of keys):
//   p = exp(s - lse), ds = p (dp - sum(do o)), dv += p^T do, dk += ds^T q, dq += ds k.
// The products are tile_gemm. Their left operands are rows, their right ones [sum, columns]; in pairs, two neighbours along the sum
// lie side by side: of q and do, whose frames are summed over as well as their channels, there are then two copies. A library call per tile would cost more than the tile, and none runs well inside a parallel region.
#include "cpu/dropout.h"
#include "cpu/tile.h"
#include "ops/attention.h"

namespace hk {
namespace HK_ISA {
namespace {

int64_t round_up(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }
int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }
// A row length of an odd number of cache lines: a column walk then visits all sets of the cache.
int64_t odd_lines(int64_t n) { return round_up(n, 16) / 16 % 2 ? round_up(n, 16) : round_up(n, 16) + 16; }

struct Sizes : AttentionSizes {
  int64_t padded_depth;
  int64_t queries, query_blocks;  // queries in a block
  int64_t keys, key_blocks;       // keys in a block (backward)

  Sizes(const hk_call* call, bool backward) : AttentionSizes(call) {
    padded_depth = round_up(depth, 16);
    // 252 keys and an unaligned start are at most 64 Philox blocks.
    const int64_t most_keys = backward ? 252 : frames;
    key_blocks = (frames + most_keys - 1) / most_keys;
    keys = (frames + key_blocks - 1) / key_blocks;
    // A block of scores should leave room for k and v in the L2 cache.
    int64_t most_queries = 32768 / round_up(keys, 16) / kTileRows * kTileRows;
    most_queries = most_queries < 2 * kTileRows ? 2 * kTileRows : most_queries > 96 ? 96 : most_queries;
    query_blocks = (frames + most_queries - 1) / most_queries;
    queries = smaller(most_queries, round_up((frames + query_blocks - 1) / query_blocks, kTileRows));
  }
  int64_t score_row() const { return odd_lines(keys); }
  int64_t row() const { return 3 * width; }
};

// f32 keys are scaled when they are copied. Those of pairs would be rounded once more: scores and dq are scaled instead.
template <class Factor>
float key_scale(const Sizes& z) { return kNumbers<Factor> == 1 ? z.scale : 1; }
template <class Factor>
float score_scale(const Sizes& z) { return kNumbers<Factor> == 1 ? 1 : z.scale; }

// out[rows, padded depth] = factor * x (rows `stride` apart), padded with zeros: a left operand.
template <class T>
void copy_rows(int64_t rows, int64_t depth, int64_t padded, const T* x, int64_t stride, float factor, float* out) {
  for (int64_t r = 0; r < rows; r++) {
    for (int64_t i = 0; i < depth; i++) out[r * padded + i] = factor * x[r * stride + i];
    for (int64_t i = depth; i < padded; i++) out[r * padded + i] = 0;
  }
}

// The same as a right operand whose rows are summed over.
template <class T>
void copy_sum_rows(int64_t rows, int64_t depth, int64_t padded, const T* x, int64_t stride, float factor, float* out) {
  copy_rows(rows, depth, padded, x, stride, factor, out);
}

// A right operand summed over depth: out[depth, rows] = factor * x^T, `ld` apart, columns padded with zeros to a multiple of 16.
template <class T>
void copy_transposed(int64_t rows, int64_t depth, const T* x, int64_t stride, float factor, float* out, int64_t ld) {
  for (int64_t r = 0; r < rows; r += 16) {
    const int64_t n = smaller(16, rows - r);
    for (int64_t i = 0; i < depth; i++) {
      float* to = out + i * ld + r;
      for (int64_t j = 0; j < n; j++) to[j] = factor * x[(r + j) * stride + i];
      for (int64_t j = n; j < 16; j++) to[j] = 0;
    }
  }
}

#if defined(__AVX512BF16__)
// The three in pairs, as they are (factor 1): rows without a neighbour and odd channels get a zero.
void copy_rows(int64_t rows, int64_t depth, int64_t padded, const bf16* x, int64_t stride, float, Pair* out) {
  for (int64_t r = 0; r < rows; r++) {
    bf16* to = (bf16*)out + r * padded;
    memcpy((void*)to, (const void*)(x + r * stride), (size_t)depth * sizeof(bf16));
    memset((void*)(to + depth), 0, (size_t)(padded - depth) * sizeof(bf16));
  }
}
void copy_sum_rows(int64_t rows, int64_t depth, int64_t padded, const bf16* x, int64_t stride, float, Pair* out) {
  for (int64_t r = 0; r < rows; r += 2)
    for (int64_t i = 0; i < padded; i += 16) {
      const bf16* from = x + r * stride + i;
      store_pairs(out + r / 2 * padded + i, load_tail(from, depth - i), r + 1 < rows ? load_tail(from + stride, depth - i) : v16{});
    }
}
void copy_transposed(int64_t rows, int64_t depth, const bf16* x, int64_t stride, float, Pair* out, int64_t ld) {
  for (int64_t r = 0; r < rows; r += 16) {
    const int64_t n = smaller(16, rows - r);
    for (int64_t i = 0; i < depth; i += 2) {
      Pair* to = out + i / 2 * ld + r;
      const bf16* from = x + r * stride + i;
      for (int64_t j = 0; j < n; j++) set_factor(to + j, from[j * stride], i + 1 < depth ? from[j * stride + 1] : bf16(0.0f));
      for (int64_t j = n; j < 16; j++) set_factor(to + j, 0.0f, 0.0f);
    }
  }
}
#endif

// scores * scale -> exp(those - max), dropped where `words` say so, over `count` keys (the padding up to a multiple of 16 becomes 0). p may
// lie in the place of s. Returns the sum before dropout and the maximum.
template <class Number>
float softmax_row(float* s, int64_t count, float scale, const Dropout& dropout, const uint32_t* words, Number* p, float* maximum) {
  for (int64_t j = count; j < round_up(count, 16); j++) s[j] = -INFINITY;
  v16 top = splat(-INFINITY);
  for (int64_t j = 0; j < count; j += 16) top = max(load(s + j), top);
  const float m = max_of(top) * scale;
  v16 total = {};
  for (int64_t j = 0; j < count; j += 16) {
    const v16 e = exp(load(s + j) * scale - m);
    total += e;
    store(p + j, words ? dropout.apply(e, words + j) : e);
  }
  *maximum = m;
  return sum(total);
}

// ---- forward ----

int64_t word_buffer(int64_t count) { return Dropout::buffer_words(count) + 16; }

struct ForwardScratch {
  int64_t keys, head, thread;  // floats for the keys of a head, each head and each thread
  ForwardScratch(const Sizes& z, int64_t numbers) {  // in a factor
    keys = (z.depth + numbers - 1) / numbers * z.score_row();
    head = keys + (z.frames + numbers - 1) / numbers * z.padded_depth;
    thread = z.queries * (z.score_row() + 2 * z.padded_depth) + round_up(word_buffer(z.frames), 16);
  }
};

int attention_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "attention";
  if (expect_counts(call, op, 2, 2) || expect_attention(call, op) || expect_attended(call, op)) return 1;
  const Sizes z(call, false);
  const ForwardScratch scratch(z, makes_pairs(is_bf16(call->inputs[0])) ? 2 : 1);
  const int64_t slots = thread_slots(z.batch * z.heads * z.query_blocks);
  *state = (void*)(intptr_t)slots;
  *scratch_bytes = (size_t)(z.batch * z.heads * scratch.head + slots * scratch.thread) * sizeof(float);
  return 0;
}

// The outputs of queries first .. first + count of one head.
template <class T, class Factor>
void attend(const Sizes& z, const Dropout& dropout, const T* q, const Factor* kt, const Factor* v, int64_t length, int64_t pair,
            int64_t first, int64_t count, T* o, float* lse, float* scratch) {
  const int64_t depth = z.padded_depth, ld = z.score_row();
  float *scores = scratch + z.queries * depth, *out = scores + z.queries * ld;
  uint32_t* buffer = (uint32_t*)(out + z.queries * depth);
  Factor* block = (Factor*)scratch;
  copy_rows(count, z.depth, depth, q, z.row(), 1, block);
  tile_gemm(count, round_up(length, 16), factors<Factor>(z.depth), block, factors<Factor>(depth), 1, kt, ld, scores, ld, false);
  float inverse[96];
  for (int64_t i = 0; i < count; i++) {
    const uint64_t element = (uint64_t)(pair * z.frames + first + i) * (uint64_t)z.frames;
    const uint32_t* words = dropout.on() ? dropout.words(element, length, buffer) : nullptr;
    float *s = scores + i * ld, maximum;
    const float total = softmax_row(s, length, score_scale<Factor>(z), dropout, words, (typename Product<T>::Number*)s, &maximum);
    if (lse) lse[i] = maximum + logf(total);
    inverse[i] = 1 / total;
  }
  tile_gemm(count, depth, factors<Factor>(length), (const Factor*)scores, ld, 1, v, depth, out, depth, false);
  for (int64_t i = 0; i < count; i++)
    for (int64_t d = 0; d < z.depth; d++) o[i * z.width + d] = out[i * depth + d] * inverse[i];
}

template <class T>
void attend_to_nothing(const Sizes& z, int64_t count, T* o, float* lse) {
  for (int64_t i = 0; i < count; i++) memset((void*)(o + i * z.width), 0, (size_t)z.depth * sizeof(T));
  if (lse) memset(lse, 0, (size_t)count * sizeof(float));
}

template <class T>
int attention_as(hk_call* call) {
  typedef typename Product<T>::Factor Factor;
  const Sizes z(call, false);
  const ForwardScratch size(z, kNumbers<Factor>);
  const Dropout dropout(call);
  const T* qkv = data<T>(call->inputs[0]);
  const int32_t* lengths = i32(call->inputs[1]);
  T* o = data<T>(call->outputs[0]);
  float* lse = f32(call->outputs[1]);
  float *heads = (float*)call->scratch, *threads = heads + z.batch * z.heads * size.head;
  const int64_t pairs = z.batch * z.heads;
#pragma omp parallel num_threads(use_threads(call))
  {
#pragma omp for schedule(dynamic)
    for (int64_t pair = 0; pair < pairs; pair++) {
      const int64_t b = pair / z.heads, h = pair % z.heads, length = clamp_length(lengths[b], z.frames);
      const T* k = qkv + b * z.frames * z.row() + z.width + h * z.depth;
      Factor* kt = (Factor*)(heads + pair * size.head);
      copy_transposed(length, z.depth, k, z.row(), key_scale<Factor>(z), kt, z.score_row());
      copy_sum_rows(length, z.depth, z.padded_depth, k + z.width, z.row(), 1, kt + size.keys);
    }
#pragma omp for schedule(dynamic)
    for (int64_t item = 0; item < pairs * z.query_blocks; item++) {
      const int64_t pair = item / z.query_blocks, b = pair / z.heads, h = pair % z.heads;
      const int64_t first = item % z.query_blocks * z.queries, count = smaller(z.queries, z.frames - first);
      if (count <= 0) continue;
      const int64_t length = clamp_length(lengths[b], z.frames);
      T* to = o + (b * z.frames + first) * z.width + h * z.depth;
      float* to_lse = lse ? lse + pair * z.frames + first : nullptr;
      const Factor* kt = (const Factor*)(heads + pair * size.head);
      const T* q = qkv + (b * z.frames + first) * z.row() + h * z.depth;
      if (length == 0) attend_to_nothing(z, count, to, to_lse);
      else attend(z, dropout, q, kt, kt + size.keys, length, pair, first, count, to, to_lse, threads + omp_get_thread_num() * size.thread);
    }
  }
  return 0;
}
int attention_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], attention_as, call); }

// ---- backward ----

// What one thread works in. Whole head: q, do, dq (frames x depth), sums of do * o. Key block: kt, vt, k, dk, dv. Tile: p, ds.
// In pairs also q and do with their frames summed over, and ds as the left operand of dq.
template <class Factor>
struct BackwardScratch {
  Factor *q, *d_o, *q_sum, *d_o_sum, *kt, *vt, *k, *ds_rows;
  float *dq, *delta, *dk, *dv, *p, *ds;
  uint32_t* words;
  int64_t floats;
  BackwardScratch(const Sizes& z, float* base) {
    int64_t used = 0;
    const auto take = [&](int64_t n) {
      float* at = base ? base + used : nullptr;
      used += round_up(n, 16);
      return at;
    };
    const bool pairs = kNumbers<Factor> == 2;
    q = (Factor*)take(z.frames * factors<Factor>(z.padded_depth));
    d_o = (Factor*)take(z.frames * factors<Factor>(z.padded_depth));
    q_sum = pairs ? (Factor*)take(factors<Factor>(z.frames) * z.padded_depth) : q;
    d_o_sum = pairs ? (Factor*)take(factors<Factor>(z.frames) * z.padded_depth) : d_o;
    dq = take(z.frames * z.padded_depth);
    delta = take(z.frames);
    kt = (Factor*)take(factors<Factor>(z.depth) * z.score_row());
    vt = (Factor*)take(factors<Factor>(z.depth) * z.score_row());
    k = (Factor*)take(factors<Factor>(z.keys) * z.padded_depth);
    dk = take(z.keys * z.padded_depth);
    dv = take(z.keys * z.padded_depth);
    p = take(z.queries * z.score_row());
    ds = take(z.queries * z.score_row());
    ds_rows = pairs ? (Factor*)take(z.queries * factors<Factor>(z.score_row())) : (Factor*)ds;
    words = (uint32_t*)take(kNumbers<Factor> * word_buffer(z.keys));
    floats = used;
  }
};

template <class T>
int64_t backward_floats(const Sizes& z) { return BackwardScratch<typename Product<T>::Factor>(z, nullptr).floats; }

int attention_grad_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "attention_grad";
  if (expect_counts(call, op, 5, 1) || expect_attention(call, op) || expect_attention_gradient(call, op)) return 1;
  const Sizes z(call, true);
  const int64_t slots = thread_slots(z.batch * z.heads);
  *state = (void*)(intptr_t)slots;
  *scratch_bytes = (size_t)(slots * HK_BY_TYPE(call->inputs[0], backward_floats, z)) * sizeof(float);
  return 0;
}

// A row of the tile: scores -> dropped probabilities (p), gradient of those -> gradient of the scores (ds).
struct Row {
  const Dropout&  dropout;
  float           scale, lse, delta;
  const uint32_t* words;  // NULL: no dropout

  void grad(int64_t j, v16* p, v16* ds) const {
    const v16 probability = exp(*p * scale - lse);
    v16 upstream = *ds, dropped = probability;
    if (words) {
      upstream = dropout.apply(upstream, words + j);
      dropped = dropout.apply(probability, words + j);
    }
    *p = dropped;
    *ds = probability * (upstream - delta);
  }
};

// Rows 0 .. n - 1 of the tile, in place; row(r, buffer) describes one.
template <class MakeRow>
void tile_grad(const BackwardScratch<float>& t, int64_t n, int64_t count, int64_t ld, const MakeRow& row) {
  for (int64_t r = 0; r < n; r++) {
    const Row mine = row(r, t.words);
    float *p = t.p + r * ld, *ds = t.ds + r * ld;
    for (int64_t j = 0; j < count; j += 16) {
      v16 a = load(p + j), b = load(ds + j);
      mine.grad(j, &a, &b);
      store(p + j, a);
      store(ds + j, b);
    }
  }
}

#if defined(__AVX512BF16__)
// In pairs of two rows in the place of the first (left operands of dv and dk); ds also in rows (of dq).
template <class MakeRow>
void tile_grad(const BackwardScratch<Pair>& t, int64_t n, int64_t count, int64_t ld, const MakeRow& row) {
  uint32_t* second_words = t.words + (word_buffer(count) + 15) / 16 * 16;
  for (int64_t r = 0; r < n; r += 2) {
    const bool both = r + 1 < n;
    const Row first = row(r, t.words), second = row(both ? r + 1 : r, second_words);
    float *p = t.p + r * ld, *ds = t.ds + r * ld;
    bf16 *rows = (bf16*)t.ds_rows + r * ld, *next = rows + ld;
    for (int64_t j = 0; j < count; j += 16) {
      v16 p0 = load(p + j), p1 = {}, ds0 = load(ds + j), ds1 = {};
      first.grad(j, &p0, &ds0);
      if (both) {
        p1 = load(p + ld + j);
        ds1 = load(ds + ld + j);
        second.grad(j, &p1, &ds1);
        store(next + j, ds1);
      }
      store(rows + j, ds0);
      store_pairs((Pair*)p + j, p0, p1);
      store_pairs((Pair*)ds + j, ds0, ds1);
    }
    if (count % 2 == 1) rows[count] = next[count] = 0.0f;  // what an odd number of keys is summed with
  }
}
#endif

// Keys begin .. begin + count of one head against all its queries: adds to t.dq, leaves t.dk (without the scale) and t.dv.
template <class T, class Factor>
void key_block_grad(const Sizes& z, const Dropout& dropout, const BackwardScratch<Factor>& t, const T* k, const T* v, const float* lse,
                    int64_t pair, int64_t begin, int64_t count) {
  const int64_t ld = z.score_row(), depth = z.padded_depth, columns = round_up(count, 16);
  const int64_t left = factors<Factor>(depth), sum_depth = factors<Factor>(z.depth), two = kNumbers<Factor> * ld;
  copy_transposed(count, z.depth, k, z.row(), key_scale<Factor>(z), t.kt, ld);
  copy_transposed(count, z.depth, v, z.row(), 1, t.vt, ld);
  copy_sum_rows(count, z.depth, depth, k, z.row(), key_scale<Factor>(z), t.k);
  for (int64_t i = 0; i < z.frames; i += z.queries) {
    const int64_t n = smaller(z.queries, z.frames - i), sum_n = factors<Factor>(n), at = i / kNumbers<Factor> * depth;
    tile_gemm(n, columns, sum_depth, t.q + i * left, left, 1, t.kt, ld, t.p, ld, false);
    tile_gemm(n, columns, sum_depth, t.d_o + i * left, left, 1, t.vt, ld, t.ds, ld, false);
    tile_grad(t, n, count, ld, [&](int64_t r, uint32_t* buffer) {
      const uint64_t element = (uint64_t)(pair * z.frames + i + r) * (uint64_t)z.frames + (uint64_t)begin;
      const uint32_t* words = dropout.on() ? dropout.words(element, count, buffer) : nullptr;
      return Row{dropout, score_scale<Factor>(z), lse[i + r], t.delta[i + r], words};
    });
    tile_gemm(count, depth, sum_n, (const Factor*)t.p, 1, two, t.d_o_sum + at, depth, t.dv, depth, i > 0);
    tile_gemm(count, depth, sum_n, (const Factor*)t.ds, 1, two, t.q_sum + at, depth, t.dk, depth, i > 0);
    tile_gemm(n, depth, factors<Factor>(count), t.ds_rows, factors<Factor>(ld), 1, t.k, depth, t.dq + i * depth, depth, begin > 0);
  }
}

template <class T>
void store_rows(int64_t rows, int64_t depth, int64_t padded, const float* x, float factor, T* out, int64_t stride) {
  for (int64_t r = 0; r < rows; r++)
    for (int64_t i = 0; i < depth; i++) out[r * stride + i] = factor * x[r * padded + i];
}

// sum(do * o) of a row.
template <class T>
float output_dot(int64_t depth, const T* d_o, const T* o) {
  v16 total = {};
  for (int64_t d = 0; d < depth; d += 16) total += load_tail(d_o + d, depth - d) * load_tail(o + d, depth - d);
  return sum(total);
}

template <class T, class Factor>
void head_grad(const Sizes& z, const Dropout& dropout, const BackwardScratch<Factor>& t, const T* q, const T* o, const T* d_o, const float* lse,
               int64_t length, int64_t pair, T* dq) {
  const int64_t depth = z.padded_depth;
  copy_rows(z.frames, z.depth, depth, q, z.row(), 1, t.q);
  copy_rows(z.frames, z.depth, depth, d_o, z.width, 1, t.d_o);
  if (t.q_sum != t.q) {
    copy_sum_rows(z.frames, z.depth, depth, q, z.row(), 1, t.q_sum);
    copy_sum_rows(z.frames, z.depth, depth, d_o, z.width, 1, t.d_o_sum);
  }
  for (int64_t i = 0; i < z.frames; i++) t.delta[i] = output_dot(z.depth, d_o + i * z.width, o + i * z.width);
  if (length == 0) memset(t.dq, 0, (size_t)(z.frames * depth) * sizeof(float));
  const T *k = q + z.width, *v = q + 2 * z.width;
  T *dk = dq + z.width, *dv = dq + 2 * z.width;
  for (int64_t begin = 0; begin < length; begin += z.keys) {
    const int64_t count = smaller(z.keys, length - begin), at = begin * z.row();
    key_block_grad(z, dropout, t, k + at, v + at, lse, pair, begin, count);
    store_rows(count, z.depth, depth, t.dk, z.scale, dk + at, z.row());
    store_rows(count, z.depth, depth, t.dv, 1, dv + at, z.row());
  }
  store_rows(z.frames, z.depth, depth, t.dq, score_scale<Factor>(z), dq, z.row());
  for (int64_t i = length; i < z.frames; i++) {
    memset((void*)(dk + i * z.row()), 0, (size_t)z.depth * sizeof(T));
    memset((void*)(dv + i * z.row()), 0, (size_t)z.depth * sizeof(T));
  }
}

template <class T>
int attention_grad_as(hk_call* call) {
  const Sizes z(call, true);
  const Dropout dropout(call);
  const T *qkv = data<T>(call->inputs[0]), *o = data<T>(call->inputs[2]), *d_o = data<T>(call->inputs[4]);
  const float* lse = f32(call->inputs[3]);
  const int32_t* lengths = i32(call->inputs[1]);
  T* dqkv = data<T>(call->outputs[0]);
  float* scratch = (float*)call->scratch;
  const int64_t floats = backward_floats<T>(z);
#pragma omp parallel for schedule(dynamic) num_threads(use_threads(call))
  for (int64_t pair = 0; pair < z.batch * z.heads; pair++) {
    const int64_t b = pair / z.heads, h = pair % z.heads;
    const int64_t at = b * z.frames * z.row() + h * z.depth, at_out = b * z.frames * z.width + h * z.depth;
    const BackwardScratch<typename Product<T>::Factor> mine(z, scratch + omp_get_thread_num() * floats);
    head_grad(z, dropout, mine, qkv + at, o + at_out, d_o + at_out, lse + pair * z.frames, clamp_length(lengths[b], z.frames), pair, dqkv + at);
  }
  return 0;
}
int attention_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], attention_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(attention, {"attention", attention_prepare, attention_run, nullptr, attention_cost},
            {"attention_grad", attention_grad_prepare, attention_grad_run, nullptr, attention_grad_cost})
