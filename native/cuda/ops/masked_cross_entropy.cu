// masked_cross_entropy and its gradient: the contract is in ops/masked_cross_entropy.h. Where h is bf16, the projection is too, like every
// linear layer: its weights and the gradient of z are rounded, sums, z and dwp are f32. What follows it, the loss, is f32 throughout: the
// gradient of a cosine is a small difference of large numbers.
//
// A recorded step has fixed shapes, so the products go over all frames, and frames that are not visited get a row of zeros where it
// counts. With HuBERT's mask half of the rows are made for nothing, a thousandth of a step's arithmetic; in return nothing is counted on
// the host, gathered or scattered. z and lse have a row for each frame, in the order of the frames. The only things of size K are the
// logits of all frames and the embeddings. An h that is not finite in a frame that is not visited still spoils dwp.
#include <memory>

#include "cuda/cast.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"
#include "cuda/softmax.cuh"
#include "ops/masked_cross_entropy.h"

namespace hk {
namespace HK_ISA {
namespace {

enum Group { kSkipped, kMasked, kUnmasked };

struct Frames {
  const int32_t *labels, *lengths;
  const uint8_t* mask;
  int64_t T, K;
  bool unmasked;
  __device__ Group group(int64_t f) const {
    if (f % T >= lengths[f / T] || labels[f] < 0 || labels[f] >= K) return kSkipped;
    return mask[f] ? kMasked : unmasked ? kUnmasked : kSkipped;
  }
};

Frames frames_of(const hk_call* call, const LossSizes& s) {
  const hk_tensor* in = call->inputs;
  return {i32(in[4]), i32(in[6]), u8(in[5]), s.T, s.K, visits_unmasked(call)};
}

struct InGroup {
  Frames frames;
  Group group;
  __device__ bool operator()(int64_t f) const { return frames.group(f) == group; }
};

// ---- one warp a row: all lanes call these ----

__device__ float dot(const float* a, const float* b, int64_t n) {
  float sum = 0;
  for (int64_t i = threadIdx.x % 32; i < n; i += 32) sum += a[i] * b[i];
  return warp_sum(sum);
}

__device__ float inverse_norm(const float* x, int64_t n) {
  const float norm = sqrtf(dot(x, x, n));
  return 1.0f / (norm > kSmallestNorm ? norm : kSmallestNorm);
}

__global__ void normalise_kernel(const float* x, int64_t rows, int64_t n, float* unit, float* inverse) {
  const int64_t r = row_index();
  if (r >= rows) return;
  const float factor = inverse_norm(x + r * n, n);
  for (int64_t i = threadIdx.x % 32; i < n; i += 32) unit[r * n + i] = x[r * n + i] * factor;
  if (threadIdx.x % 32 == 0) inverse[r] = factor;
}

// The gradient of u = x / max(|x|, clamp) given du: dx = (du - (du.u) u) / |x|; a clamped norm is a constant. Into du, or added to dx.
__global__ void unnormalise_kernel(float* du, const float* unit, const float* inverse, int64_t rows, int64_t n, float* dx) {
  const int64_t r = row_index();
  if (r >= rows) return;
  const float factor = inverse[r], along = factor < 1.0f / kSmallestNorm ? dot(du + r * n, unit + r * n, n) : 0.0f;
  for (int64_t i = r * n + threadIdx.x % 32; i < (r + 1) * n; i += 32) {
    const float d = (du[i] - along * unit[i]) * factor;
    if (dx) dx[i] += d;
    else du[i] = d;
  }
}

// Products of z with the unit embeddings come in, logits are left behind.
__global__ void loss_kernel(Frames frames, LossSizes s, const float* z, float inverse_temperature, float* logits, float* lse, double* loss,
                            uint8_t* correct) {
  const int64_t f = row_index();
  if (f >= s.frames) return;
  RowLoss row = {0, false};
  double cost = 0;
  if (frames.group(f) != kSkipped) {
    float* x = logits + f * s.K;
    const float scale = inverse_norm(z + f * s.P, s.P) * inverse_temperature;
    for (int64_t k = threadIdx.x % 32; k < s.K; k += 32) x[k] *= scale;
    __syncwarp();
    row = row_loss(x, s.K, frames.labels[f]);
    cost = (double)row.lse - x[frames.labels[f]];
  }
  if (threadIdx.x % 32) return;
  lse[f] = row.lse;
  loss[f] = cost;
  correct[f] = row.correct;
}

// Products of z with the unit embeddings come in, their gradients are left behind; zeros in frames without weight.
__global__ void loss_grad_kernel(Frames frames, LossSizes s, const float* z, const float* lse, const float* dsums, float inverse_temperature,
                                 float* products, float* unit, float* inverse) {
  const int64_t f = row_index();
  if (f >= s.frames) return;
  const int lane = threadIdx.x % 32;
  const Group group = frames.group(f);
  const float weight = group == kSkipped ? 0.0f : dsums[group == kMasked ? 0 : 3] * inverse_temperature;
  const float factor = weight == 0 ? 0.0f : inverse_norm(z + f * s.P, s.P), scale = factor * inverse_temperature;
  const int64_t label = frames.labels[f];
  float* x = products + f * s.K;
  for (int64_t k = lane; k < s.K; k += 32) x[k] = weight == 0 ? 0.0f : weight * (expf(x[k] * scale - lse[f]) - (k == label ? 1.0f : 0.0f));
  for (int64_t p = lane; p < s.P; p += 32) unit[f * s.P + p] = weight == 0 ? 0.0f : z[f * s.P + p] * factor;
  if (lane == 0) inverse[f] = factor;
}

// ---- the matrix products of either direction ----

struct Products {
  std::unique_ptr<Gemm> z, logits, de, dz, dwp, dh;
  size_t scratch_bytes() const {
    size_t most = 0;
    for (const auto* gemm : {&z, &logits, &de, &dz, &dwp, &dh})
      if (*gemm && (*gemm)->scratch_bytes() > most) most = (*gemm)->scratch_bytes();
    return most;
  }
};

void release(void* state) { delete (Products*)state; }

bool make(hk_call* call, const GemmShape& shape, std::unique_ptr<Gemm>* gemm) {
  gemm->reset(Gemm::make(call, shape));
  return *gemm != nullptr;
}

bool make_logits(hk_call* call, const LossSizes& s, Products* made) {
  return make(call, {s.frames, s.K, s.P, s.P, 1, 1, s.P, s.K, false, false}, &made->logits);
}

bool make_gradients(hk_call* call, const LossSizes& s, Products* made) {
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  return make(call, {s.K, s.P, s.frames, 1, s.K, s.P, 1, s.P, false, false}, &made->de) &&
         make(call, {s.frames, s.P, s.K, s.K, 1, s.P, 1, s.P, false, false}, &made->dz) &&
         make(call, {s.P, s.D, s.frames, 1, s.P, s.D, 1, s.D, true, false, dtype}, &made->dwp) &&
         make(call, {s.frames, s.D, s.P, s.P, 1, s.D, 1, s.D, false, false, dtype, dtype}, &made->dh);
}

// ---- forward ----

struct Forward {
  uint8_t* wp;                           // copy of the weights for an h in bf16
  float *  e_unit, *e_inverse, *logits;  // [K,P], [K], [B*T,K]
  double*  loss;                         // [B*T]
  uint8_t* correct;                      // [B*T]
  Forward(const hk_call* call, const LossSizes& s, Scratch& scratch) {
    wp = scratch.take<uint8_t>((int64_t)weight_bytes(call->inputs[0], call->inputs[1]));
    e_unit = scratch.take<float>(s.K * s.P);
    e_inverse = scratch.take<float>(s.K);
    logits = scratch.take<float>(s.frames * s.K);
    loss = scratch.take<double>(s.frames);
    correct = scratch.take<uint8_t>(s.frames);
  }
};

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_masked_cross_entropy(call)) return 1;
  const LossSizes s = loss_sizes(call);
  auto made = std::make_unique<Products>();
  if (!make(call, {s.frames, s.P, s.D, s.D, 1, 1, s.D, s.P, false, true, dtype_of(call->inputs[0])}, &made->z) || !make_logits(call, s, made.get())) return 1;
  Scratch scratch(nullptr);
  Forward(call, s, scratch);
  *scratch_bytes = scratch.bytes() + made->scratch_bytes();
  *state = made.release();
  return 0;
}

int run(hk_call* call) {
  const LossSizes s = loss_sizes(call);
  const Products* products = (const Products*)call->state;
  Scratch scratch(call->scratch);
  const Forward l(call, s, scratch);
  void* own = (char*)call->scratch + scratch.bytes();
  const hk_tensor *in = call->inputs, *out = call->outputs;
  const Frames frames = frames_of(call, s);
  float *sums = f32(out[0]), *z = f32(out[1]);
  HK_LAUNCH(normalise_kernel, row_grid(s.K), dim3(kRowBlock), 0, stream_of(call), f32(in[3]), s.K, s.P, l.e_unit, l.e_inverse);
  const void* wp = as_operand(stream_of(call), in[0], in[1], l.wp);
  if (products->z->run(call, in[0].data, wp, z, f32(in[2]), own) || products->logits->run(call, z, l.e_unit, l.logits, nullptr, own)) return 1;
  HK_LAUNCH(loss_kernel, row_grid(s.frames), dim3(kRowBlock), 0, stream_of(call), frames, s, z, inverse_temperature_of(call), l.logits, f32(out[2]),
            l.loss, l.correct);
  for (const Group group : {kMasked, kUnmasked})
    HK_LAUNCH(sum_rows<InGroup>, dim3(1), dim3(kBlock), 0, stream_of(call), l.loss, l.correct, InGroup{frames, group}, s.frames,
              sums + (group == kMasked ? 0 : 3));
  return launched(call);
}

// ---- gradient ----

struct Backward {
  uint8_t* wp;                            // copies for an h in bf16: of the weights, and of dz
  bf16*    dz_factor;
  float *  e_unit, *e_inverse, *de;       // [K,P], [K], [K,P] gradient of the unit embeddings
  float *  logits, *unit, *inverse, *dz;  // [B*T,K], [B*T,P], [B*T], [B*T,P]
  float*   column_sums;
  Backward(const hk_call* call, const LossSizes& s, Scratch& scratch) {
    wp = scratch.take<uint8_t>((int64_t)weight_bytes(call->inputs[0], call->inputs[1]));
    dz_factor = scratch.take<bf16>(is_bf16(call->inputs[0]) ? s.frames * s.P : 0);
    e_unit = scratch.take<float>(s.K * s.P);
    e_inverse = scratch.take<float>(s.K);
    de = scratch.take<float>(s.K * s.P);
    logits = scratch.take<float>(s.frames * s.K);
    unit = scratch.take<float>(s.frames * s.P);
    inverse = scratch.take<float>(s.frames);
    dz = scratch.take<float>(s.frames * s.P);
    column_sums = scratch.take<float>(column_sum_floats(s.frames, s.P));
  }
};

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_masked_cross_entropy_grad(call)) return 1;
  const LossSizes s = loss_sizes(call);
  auto made = std::make_unique<Products>();
  if (!make_logits(call, s, made.get()) || !make_gradients(call, s, made.get())) return 1;
  Scratch scratch(nullptr);
  Backward(call, s, scratch);
  *scratch_bytes = scratch.bytes() + made->scratch_bytes();
  *state = made.release();
  return 0;
}

