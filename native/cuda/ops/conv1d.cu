// Strided convolution over time: the contract and the scheme are in ops/conv1d.h, here in f32. All rows of the batch go through one batched
// product; only the weight gradient, which sums over them, takes one after the other. One input channel is not special here.
#include "cuda/activate.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"
#include "ops/conv1d.h"

namespace hk {
namespace HK_ISA {
namespace {

void release(void* state) { delete (ConvProducts*)state; }

int check(hk_call* call, const char* op, const hk_tensor& output) {
  return expect_conv(call, op, output, HK_F32) || expect_dense(call, op, "x", call->inputs[0], HK_F32, 3);
}

size_t aligned(size_t bytes) { return (bytes + 255) / 256 * 256; }
size_t packed_bytes(const ConvSizes& s) { return aligned((size_t)(s.out * s.width) * sizeof(float)); }

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

void pack(hk_call* call, const ConvSizes& s, float* packed) {
  const int64_t n = s.out * s.width;
  HK_LAUNCH(pack_kernel, dim3((unsigned)blocks_for(n, 256)), dim3(256), 0, stream_of(call), f32(call->inputs[1]), n, s.in, s.kernel, packed);
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d";
  if (expect_counts(call, op, 3, 2) || check(call, op, call->outputs[0]) || expect_conv_outputs(call, op)) return 1;
  const ConvSizes s = conv_sizes(call);
  ConvProducts* made = new ConvProducts;
  *state = made;
  const bool with_bias = present(call->inputs[2]);
  const bool good = make_products(s, &made->forward, [&](int64_t taps, bool accumulate) {
    return Gemm::make(call, {s.frames, s.out, taps * s.in, s.stride * s.in, 1, 1, s.width, s.out, accumulate, with_bias && !accumulate,
                             s.batch, s.time * s.in, 0, s.frames * s.out});
  }, false);
  *scratch_bytes = packed_bytes(s) + made->forward.scratch_bytes();
  if (good) return 0;
  release(made);
  *state = nullptr;
  return 1;
}

int run(hk_call* call) {
  const ConvSizes s = conv_sizes(call);
  const ConvProducts* state = (const ConvProducts*)call->state;
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
size_t own_offset(const ConvSizes& s) { return 2 * packed_bytes(s) + aligned((size_t)column_sum_floats(s.batch * s.frames, s.out) * sizeof(float)); }

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d_grad";
  if (expect_counts(call, op, 3, 3) || check(call, op, call->inputs[2]) || expect_conv_gradients(call, op)) return 1;
  const ConvSizes s = conv_sizes(call);
  ConvProducts* made = new ConvProducts;
  *state = made;
  const auto dx = [&](int64_t taps, bool accumulate) {
    return Gemm::make(call, {s.frames, taps * s.in, s.out, s.out, 1, s.width, 1, s.stride * s.in, accumulate, false,
                             s.batch, s.frames * s.out, 0, s.time * s.in});
  };
  const auto dw = [&](int64_t taps, bool accumulate) {
    return Gemm::make(call, {s.out, taps * s.in, s.frames, 1, s.out, s.stride * s.in, 1, s.width, accumulate, false});
  };
  const bool good = (!present(call->outputs[0]) || make_products(s, &made->dx, dx, true)) &&
                    make_products(s, &made->dw_first_row, [&](int64_t taps, bool) { return dw(taps, false); }, false) &&
                    make_products(s, &made->dw, dw, true);
  size_t own = 0;
  for (const Products* p : {&made->dx, &made->dw_first_row, &made->dw})
    if (p->scratch_bytes() > own) own = p->scratch_bytes();
  *scratch_bytes = own_offset(s) + own;
  if (good) return 0;
  release(made);
  *state = nullptr;
  return 1;
}

int input_gradient(hk_call* call, const ConvSizes& s, const ConvProducts* state, float* packed, void* own) {
  float* dx = f32(call->outputs[0]);
  pack(call, s, packed);
  cudaMemsetAsync(dx, 0, (size_t)(s.batch * s.time * s.in) * sizeof(float), stream_of(call));
  for (int64_t g = 0; g < s.groups; g++) {
    const int64_t at = g * s.stride * s.in;
    if (state->dx.of(s, g)->run(call, f32(call->inputs[2]), packed + at, dx + at, nullptr, own)) return 1;
  }
  return 0;
}

int weight_gradient(hk_call* call, const ConvSizes& s, const ConvProducts* state, float* packed, void* own) {
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
  const ConvSizes s = conv_sizes(call);
  const ConvProducts* state = (const ConvProducts*)call->state;
  float *packed = (float*)call->scratch, *dw = (float*)((char*)packed + packed_bytes(s)), *sums = (float*)((char*)dw + packed_bytes(s));
  void* own = (char*)call->scratch + own_offset(s);
  if (present(call->outputs[0]) && input_gradient(call, s, state, packed, own)) return 1;
  if (weight_gradient(call, s, state, dw, own)) return 1;
  if (present(call->outputs[2])) add_column_sums(stream_of(call), f32(call->inputs[2]), s.batch * s.frames, s.out, sums, f32(call->outputs[2]));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv1d, {"conv1d", prepare, run, release, conv_cost}, {"conv1d_grad", prepare_grad, run_grad, release, conv_grad_cost})
