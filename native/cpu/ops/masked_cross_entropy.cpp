// masked_cross_entropy and its gradient on the CPU: the contract is in ops/masked_cross_entropy.h. h and its gradient may be bf16;
// everything inside is f32.
// The visited frames (masked first, then with unmasked=1 the other valid ones) are gathered and go through in tiles of rows:
// two matrix products and one pass over the tile's logits. The reference implementation makes a K x N x P tensor; here the
// only thing of size K is the tile. z and lse hold one row for each visited frame, in visiting order.
#include "cpu/gemm.h"
#include "cpu/op.h"
#include "cpu/softmax.h"
#include "hubertkit/scratch.h"
#include "ops/masked_cross_entropy.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Sizes : LossSizes { int64_t tile; };

Sizes sizes_of(const hk_call* call) {
  Sizes s = {loss_sizes(call), 0};
  const int64_t fits = 262144 / s.K;  // a tile of logits stays in the second-level cache
  s.tile = fits < 64 ? 64 : fits > 512 ? 512 : fits;
  if (s.tile > s.frames) s.tile = s.frames;
  return s;
}

struct Forward {
  int32_t* frame;      // [frames] frame of each visited row
  double*  loss;       // [frames]
  uint8_t* correct;    // [frames]
  float *  e_unit, *e_inverse;  // [K,P], [K]
  float *  h, *logits;          // [tile,D], [tile,K]
};
Forward forward_layout(const Sizes& s, Scratch& scratch) {
  Forward f;
  f.frame = scratch.take<int32_t>(s.frames);
  f.loss = scratch.take<double>(s.frames);
  f.correct = scratch.take<uint8_t>(s.frames);
  f.e_unit = scratch.take<float>(s.K * s.P);
  f.e_inverse = scratch.take<float>(s.K);
  f.h = scratch.take<float>(s.tile * s.D);
  f.logits = scratch.take<float>(s.tile * s.K);
  return f;
}

// The frames to visit: masked ones first. Returns how many in all; *masked says how many of them are masked.
int64_t list_frames(const hk_call* call, const Sizes& s, bool unmasked, int32_t* frame, int64_t* masked) {
  const int32_t *labels = i32(call->inputs[4]), *lengths = i32(call->inputs[6]);
  const uint8_t* mask = u8(call->inputs[5]);
  int64_t n = 0;
  for (int pass = 0; pass < (unmasked ? 2 : 1); pass++) {
    for (int64_t b = 0; b < s.B; b++)
      for (int64_t t = 0; t < s.T && t < lengths[b]; t++) {
        const int64_t i = b * s.T + t;
        if ((mask[i] != 0) == (pass == 0) && labels[i] >= 0 && labels[i] < s.K) frame[n++] = (int32_t)i;
      }
    if (pass == 0) *masked = n;
  }
  return n;
}

float inverse_norm(const float* x, int64_t n) {
  const float norm = __builtin_sqrtf(dot(x, x, n));
  return 1.0f / (norm > kSmallestNorm ? norm : kSmallestNorm);
}

void normalise_embeddings(const float* e, const Sizes& s, float* unit, float* inverse) {
  parallel_chunks(s.K, 64, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; k++) {
      inverse[k] = inverse_norm(e + k * s.P, s.P);
      for (int64_t p = 0; p < s.P; p++) unit[k * s.P + p] = e[k * s.P + p] * inverse[k];
    }
  });
}

template <class T>
void gather(const T* h, const int32_t* frame, int64_t count, int64_t D, float* out) {
  parallel_chunks(count, 32, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) map(h + frame[r] * D, out + r * D, 0, D, [](v16 v) { return v; });
  });
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_masked_cross_entropy(call)) return 1;
  Scratch scratch(nullptr);
  forward_layout(sizes_of(call), scratch);
  *scratch_bytes = scratch.bytes();
  return 0;
}

void sum_rows(const Forward& f, int64_t begin, int64_t end, float* sums) {
  double loss = 0, correct = 0;
  for (int64_t r = begin; r < end; r++) {
    loss += f.loss[r];
    correct += f.correct[r];
  }
  sums[0] = (float)loss;
  sums[1] = (float)(end - begin);
  sums[2] = (float)correct;
}