int run_grad(hk_call* call) {
  const LossSizes s = loss_sizes(call);
  const Products* products = (const Products*)call->state;
  Scratch scratch(call->scratch);
  const Backward l(call, s, scratch);
  void* own = (char*)call->scratch + scratch.bytes();
  const hk_tensor *in = call->inputs, *out = call->outputs;
  const float* z = f32(in[7]);
  const cudaStream_t stream = stream_of(call);
  HK_LAUNCH(normalise_kernel, row_grid(s.K), dim3(kRowBlock), 0, stream, f32(in[3]), s.K, s.P, l.e_unit, l.e_inverse);
  if (products->logits->run(call, z, l.e_unit, l.logits, nullptr, own)) return 1;
  HK_LAUNCH(loss_grad_kernel, row_grid(s.frames), dim3(kRowBlock), 0, stream, frames_of(call, s), s, z, f32(in[8]), f32(in[9]),
            inverse_temperature_of(call), l.logits, l.unit, l.inverse);
  if (products->de->run(call, l.logits, l.unit, l.de, nullptr, own) || products->dz->run(call, l.logits, l.e_unit, l.dz, nullptr, own)) return 1;
  HK_LAUNCH(unnormalise_kernel, row_grid(s.K), dim3(kRowBlock), 0, stream, l.de, l.e_unit, l.e_inverse, s.K, s.P, f32(out[3]));
  HK_LAUNCH(unnormalise_kernel, row_grid(s.frames), dim3(kRowBlock), 0, stream, l.dz, l.unit, l.inverse, s.frames, s.P, nullptr);
  add_column_sums(stream, l.dz, s.frames, s.P, l.column_sums, f32(out[2]));
  const void *wp = as_operand(stream, in[0], in[1], l.wp), *dz = l.dz;
  if (is_bf16(in[0])) {
    cast(stream, l.dz, l.dz_factor, s.frames * s.P);
    dz = l.dz_factor;
  }
  if (products->dwp->run(call, dz, in[0].data, f32(out[1]), nullptr, own) || products->dh->run(call, dz, wp, out[0].data, nullptr, own)) return 1;
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(masked_cross_entropy, {"masked_cross_entropy", prepare, run, release, masked_cross_entropy_cost},
            {"masked_cross_entropy_grad", prepare_grad, run_grad, release, masked_cross_entropy_grad_cost})
