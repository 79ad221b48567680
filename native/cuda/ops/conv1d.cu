// Strided convolution over time, channels last, as matrix products over views of the input: the scheme, the contract and the names are
// those of native/cpu/ops/conv1d.cpp. All rows of the batch go through one batched product; only the weight gradient, which sums over
// them, takes one after the other. One input channel is not special here.
#include "cuda/activate.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Sizes {
  int64_t batch, time, in, out, kernel, stride, frames;
  int64_t groups;  // of `stride` adjacent taps, the last one perhaps smaller
  int64_t width;   // a row of the packed weight, kernel * in
  int64_t taps(int64_t group) const {
    const int64_t left = kernel - group * stride;
    return left < stride ? left : stride;
  }
};

Sizes sizes_of(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  Sizes s = {x.shape[0], x.shape[1], x.shape[2], w.shape[0], w.shape[2], (int64_t)attribute(call, "stride", 1), 0, 0, 0};
  s.frames = (s.time - s.kernel) / s.stride + 1;
  s.groups = (s.kernel + s.stride - 1) / s.stride;
  s.width = s.kernel * s.in;
  return s;
}

// The products of the first group of taps, of the whole groups after it and of a smaller last one.
struct Products {
  Gemm *first = nullptr, *middle = nullptr, *last = nullptr;
  const Gemm* of(const Sizes& s, int64_t group) const {
    if (group == 0) return first;
    return s.taps(group) == s.stride ? middle : last;
  }
  size_t scratch_bytes() const {
    size_t most = 0;
    for (const Gemm* g : {first, middle, last})
      if (g && g->scratch_bytes() > most) most = g->scratch_bytes();
    return most;
  }
  ~Products() {
    delete first;
    delete middle;
    delete last;
  }
};

struct State { Products forward, dx, dw_first_row, dw; };

void release(void* state) { delete (State*)state; }

// shape(taps, accumulate) for each of the three.
template <class Shape>
bool make(hk_call* call, const Sizes& s, Products* p, const Shape& shape, bool accumulate_first) {
  p->first = Gemm::make(call, shape(s.taps(0), accumulate_first));
  if (!p->first) return false;
  const int64_t tail = s.taps(s.groups - 1);
  if (s.groups > 2 || (s.groups == 2 && tail == s.stride)) p->middle = Gemm::make(call, shape(s.stride, true));
  if (s.groups > 1 && tail < s.stride) p->last = Gemm::make(call, shape(tail, true));
  return s.groups < 2 || (p->of(s, 1) && p->of(s, s.groups - 1));
}

int check(hk_call* call, const char* op, const hk_tensor& output) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  char text[96];
  if (expect_dense(call, op, "x", x, HK_F32, 3) || expect_dense(call, op, "the weight", w, HK_F32, 3)) return 1;
  if (x.rank != 3) return fail(call, "%s: x must be f32[B, T, Cin], got %s", op, describe(x, text));
  if (w.rank != 3 || w.shape[1] != x.shape[2]) return fail(call, "%s: the weight must be f32[Cout, %lld, k], got %s", op, (long long)x.shape[2], describe(w, text));
  if (expect_integer(call, op, "stride", 1, 1, 4096)) return 1;
  if (x.shape[1] < w.shape[2]) return fail(call, "%s: %lld frames are fewer than the kernel (%lld)", op, (long long)x.shape[1], (long long)w.shape[2]);
  const Sizes s = sizes_of(call);
  return expect(call, op, "the output's side", output, HK_F32, {s.batch, s.frames, s.out});
}

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
size_t packed_bytes(const Sizes& s) { return aligned((size_t)(s.out * s.width) * sizeof(float)); }

// [Cout, Cin, k] -> [Cout, k, Cin]
__global__ void pack_kernel(const float* w, int64_t n, int64_t in, int64_t kernel, float* packed) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e < n) packed[e] = w[(e / (kernel * in) * in + e % in) * kernel + e / in % kernel];
}
// [Cout, k, Cin] added to [Cout, Cin, k]
__global__ void unpack_kernel(const float* packed, int64_t n, int64_t in, int64_t kernel, float* dw) {
  const int64_t e = (int64_t)blockIdx.x * blockDim.x + threadIdx.x;
  if (e < n) dw[e] += packed[(e / (kernel * in) * kernel + e % kernel) * in + e / kernel % in];
}

void pack(hk_call* call, const Sizes& s, float* packed) {
  const int64_t n = s.out * s.width;
  HK_LAUNCH(pack_kernel, dim3((unsigned)blocks_for(n, 256)), dim3(256), 0, stream_of(call), f32(call->inputs[1]), n, s.in, s.kernel, packed);
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d";
  if (expect_counts(call, op, 3, 2) || check(call, op, call->outputs[0])) return 1;
  const Sizes s = sizes_of(call);
  const hk_tensor &bias = call->inputs[2], &z = call->outputs[1];
  if (present(bias) && expect(call, op, "bias", bias, HK_F32, {s.out})) return 1;
  if (expect_integer(call, op, "gelu", 0, 0, 1)) return 1;
  if (present(z) && attribute(call, "gelu", 0) == 0) return fail(call, "%s: z is an output only with gelu = 1", op);
  if (present(z) && expect_like(call, op, "z", z, call->outputs[0])) return 1;
  State* made = new State;
  *state = made;
  const bool with_bias = present(bias);
  const bool good = make(call, s, &made->forward, [&](int64_t taps, bool accumulate) {
    return GemmShape{s.frames, s.out, taps * s.in, s.stride * s.in, 1, 1, s.width, s.out, accumulate, with_bias && !accumulate,
                     s.batch, s.time * s.in, 0, s.frames * s.out};
  }, false);
  *scratch_bytes = packed_bytes(s) + made->forward.scratch_bytes();
  if (good) return 0;
  release(made);
  *state = nullptr;
  return 1;
}