template <class T>
int run_as(hk_call* call) {
  const Sizes s = sizes_of(call);
  Scratch scratch(call->scratch);
  const Forward f = forward_layout(s, scratch);
  const T* h = data<T>(call->inputs[0]);
  const float *wp = f32(call->inputs[1]), *bp = f32(call->inputs[2]);
  const int32_t* labels = i32(call->inputs[4]);
  float *z = f32(call->outputs[1]), *lse = f32(call->outputs[2]);
  const float inverse_temperature = inverse_temperature_of(call);
  int64_t masked = 0;
  const int64_t n = list_frames(call, s, visits_unmasked(call), f.frame, &masked);
  normalise_embeddings(f32(call->inputs[3]), s, f.e_unit, f.e_inverse);

  for (int64_t first = 0; first < n; first += s.tile) {
    const int64_t count = n - first < s.tile ? n - first : s.tile;
    float* zt = z + first * s.P;
    gather(h, f.frame + first, count, s.D, f.h);
    for (int64_t r = 0; r < count; r++) memcpy(zt + r * s.P, bp, (size_t)s.P * sizeof(float));
    gemm(false, true, count, s.P, s.D, 1, f.h, s.D, wp, s.D, 1, zt, s.P);
    gemm(false, true, count, s.K, s.P, 1, zt, s.P, f.e_unit, s.P, 0, f.logits, s.K);
    parallel_chunks(count, 16, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) {
        float* logits = f.logits + r * s.K;
        const float scale = inverse_norm(zt + r * s.P, s.P) * inverse_temperature;
        for (int64_t k = 0; k < s.K; k++) logits[k] *= scale;
        const int64_t label = labels[f.frame[first + r]];
        const float largest = row_max(logits, s.K);
        lse[first + r] = log_sum_exp(logits, s.K, largest);
        f.loss[first + r] = (double)lse[first + r] - logits[label];
        f.correct[first + r] = is_correct(logits, s.K, label, largest);
      }
    });
  }
  float* sums = f32(call->outputs[0]);
  sum_rows(f, 0, masked, sums);
  sum_rows(f, masked, n, sums + 3);
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

// ---- gradient ----

struct Backward {
  int32_t* frame;
  float *  e_unit, *e_inverse, *de;           // [K,P], [K], [K,P] gradient of the unit embeddings
  float *  h, *logits, *unit, *dz, *inverse;  // [tile,D], [tile,K], [tile,P] twice, [tile]
  double*  dbp;                               // [P]
};
Backward backward_layout(const Sizes& s, Scratch& scratch) {
  Backward f;
  f.frame = scratch.take<int32_t>(s.frames);
  f.e_unit = scratch.take<float>(s.K * s.P);
  f.e_inverse = scratch.take<float>(s.K);
  f.de = scratch.take<float>(s.K * s.P);
  f.h = scratch.take<float>(s.tile * s.D);
  f.logits = scratch.take<float>(s.tile * s.K);
  f.unit = scratch.take<float>(s.tile * s.P);
  f.dz = scratch.take<float>(s.tile * s.P);
  f.inverse = scratch.take<float>(s.tile);
  f.dbp = scratch.take<double>(s.P);
  return f;
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_masked_cross_entropy_grad(call)) return 1;
  Scratch scratch(nullptr);
  backward_layout(sizes_of(call), scratch);
  *scratch_bytes = scratch.bytes();
  return 0;
}

// The gradient of u = x / max(|x|, clamp) given du, both rows of n: dx = (du - (du.u) u) / |x|; a clamped norm is a constant.
void unnormalise(const float* du, const float* unit, float inverse, int64_t n, float* dx) {
  const float along = inverse < 1.0f / kSmallestNorm ? dot(du, unit, n) : 0.0f;
  for (int64_t p = 0; p < n; p++) dx[p] = (du[p] - along * unit[p]) * inverse;
}

