// Strided convolution over time: the contract and the scheme are in ops/conv1d.h. All rows of the batch go through one batched product for
// each group of taps; their weight gradients are added up in the end.
// A waveform (one input channel): a thread has an output channel, holds kTaps taps of it and walks over the frames of a chunk; all threads of a
// warp read the same window, neighbours have neighbouring channels. GELU comes before the rounding.
#include <numeric>

#include "cuda/activate.cuh"
#include "cuda/cast.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"
#include "ops/conv1d.h"

namespace hk {
namespace HK_ISA {
namespace {

void release(void* state) { delete (ConvProducts*)state; }

struct Layout {
  hk_tensor packed;   // the weight [Cout, k, Cin], as the products with x take it
  float *dw, *sums;   // gradient alone: [B, Cout, k, Cin] (not of a waveform), column sums
  void* own;          // the products' own
  size_t bytes;
};

Layout layout(const hk_call* call, const ConvSizes& s, bool gradient) {
  Scratch scratch(call->scratch);
  Layout l = {call->inputs[1], nullptr, nullptr, nullptr, 0};
  l.packed.dtype = call->inputs[0].dtype;
  l.packed.data = scratch.take<uint8_t>(s.out * s.width * (int64_t)element_bytes(l.packed));
  if (gradient) {
    if (!is_direct(s)) l.dw = scratch.take<float>(s.batch * s.out * s.width);
    l.sums = scratch.take<float>(column_sum_floats(s.batch * s.frames, is_direct(s) ? s.out * s.kernel : s.out));
  }
  l.bytes = scratch.bytes();
  l.own = (char*)call->scratch + l.bytes;
  return l;
}

// [Cout, Cin, k] -> [Cout, k, Cin]
template <class T>
__global__ void pack_kernel(const float* w, int64_t n, int64_t in, int64_t kernel, T* packed) {
  const int64_t e = element_index();
  if (e < n) packed[e] = w[(e / (kernel * in) * in + e % in) * kernel + e / in % kernel];
}
// [B, Cout, k, Cin] added to [Cout, Cin, k]
__global__ void unpack_kernel(const float* packed, int64_t batch, int64_t n, int64_t in, int64_t kernel, float* dw) {
  const int64_t e = element_index();
  if (e >= n) return;
  packed += (e / (kernel * in) * kernel + e % kernel) * in + e / kernel % in;
  float sum = 0;
  for (int64_t b = 0; b < batch; b++) sum += packed[b * n];
  dw[e] += sum;
}

template <class T>
void pack_as(hk_call* call, const ConvSizes& s, const Layout& l) {
  const int64_t n = s.out * s.width;
  HK_LAUNCH(pack_kernel<T>, element_grid(n), dim3(kBlock), 0, stream_of(call), f32(call->inputs[1]), n, s.in, s.kernel, data<T>(l.packed));
}
void pack(hk_call* call, const ConvSizes& s, const Layout& l) {
  if (is_bf16(l.packed)) pack_as<bf16>(call, s, l);
  else pack_as<float>(call, s, l);
}

// ---- forward ----

// The window of a row of the output, a row being a frame of one row of the batch.
struct Window {
  const float* at;
  int64_t frame, frames, stride, behind;  // behind: from the last window of a row of the batch to the first of the next
  __device__ Window(const ConvSizes& s, const float* wave, int64_t row)
      : at(wave + row / s.frames * s.time + row % s.frames * s.stride), frame(row % s.frames), frames(s.frames), stride(s.stride),
        behind(s.time - (s.frames - 1) * s.stride) {}
  __device__ void next() {
    const bool last = ++frame == frames;
    at += last ? behind : stride;
    if (last) frame = 0;
  }
};

const int kTaps = 10;  // all that HuBERT's extractor has

// grid (chunks of rows, channels / kWaveThreads)
const int kWaveThreads = 128;
template <class T>
__global__ void wave_kernel(ConvSizes s, const float* wave, const float* weights, const float* bias, bool with_gelu, T* z, T* y) {
  const int64_t o = (int64_t)blockIdx.y * kWaveThreads + threadIdx.x, rows = s.batch * s.frames, first = blockIdx.x * kRowsOfChunk;
  const int64_t end = first + kRowsOfChunk < rows ? first + kRowsOfChunk : rows;
  if (o >= s.out) return;
  const float *w = weights + o * s.kernel, offset = bias ? bias[o] : 0.0f;
  float taps[kTaps];
#pragma unroll
  for (int j = 0; j < kTaps; j++) taps[j] = j < s.kernel ? w[j] : 0.0f;
  Window window(s, wave, first);
  for (int64_t r = first; r < end; r++, window.next()) {
    float v = offset;
#pragma unroll
    for (int j = 0; j < kTaps; j++)
      if (j < s.kernel) v += taps[j] * window.at[j];
    for (int64_t j = kTaps; j < s.kernel; j++) v += w[j] * window.at[j];
    if (z) z[r * s.out + o] = v;
    y[r * s.out + o] = with_gelu ? gelu(v) : v;
  }
}

dim3 wave_grid(const ConvSizes& s) {
  return dim3((unsigned)blocks_for(s.batch * s.frames, kRowsOfChunk), (unsigned)blocks_for(s.out, kWaveThreads));
}

template <class T>
int run_wave(hk_call* call) {
  const ConvSizes s = conv_sizes(call);
  const hk_tensor *in = call->inputs, *out = call->outputs;
  HK_LAUNCH(wave_kernel<T>, wave_grid(s), dim3(kWaveThreads), 0, stream_of(call), s, f32(in[0]), f32(in[1]), f32(in[2]), has_gelu(call),
            data<T>(out[1]), data<T>(out[0]));
  return launched(call);
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d";
  if (expect_counts(call, op, 3, 2) || expect_conv(call, op, call->outputs[0]) || expect_conv_outputs(call, op)) return 1;
  const ConvSizes s = conv_sizes(call);
  if (is_direct(s)) return 0;
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  const bool with_bias = present(call->inputs[2]);
  ConvProducts* made = new ConvProducts;
  *state = made;
  const bool good = make_products(s, &made->forward, [&](int64_t taps, bool accumulate) {
    return Gemm::make(call, {s.frames, s.out, taps * s.in, s.stride * s.in, 1, 1, s.width, s.out, accumulate, with_bias && !accumulate, dtype, dtype,
                             s.batch, s.time * s.in, 0, s.frames * s.out, s.in});
  }, false);
  *scratch_bytes = layout(call, s, false).bytes + made->forward.scratch_bytes();
  if (good) return 0;
  release(made);
  *state = nullptr;
  return 1;
}

int run(hk_call* call) {
  const ConvSizes s = conv_sizes(call);
  if (is_direct(s)) return HK_BY_TYPE(call->outputs[0], run_wave, call);
  const Layout l = layout(call, s, false);
  const ConvProducts* state = (const ConvProducts*)call->state;
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  const hk_tensor& z = present(call->outputs[1]) ? call->outputs[1] : y;
  pack(call, s, l);
  for (int64_t g = 0; g < s.groups; g++) {
    const int64_t at = g * s.stride * s.in;
    if (state->forward.of(s, g)->run(call, element_at(x, at), element_at(l.packed, at), z.data, f32(call->inputs[2]), l.own)) return 1;
  }
  if (has_gelu(call)) activate(stream_of(call), z, y);
  return launched(call);
}

// ---- gradient ----

// Where the first group of taps fills its rows, its product writes all of dx but these last frames of each row of the batch.
int64_t frames_behind(const ConvSizes& s) { return s.time - s.frames * s.stride; }
bool first_group_fills(const ConvSizes& s) { return s.kernel >= s.stride; }

template <class T>
__global__ void clear_frames_behind(ConvSizes s, int64_t behind, T* dx) {
  const int64_t e = element_index(), b = e / behind;
  if (b < s.batch) dx[(b + 1) * s.time * s.in - behind + e % behind] = 0.0f;
}

void clear(hk_call* call, const ConvSizes& s, const hk_tensor& dx) {
  if (!first_group_fills(s)) {
    cudaMemsetAsync(dx.data, 0, (size_t)elements(dx) * element_bytes(dx), stream_of(call));
    return;
  }
  const int64_t behind = frames_behind(s) * s.in;
  if (behind == 0) return;
  const dim3 grid = element_grid(s.batch * behind);
  if (is_bf16(dx)) HK_LAUNCH(clear_frames_behind<bf16>, grid, dim3(kBlock), 0, stream_of(call), s, behind, data<bf16>(dx));
  else HK_LAUNCH(clear_frames_behind<float>, grid, dim3(kBlock), 0, stream_of(call), s, behind, f32(dx));
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d_grad";
  if (expect_counts(call, op, 3, 3) || expect_conv(call, op, call->inputs[2]) || expect_conv_gradients(call, op)) return 1;
  const ConvSizes s = conv_sizes(call);
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  ConvProducts* made = new ConvProducts;
  *state = made;
  const auto dx = [&](int64_t taps, bool accumulate) {
    return Gemm::make(call, {s.frames, taps * s.in, s.out, s.out, 1, s.width, 1, s.stride * s.in, accumulate, false, dtype, dtype,
                             s.batch, s.frames * s.out, 0, s.time * s.in, s.in});
  };
  const auto dw = [&](int64_t taps, bool) {
    return Gemm::make(call, {s.out, taps * s.in, s.frames, 1, s.out, s.stride * s.in, 1, s.width, false, false, dtype, HK_F32,
                             s.batch, s.frames * s.out, s.time * s.in, s.out * s.width, std::gcd(s.in, s.out)});
  };
  const bool good = (!present(call->outputs[0]) || make_products(s, &made->dx, dx, !first_group_fills(s))) &&
                    (is_direct(s) || make_products(s, &made->dw, dw, false));
  const size_t dx_bytes = made->dx.scratch_bytes(), dw_bytes = made->dw.scratch_bytes();
  *scratch_bytes = layout(call, s, true).bytes + (dx_bytes > dw_bytes ? dx_bytes : dw_bytes);
  if (good) return 0;
  release(made);
  *state = nullptr;
  return 1;
}

int input_gradient(hk_call* call, const ConvSizes& s, const Layout& l) {
  const hk_tensor &dz = call->inputs[2], &dx = call->outputs[0];
  pack(call, s, l);
  clear(call, s, dx);
  for (int64_t g = 0; g < s.groups; g++) {
    const int64_t at = g * s.stride * s.in;
    if (((const ConvProducts*)call->state)->dx.of(s, g)->run(call, dz.data, element_at(l.packed, at), element_at(dx, at), nullptr, l.own)) return 1;
  }
  return 0;
}

int weight_gradient(hk_call* call, const ConvSizes& s, const Layout& l) {
  const hk_tensor &x = call->inputs[0], &dz = call->inputs[2];
  for (int64_t g = 0; g < s.groups; g++) {
    const int64_t at = g * s.stride * s.in;
    if (((const ConvProducts*)call->state)->dw.of(s, g)->run(call, dz.data, element_at(x, at), l.dw + at, nullptr, l.own)) return 1;
  }
  const int64_t n = s.out * s.width;
  HK_LAUNCH(unpack_kernel, element_grid(n), dim3(kBlock), 0, stream_of(call), l.dw, s.batch, n, s.in, s.kernel, f32(call->outputs[1]));
  return 0;
}

// grid (chunks of rows, channels / kWaveThreads, taps / kTaps). What each chunk adds to dw[o, j]: partial[chunk, o k + j].
template <class T>
__global__ void wave_gradient_kernel(ConvSizes s, const float* wave, const T* dz, float* partial) {
  const int64_t o = (int64_t)blockIdx.y * kWaveThreads + threadIdx.x, rows = s.batch * s.frames, first = blockIdx.x * kRowsOfChunk;
  const int64_t end = first + kRowsOfChunk < rows ? first + kRowsOfChunk : rows, tap0 = (int64_t)blockIdx.z * kTaps, taps = s.kernel - tap0;
  if (o >= s.out) return;
  float sums[kTaps] = {};
  Window window(s, wave + tap0, first);
#pragma unroll 4
  for (int64_t r = first; r < end; r++, window.next()) {
    const float d = dz[r * s.out + o];
#pragma unroll
    for (int j = 0; j < kTaps; j++)
      if (j < taps) sums[j] += d * window.at[j];
  }
  partial += (blockIdx.x * s.out + o) * s.kernel + tap0;
#pragma unroll
  for (int j = 0; j < kTaps; j++)
    if (j < taps) partial[j] = sums[j];
}

template <class T>
void wave_gradient(hk_call* call, const ConvSizes& s, const Layout& l) {
  dim3 grid = wave_grid(s);
  grid.z = (unsigned)blocks_for(s.kernel, kTaps);
  HK_LAUNCH(wave_gradient_kernel<T>, grid, dim3(kWaveThreads), 0, stream_of(call), s, f32(call->inputs[0]), data<T>(call->inputs[2]), l.sums);
  add_chunk_sums(stream_of(call), l.sums, blocks_for(s.batch * s.frames, kRowsOfChunk), s.out * s.kernel, f32(call->outputs[1]));
}

int run_grad(hk_call* call) {
  const ConvSizes s = conv_sizes(call);
  const Layout l = layout(call, s, true);
  const hk_tensor &dz = call->inputs[2], &dbias = call->outputs[2];
  if (present(call->outputs[0]) && input_gradient(call, s, l)) return 1;
  if (!is_direct(s) && weight_gradient(call, s, l)) return 1;
  if (is_direct(s) && is_bf16(dz)) wave_gradient<bf16>(call, s, l);
  else if (is_direct(s)) wave_gradient<float>(call, s, l);
  if (present(dbias)) add_column_sums(stream_of(call), dz, l.sums, f32(dbias));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv1d, {"conv1d", prepare, run, release, conv_cost}, {"conv1d_grad", prepare_grad, run_grad, release, conv_grad_cost})
