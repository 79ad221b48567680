// Positional convolution (contract: native/cpu/ops/pos_conv.cpp). Each group's frames are copied side by side with zeros around them,
// [B, G, T + k - 1, c] with c = D / G. The windows of k frames are then overlapping rows of k c floats, and all three products are matrix
// products over the groups, in f32 also where activations are bf16:
//   z[t, o]      = sum_(j, i) x[t + j, i]  w[o, (j, i)]
//   dx[u, i]     = sum_(j, o) dz[u + j, o] w[o, (k-1-j, i)]
//   dw[o, (j, i)] = sum_t dz[t, o] x[t + j, i]
#include "cuda/cast.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gelu.cuh"
#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Sizes {
  int64_t batch, time, width, groups, channels, kernel, padded;  // channels: of a group; padded: frames of a copy
  HK_ANYWHERE int64_t copy() const { return batch * groups * padded * channels; }
  HK_ANYWHERE int64_t weights() const { return width * channels * kernel; }
};

Sizes sizes_of(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  return {x.shape[0], x.shape[1], x.shape[2], x.shape[2] / w.shape[1], w.shape[1], w.shape[2], x.shape[1] + w.shape[2] - 1};
}

struct State {
  Gemm *z = nullptr, *dw = nullptr;  // z also makes dx: the same shape with other weights
  ~State() {
    delete z;
    delete dw;
  }
};

void release(void* state) { delete (State*)state; }

int check(hk_call* call, const char* op) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (expect_activation(call, op, "x", x, 3) || expect_dense(call, op, "the weight", w, HK_F32, 3)) return 1;
  if (x.rank != 3) return fail(call, "%s: x must be [B, T, D], got %s", op, describe(x, text));
  const int64_t width = x.shape[2];
  if (expect_integer(call, op, "groups", 1, 1, (double)width)) return 1;
  const int64_t groups = (int64_t)attribute(call, "groups", 1);
  if (width % groups) return fail(call, "%s: %lld channels do not divide into %lld groups", op, (long long)width, (long long)groups);
  return expect(call, op, "the weight", w, HK_F32, {width, width / groups, w.shape[2]});
}

bool make_product(hk_call* call, const Sizes& s, State* made) {
  const int64_t reach = s.kernel * s.channels;
  made->z = Gemm::make(call, {s.time, s.channels, reach, s.channels, 1, 1, reach, s.width, false, false, HK_F32, HK_F32,
                              s.groups, s.padded * s.channels, s.channels * reach, s.channels});
  return made->z;
}

// grid over the elements of the copy. A group's frames, `before` zeros in front of them.
template <class T>
__global__ void pad_kernel(const T* x, Sizes s, int64_t before, float* out) {
  const int64_t e = element_index();
  if (e >= s.copy()) return;
  const int64_t c = e % s.channels, t = e / s.channels % s.padded - before, g = e / (s.channels * s.padded) % s.groups, b = e / (s.channels * s.padded * s.groups);
  out[e] = t >= 0 && t < s.time ? (float)x[(b * s.time + t) * s.width + g * s.channels + c] : 0.0f;
}

// w[o, i, j] -> [G, o, (j, i)], or for the data gradient -> [G, i, (k-1-j, o)].
__global__ void pack_kernel(const float* w, Sizes s, bool flip, float* packed) {
  const int64_t e = element_index();
  if (e >= s.weights()) return;
  const int64_t inner = e % s.channels, j = e / s.channels % s.kernel, outer = e / (s.channels * s.kernel) % s.channels, g = e / (s.channels * s.kernel * s.channels);
  const int64_t o = g * s.channels + (flip ? inner : outer), i = flip ? outer : inner, tap = flip ? s.kernel - 1 - j : j;
  packed[e] = w[(o * s.channels + i) * s.kernel + tap];
}

// [G, o, (j, i)] added to dw[o, i, j].
__global__ void unpack_kernel(const float* packed, Sizes s, float* dw) {
  const int64_t e = element_index();
  if (e >= s.weights()) return;
  const int64_t j = e % s.kernel, i = e / s.kernel % s.channels, o = e / (s.kernel * s.channels);
  dw[e] += packed[(o * s.kernel + j) * s.channels + i];
}

// v = product + bias; z = v where it is wanted; y = GELU(v) or v.
template <class T>
__global__ void finish_kernel(const float* product, const float* bias, int64_t n, int64_t width, bool with_gelu, T* z, T* y) {
  const int64_t e = element_index();
  if (e >= n) return;
  const float v = product[e] + bias[e % width];
  if (z) z[e] = v;
  y[e] = with_gelu ? gelu(v) : v;
}

template <class T>
void pad_as(hk_call* call, const Sizes& s, const hk_tensor& x, int64_t before, float* out) {
  HK_LAUNCH(pad_kernel<T>, element_grid(s.copy()), dim3(kBlock), 0, stream_of(call), data<T>(x), s, before, out);
}
void pad(hk_call* call, const Sizes& s, const hk_tensor& x, int64_t before, float* out) {
  if (is_bf16(x)) pad_as<bf16>(call, s, x, before, out);
  else pad_as<float>(call, s, x, before, out);
}

// out[B, T, D] from a padded copy and packed weights.
int convolve(hk_call* call, const Sizes& s, const float* copy, const float* packed, float* out, void* own) {
  for (int64_t b = 0; b < s.batch; b++)
    if (((const State*)call->state)->z->run(call, copy + b * s.groups * s.padded * s.channels, packed, out + b * s.time * s.width, nullptr, own)) return 1;
  return 0;
}

struct Layout {
  float *x, *dz, *packed, *dw, *sums;
  float *product;  // z or dx in f32, where it is bf16
  void* own;
  size_t bytes;
};