// logits -> dlogits / temperature (in place) and the unit vectors of z, for the rows first .. first + count.
void tile_gradients(const hk_call* call, const Sizes& s, const Backward& f, int64_t first, int64_t count, int64_t masked) {
  const float *z = f32(call->inputs[7]) + first * s.P, *lse = f32(call->inputs[8]), *dsums = f32(call->inputs[9]);
  const int32_t* labels = i32(call->inputs[4]);
  const float inverse_temperature = inverse_temperature_of(call);
  parallel_chunks(count, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const float* zr = z + r * s.P;
      float* logits = f.logits + r * s.K;
      f.inverse[r] = inverse_norm(zr, s.P);
      for (int64_t p = 0; p < s.P; p++) f.unit[r * s.P + p] = zr[p] * f.inverse[r];
      const float scale = f.inverse[r] * inverse_temperature;
      for (int64_t k = 0; k < s.K; k++) logits[k] *= scale;
      const float weight = (first + r < masked ? dsums[0] : dsums[3]) * inverse_temperature;
      weighted_softmax(logits, s.K, lse[first + r], weight, logits);
      logits[labels[f.frame[first + r]]] -= weight;
    }
  });
}

void add_columns(const float* x, int64_t count, int64_t n, double* sums) {
  for (int64_t r = 0; r < count; r++)
    for (int64_t p = 0; p < n; p++) sums[p] += x[r * n + p];
}

template <class T>
int run_grad_as(hk_call* call) {
  const Sizes s = sizes_of(call);
  Scratch scratch(call->scratch);
  const Backward f = backward_layout(s, scratch);
  const T* h = data<T>(call->inputs[0]);
  const float *wp = f32(call->inputs[1]), *z = f32(call->inputs[7]), *dsums = f32(call->inputs[9]);
  T* dh = data<T>(call->outputs[0]);
  float *dwp = f32(call->outputs[1]), *dbp = f32(call->outputs[2]), *de = f32(call->outputs[3]);
  parallel_chunks(s.frames, 256, [&](int64_t, int64_t begin, int64_t end) {
    memset((void*)(dh + begin * s.D), 0, (size_t)((end - begin) * s.D) * sizeof(T));
  });
  int64_t masked = 0;
  const int64_t n = list_frames(call, s, visits_unmasked(call) && dsums[3] != 0, f.frame, &masked);
  if (n == 0) return 0;
  normalise_embeddings(f32(call->inputs[3]), s, f.e_unit, f.e_inverse);
  memset(f.dbp, 0, (size_t)s.P * sizeof(double));

  for (int64_t first = 0; first < n; first += s.tile) {
    const int64_t count = n - first < s.tile ? n - first : s.tile;
    gemm(false, true, count, s.K, s.P, 1, z + first * s.P, s.P, f.e_unit, s.P, 0, f.logits, s.K);
    tile_gradients(call, s, f, first, count, masked);
    gemm(true, false, s.K, s.P, count, 1, f.logits, s.K, f.unit, s.P, first ? 1.0f : 0.0f, f.de, s.P);
    gemm(false, false, count, s.P, s.K, 1, f.logits, s.K, f.e_unit, s.P, 0, f.dz, s.P);
    parallel_chunks(count, 32, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++)
        unnormalise(f.dz + r * s.P, f.unit + r * s.P, f.inverse[r], s.P, f.dz + r * s.P);
    });
    add_columns(f.dz, count, s.P, f.dbp);
    gather(h, f.frame + first, count, s.D, f.h);
    gemm(true, false, s.P, s.D, count, 1, f.dz, s.P, f.h, s.D, 1, dwp, s.D);
    gemm(false, false, count, s.D, s.P, 1, f.dz, s.P, wp, s.D, 0, f.h, s.D);
    parallel_chunks(count, 32, [&](int64_t, int64_t begin, int64_t end) {
      for (int64_t r = begin; r < end; r++) map(f.h + r * s.D, dh + f.frame[first + r] * s.D, 0, s.D, [](v16 v) { return v; });
    });
  }
  for (int64_t p = 0; p < s.P; p++) dbp[p] += (float)f.dbp[p];
  parallel_chunks(s.K, 64, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t k = begin; k < end; k++) {
      float* row = f.de + k * s.P;
      unnormalise(row, f.e_unit + k * s.P, f.e_inverse[k], s.P, row);
      for (int64_t p = 0; p < s.P; p++) de[k * s.P + p] += row[p];
    }
  });
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(masked_cross_entropy, {"masked_cross_entropy", prepare, run, nullptr, masked_cross_entropy_cost},
            {"masked_cross_entropy_grad", prepare_grad, run_grad, nullptr, masked_cross_entropy_grad_cost})