int run(hk_call* call) {
  const Sizes s = sizes_of(call);
  const State* state = (const State*)call->state;
  const hk_tensor &bias = call->inputs[2], &y = call->outputs[0], &z = call->outputs[1];
  float *packed = (float*)call->scratch, *product = present(z) ? f32(z) : f32(y);
  pack(call, s, packed);
  for (int64_t g = 0; g < s.groups; g++) {
    const int64_t at = g * s.stride * s.in;
    if (state->forward.of(s, g)->run(call, f32(call->inputs[0]) + at, packed + at, product, present(bias) ? f32(bias) : nullptr, (char*)packed + packed_bytes(s)))
      return 1;
  }
  if (attribute(call, "gelu", 0) == 1) activate(stream_of(call), product, f32(y), elements(y));
  return launched(call);
}

// Scratch of the gradient: packed weight, packed dw, column sums, then the products' own.
size_t own_offset(const Sizes& s) { return 2 * packed_bytes(s) + aligned((size_t)column_sum_floats(s.batch * s.frames, s.out) * sizeof(float)); }

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d_grad";
  if (expect_counts(call, op, 3, 3) || check(call, op, call->inputs[2])) return 1;
  const Sizes s = sizes_of(call);
  const hk_tensor *in = call->inputs, *out = call->outputs;
  if (present(out[0]) && expect_like(call, op, "dx", out[0], in[0])) return 1;
  if (expect_like(call, op, "dw", out[1], in[1])) return 1;
  if (present(out[2]) && expect(call, op, "dbias", out[2], HK_F32, {s.out})) return 1;
  State* made = new State;
  *state = made;
  const auto dx = [&](int64_t taps, bool accumulate) {
    return GemmShape{s.frames, taps * s.in, s.out, s.out, 1, s.width, 1, s.stride * s.in, accumulate, false,
                     s.batch, s.frames * s.out, 0, s.time * s.in};
  };
  const auto dw = [&](int64_t taps, bool accumulate) {
    return GemmShape{s.out, taps * s.in, s.frames, 1, s.out, s.stride * s.in, 1, s.width, accumulate, false};
  };
  const bool good = (!present(out[0]) || make(call, s, &made->dx, dx, true)) &&
                    make(call, s, &made->dw_first_row, [&](int64_t taps, bool) { return dw(taps, false); }, false) && make(call, s, &made->dw, dw, true);
  size_t own = 0;
  for (const Products* p : {&made->dx, &made->dw_first_row, &made->dw})
    if (p->scratch_bytes() > own) own = p->scratch_bytes();
  *scratch_bytes = own_offset(s) + own;
  if (good) return 0;
  release(made);
  *state = nullptr;
  return 1;
}

int input_gradient(hk_call* call, const Sizes& s, const State* state, float* packed, void* own) {
  float* dx = f32(call->outputs[0]);
  pack(call, s, packed);
  cudaMemsetAsync(dx, 0, (size_t)(s.batch * s.time * s.in) * sizeof(float), stream_of(call));
  for (int64_t g = 0; g < s.groups; g++) {
    const int64_t at = g * s.stride * s.in;
    if (state->dx.of(s, g)->run(call, f32(call->inputs[2]), packed + at, dx + at, nullptr, own)) return 1;
  }
  return 0;
}

int weight_gradient(hk_call* call, const Sizes& s, const State* state, float* packed, void* own) {
  for (int64_t b = 0; b < s.batch; b++) {
    const float *x = f32(call->inputs[0]) + b * s.time * s.in, *dz = f32(call->inputs[2]) + b * s.frames * s.out;
    const Products& products = b ? state->dw : state->dw_first_row;
    for (int64_t g = 0; g < s.groups; g++) {
      const int64_t at = g * s.stride * s.in;
      if (products.of(s, g)->run(call, dz, x + at, packed + at, nullptr, own)) return 1;
    }
  }
  const int64_t n = s.out * s.width;
  HK_LAUNCH(unpack_kernel, dim3((unsigned)blocks_for(n, 256)), dim3(256), 0, stream_of(call), packed, n, s.in, s.kernel, f32(call->outputs[1]));
  return 0;
}

int run_grad(hk_call* call) {
  const Sizes s = sizes_of(call);
  const State* state = (const State*)call->state;
  float *packed = (float*)call->scratch, *dw = (float*)((char*)packed + packed_bytes(s)), *sums = (float*)((char*)dw + packed_bytes(s));
  void* own = (char*)call->scratch + own_offset(s);
  if (present(call->outputs[0]) && input_gradient(call, s, state, packed, own)) return 1;
  if (weight_gradient(call, s, state, dw, own)) return 1;
  if (present(call->outputs[2])) add_column_sums(stream_of(call), f32(call->inputs[2]), s.batch * s.frames, s.out, sums, f32(call->outputs[2]));
  return launched(call);
}

hk_cost cost(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double n = (double)s.batch * s.frames * s.out;
  return {2.0 * n * s.width, 4.0 * (n * (present(call->outputs[1]) ? 2 : 1) + (double)elements(call->inputs[0]) + (double)s.out * s.width)};
}
hk_cost cost_grad(const hk_call* call) {
  const Sizes s = sizes_of(call);
  const double n = (double)s.batch * s.frames * s.out, x = (double)elements(call->inputs[0]), times = present(call->outputs[0]) ? 2 : 1;
  return {2.0 * n * s.width * times, 4.0 * (n + x * times + (double)s.out * s.width)};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv1d, {"conv1d", prepare, run, release, cost}, {"conv1d_grad", prepare_grad, run_grad, release, cost_grad})