Layout layout(const hk_call* call, const Sizes& s, bool gradient) {
  Scratch scratch(call->scratch);
  Layout l = {};
  l.x = scratch.take<float>(s.copy());
  l.packed = scratch.take<float>(s.weights());
  l.product = scratch.take<float>(copy_floats(call->inputs[0]));
  if (gradient) {
    l.dz = scratch.take<float>(s.copy());
    l.dw = scratch.take<float>(s.weights());
    l.sums = scratch.take<float>(column_sum_floats(s.batch * s.time, s.width));
  }
  l.bytes = scratch.bytes();
  l.own = (char*)call->scratch + l.bytes;
  return l;
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "pos_conv";
  if (expect_counts(call, op, 3, 2) || check(call, op)) return 1;
  const hk_tensor &x = call->inputs[0], &z = call->outputs[1];
  if (expect_integer(call, op, "gelu", 0, 0, 1)) return 1;
  if (present(z) && attribute(call, "gelu", 0) == 0) return fail(call, "%s: z is an output only with gelu = 1", op);
  if (expect(call, op, "bias", call->inputs[2], HK_F32, {x.shape[2]}) || expect_like(call, op, "y", call->outputs[0], x)) return 1;
  if (present(z) && expect_like(call, op, "z", z, x)) return 1;
  State* made = new State;
  *state = made;
  const Sizes s = sizes_of(call);
  if (!make_product(call, s, made)) {
    release(made);
    *state = nullptr;
    return 1;
  }
  *scratch_bytes = layout(call, s, false).bytes + made->z->scratch_bytes();
  return 0;
}

template <class T>
int run_as(hk_call* call) {
  const Sizes s = sizes_of(call);
  const Layout l = layout(call, s, false);
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  float* product = place_f32(y, l.product);
  pad(call, s, x, s.kernel / 2, l.x);
  HK_LAUNCH(pack_kernel, element_grid(s.weights()), dim3(kBlock), 0, stream_of(call), f32(call->inputs[1]), s, false, l.packed);
  if (convolve(call, s, l.x, l.packed, product, l.own)) return 1;
  HK_LAUNCH(finish_kernel<T>, element_grid(elements(y)), dim3(kBlock), 0, stream_of(call), product, f32(call->inputs[2]), elements(y), s.width,
            attribute(call, "gelu", 0) == 1, data<T>(call->outputs[1]), data<T>(y));
  return launched(call);
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "pos_conv_grad";
  if (expect_counts(call, op, 3, 3) || check(call, op)) return 1;
  const hk_tensor &x = call->inputs[0], *out = call->outputs;
  if (expect_like(call, op, "dz", call->inputs[2], x) || (present(out[0]) && expect_like(call, op, "dx", out[0], x))) return 1;
  if (expect_like(call, op, "dw", out[1], call->inputs[1]) || expect(call, op, "dbias", out[2], HK_F32, {x.shape[2]})) return 1;
  State* made = new State;
  *state = made;
  const Sizes s = sizes_of(call);
  const int64_t reach = s.kernel * s.channels;
  if (make_product(call, s, made))
    made->dw = Gemm::make(call, {s.channels, reach, s.time, 1, s.channels, s.channels, 1, reach, true, false, HK_F32, HK_F32,
                                 s.groups, s.padded * s.channels, s.padded * s.channels, s.channels * reach});
  if (!made->dw) {
    release(made);
    *state = nullptr;
    return 1;
  }
  const size_t a = made->z->scratch_bytes(), b = made->dw->scratch_bytes();
  *scratch_bytes = layout(call, s, true).bytes + (a > b ? a : b);
  return 0;
}

int run_grad(hk_call* call) {
  const Sizes s = sizes_of(call);
  const Layout l = layout(call, s, true);
  const hk_tensor &dz = call->inputs[2], &dx = call->outputs[0];
  const int64_t before = s.kernel - 1 - s.kernel / 2, copy = s.groups * s.padded * s.channels;
  pad(call, s, call->inputs[0], s.kernel / 2, l.x);
  pad(call, s, dz, before, l.dz);
  if (present(dx)) {
    float* product = place_f32(dx, l.product);
    HK_LAUNCH(pack_kernel, element_grid(s.weights()), dim3(kBlock), 0, stream_of(call), f32(call->inputs[1]), s, true, l.packed);
    if (convolve(call, s, l.dz, l.packed, product, l.own)) return 1;
    round_copy(stream_of(call), product, dx);
  }
  cudaMemsetAsync(l.dw, 0, (size_t)s.weights() * sizeof(float), stream_of(call));
  for (int64_t b = 0; b < s.batch; b++)
    if (((const State*)call->state)->dw->run(call, l.dz + b * copy + before * s.channels, l.x + b * copy, l.dw, nullptr, l.own)) return 1;
  HK_LAUNCH(unpack_kernel, element_grid(s.weights()), dim3(kBlock), 0, stream_of(call), l.dw, s, f32(call->outputs[1]));
  add_column_sums(stream_of(call), dz, l.sums, f32(call->outputs[2]));
  return launched(call);
}

hk_cost cost(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double n = (double)s.batch * s.time * s.width, reach = (double)s.channels * s.kernel;
  return {2.0 * n * reach, element_bytes(call->inputs[0]) * n * (present(call->outputs[1]) ? 3 : 2) + 4.0 * s.width * reach};
}
hk_cost cost_grad(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double n = (double)s.batch * s.time * s.width, reach = (double)s.channels * s.kernel, times = present(call->outputs[0]) ? 2 : 1;
  return {2.0 * times * n * reach, element_bytes(call->inputs[0]) * n * (1 + times) + 8.0 * s.width * reach};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(pos_conv, {"pos_conv", prepare, run, release, cost}, {"pos_conv_grad", prepare_grad, run_grad, release, cost_grad})
