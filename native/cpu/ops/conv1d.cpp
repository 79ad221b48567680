// Strided convolution over time, channels last, no padding, no im2col: the contract and the scheme are in ops/conv1d.h.
// One input channel (a waveform) would make K tiny: it goes to the direct kernel of wave_conv.h instead. Kernel 3 and stride 2, HuBERT's
// most, have a faster form (fast_conv.h).
#include <tuple>

#include "cpu/fast_conv.h"
#include "cpu/gelu.h"
#include "cpu/op.h"
#include "cpu/product.h"
#include "cpu/wave_conv.h"
#include "ops/conv1d.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kChunk = 1024;  // frames of one partial sum of a parameter's gradient

struct Sizes : ConvSizes {
  int64_t chunks, lanes;
};

Sizes with_chunks(const ConvSizes& s) { return {s, (s.frames + kChunk - 1) / kChunk, round16(s.out)}; }
Sizes sizes_of(const hk_call* call) { return with_chunks(conv_sizes(call)); }

GemmShape forward_product(const hk_call* call, const ConvSizes& s, int64_t taps, bool accumulate) {
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  return {s.frames, s.out, taps * s.in, s.stride * s.in, 1, 1, s.width, s.out, accumulate, present(call->inputs[2]) && !accumulate, dtype, dtype};
}
GemmShape dw_product(const hk_call* call, const ConvSizes& s, int64_t taps, bool accumulate) {
  return {s.out, taps * s.in, s.frames, 1, s.out, s.stride * s.in, 1, s.width, accumulate, false, dtype_of(call->inputs[0]), HK_F32};
}
// Of the products that read x: in one group where its rows may overlap.
Sizes reading_sizes(const hk_call* call, GemmShape (*product)(const hk_call*, const ConvSizes&, int64_t, bool)) {
  const ConvSizes s = conv_sizes(call);
  return with_chunks(conv_sizes(call, Gemm::rows_may_overlap(product(call, s, s.kernel, false))));
}

struct CpuProducts : ConvProducts {
  std::tuple<fast_conv::Forms<float>, fast_conv::Forms<bf16>> fast;
  template <class T>
  const fast_conv::Forms<T>& fast_of() const { return std::get<fast_conv::Forms<T>>(fast); }
};

void release(void* state) { delete (CpuProducts*)state; }

bool is_fast(const hk_call* call, const ConvSizes& s) { return fast_conv::suits(s, dtype_of(call->inputs[0])); }
int64_t packed_width(const hk_call* call, const ConvSizes& s) { return is_fast(call, s) ? fast_conv::width(s) : s.width; }

// Scratch: packed weight (float[out * width]; for the direct kernel [k, lanes] and the bias in lanes), then the products' own.
size_t largest(size_t a, size_t b) { return a > b ? a : b; }
size_t aligned(size_t bytes) { return (bytes + 63) / 64 * 64; }
size_t packed_bytes(const hk_call* call, const Sizes& s) {
  return aligned((size_t)(is_direct(s) ? (s.kernel + 1) * s.lanes : s.out * packed_width(call, s)) * element_bytes(call->inputs[0]));
}

// Makes the fast form; its scratch.
template <class T>
size_t make_fast(const hk_call* call, const Sizes& s, CpuProducts* made) {
  auto& forward = std::get<fast_conv::Forms<T>>(made->fast).forward;
  forward.reset(new fast_conv::Forward<T>(s, present(call->inputs[2])));
  return forward->scratch_bytes();
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d";
  if (expect_counts(call, op, 3, 2)) return 1;
  if (expect_conv(call, op, call->outputs[0]) || expect_conv_outputs(call, op)) return 1;
  const Sizes s = reading_sizes(call, forward_product);
  const hk_tensor& x = call->inputs[0];
  *scratch_bytes = packed_bytes(call, s);
  if (is_direct(s)) return 0;
  CpuProducts* made = new CpuProducts;
  *state = made;
  const auto product = [&](int64_t taps, bool accumulate) { return Gemm::make(forward_product(call, s, taps, accumulate)); };
  if (is_fast(call, s)) {
    *scratch_bytes += HK_BY_TYPE(x, make_fast, call, s, made);
  } else if (!make_products(s, &made->forward, product, false)) {
    release(made);
    *state = nullptr;
    return fail(call, "%s: %s", op, is_bf16(x) && !has_bf16() ? kNoBf16 : "no matrix product for this shape");
  }
  *scratch_bytes += made->forward.scratch_bytes();
  return 0;
}

// [Cout, Cin, k] -> [Cout, k, Cin]
template <class T>
void pack(const Sizes& s, const float* w, T* packed) {
  parallel_chunks(s.out, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o++)
      for (int64_t j = 0; j < s.kernel; j++)
        for (int64_t i = 0; i < s.in; i++) packed[o * s.width + j * s.in + i] = w[(o * s.in + i) * s.kernel + j];
  });
}

template <int K, class T>
void run_direct(const hk_call* call, const Sizes& s, bool with_gelu) {
  float *weights = (float*)call->scratch, *bias = weights + s.kernel * s.lanes;
  const float* given = f32(call->inputs[2]);
  pack_wave_weights(f32(call->inputs[1]), s.out, s.kernel, weights);
  for (int64_t c = 0; c < s.lanes; c++) bias[c] = given && c < s.out ? given[c] : 0.0f;
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t0 = i % s.chunks * kChunk, t1 = t0 + kChunk < s.frames ? t0 + kChunk : s.frames;
    const int64_t row = b * s.frames * s.out;
    T* y = data<T>(call->outputs[0]) + row;
    T* z = present(call->outputs[1]) ? data<T>(call->outputs[1]) + row : nullptr;
    wave_conv<K>(f32(call->inputs[0]) + b * s.time, s.stride, t0, t1, weights, bias, s.out, s.kernel, [&](int64_t t, int64_t c, vk v) {
      if (z) store_channels(z + t * s.out + c, v, s.out - c);
      store_channels(y + t * s.out + c, with_gelu ? gelu_register(v) : v, s.out - c);
    });
  });
}

template <class T>
void run_fast(const hk_call* call, const Sizes& s, const fast_conv::Forward<T>& fast) {
  T *packed = (T*)call->scratch, *y = data<T>(call->outputs[0]), *z = present(call->outputs[1]) ? data<T>(call->outputs[1]) : y;
  fast_conv::pack(s, f32(call->inputs[1]), packed);
  fast.run(data<T>(call->inputs[0]), packed, z, f32(call->inputs[2]), has_gelu(call) ? y : nullptr, (char*)call->scratch + packed_bytes(call, s));
}

template <class T>
int run_as(hk_call* call) {
  const Sizes s = reading_sizes(call, forward_product);
  const bool with_gelu = has_gelu(call);
  if (is_direct(s)) {
    if (s.kernel == 10) run_direct<10, T>(call, s, with_gelu);
    else run_direct<0, T>(call, s, with_gelu);
    return 0;
  }
  const CpuProducts* state = (const CpuProducts*)call->state;
  if (const auto& fast = state->fast_of<T>().forward) {
    run_fast(call, s, *fast);
    return 0;
  }
  T* packed = (T*)call->scratch;
  void* own = (char*)call->scratch + packed_bytes(call, s);
  pack(s, f32(call->inputs[1]), packed);
  for (int64_t b = 0; b < s.batch; b++) {
    const T* x = data<T>(call->inputs[0]) + b * s.time * s.in;
    T* y = data<T>(call->outputs[0]) + b * s.frames * s.out;
    T* z = present(call->outputs[1]) ? data<T>(call->outputs[1]) + b * s.frames * s.out : y;
    for (int64_t g = 0; g < s.groups; g++)
      state->forward.of(s, g)->run(x + g * s.stride * s.in, packed + g * s.stride * s.in, z, f32(call->inputs[2]), own,
                                   with_gelu && g + 1 == s.groups ? y : nullptr);
  }
  return 0;
}
int run(hk_call* call) { return HK_BY_TYPE(call->outputs[0], run_as, call); }

// Scratch of the gradient: packed weight, packed dw, partial sums (bias; direct: weight and bias), then the products' own.
struct Scratch {
  void*  packed;  // as the activations
  float *dw, *sums;
  void*  own;
  size_t bytes;
};
Scratch layout_grad(const hk_call* call, const Sizes& s, void* base) {
  Scratch p;
  const size_t matrix = aligned((size_t)(s.out * packed_width(call, s)) * sizeof(float));
  const int64_t rows = is_direct(s) ? s.kernel + 1 : 1;
  p.packed = base;
  p.dw = (float*)((char*)base + matrix);
  p.sums = (float*)((char*)base + 2 * matrix);
  p.bytes = 2 * matrix + aligned((size_t)(s.batch * s.chunks * rows * s.lanes + rows * s.lanes) * sizeof(float));
  p.own = (char*)base + p.bytes;
  return p;
}

// Makes the fast forms; their scratch.
template <class T>
size_t make_fast_grad(const hk_call* call, const Sizes& s, CpuProducts* made) {
  auto& fast = std::get<fast_conv::Forms<T>>(made->fast);
  if (present(call->outputs[0])) fast.dx.reset(new fast_conv::InputGradient<T>(s));
  fast.dw.reset(new fast_conv::WeightGradient<T>(s));
  return largest(fast.dx ? fast.dx->scratch_bytes() : 0, fast.dw->scratch_bytes());
}

bool make_grad(const hk_call* call, const Sizes& s, CpuProducts* made) {
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  const auto dx = [&](int64_t taps, bool accumulate) {
    return Gemm::make({s.frames, taps * s.in, s.out, s.out, 1, s.width, 1, s.stride * s.in, accumulate, false, dtype, dtype});
  };
  if (present(call->outputs[0]) && !make_products(s, &made->dx, dx, s.kernel < s.stride)) return false;
  if (is_direct(s)) return true;
  const Sizes reading = reading_sizes(call, dw_product);
  const auto dw = [&](int64_t taps, bool accumulate) { return Gemm::make(dw_product(call, reading, taps, accumulate)); };
  return make_products(reading, &made->dw_first_row, [&](int64_t taps, bool) { return dw(taps, false); }, false) &&
         make_products(reading, &made->dw, dw, true);
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "conv1d_grad";
  if (expect_counts(call, op, 3, 3)) return 1;
  if (expect_conv(call, op, call->inputs[2]) || expect_conv_gradients(call, op)) return 1;
  const Sizes s = sizes_of(call);
  CpuProducts* made = new CpuProducts;
  *state = made;
  size_t own = 0;
  if (is_fast(call, s)) {
    own = HK_BY_TYPE(call->inputs[0], make_fast_grad, call, s, made);
  } else if (!make_grad(call, s, made)) {
    release(made);
    *state = nullptr;
    return fail(call, "%s: %s", op, is_bf16(call->inputs[0]) && !has_bf16() ? kNoBf16 : "no matrix product for this shape");
  }
  const Products* all[] = {&made->dx, &made->dw_first_row, &made->dw};
  for (const Products* p : all) own = largest(own, p->scratch_bytes());
  *scratch_bytes = layout_grad(call, s, nullptr).bytes + own;
  return 0;
}

template <class T>
void fast_gradients(const hk_call* call, const Sizes& s, const fast_conv::Forms<T>& fast, const Scratch& p) {
  const T* dz = data<T>(call->inputs[2]);
  fast.dw->run(dz, data<T>(call->inputs[0]), p.dw, p.own);
  fast_conv::add_unpacked(s, p.dw, f32(call->outputs[1]));
  if (!fast.dx) return;
  fast_conv::pack(s, f32(call->inputs[1]), (T*)p.packed);
  fast.dx->run(dz, (const T*)p.packed, data<T>(call->outputs[0]), p.own);  // last: what follows reads dx
}

template <class T>
void input_gradient(const hk_call* call, const Sizes& s, const ConvProducts* state, const Scratch& p) {
  T* packed = (T*)p.packed;
  pack(s, f32(call->inputs[1]), packed);
  for (int64_t b = 0; b < s.batch; b++) {
    const T* dz = data<T>(call->inputs[2]) + b * s.frames * s.out;
    T* dx = data<T>(call->outputs[0]) + b * s.time * s.in;
    // The first product overwrites the frames that it covers: all up to frames*stride, unless taps leave gaps.
    const int64_t covered = s.kernel < s.stride ? 0 : s.frames * s.stride;
    if (covered < s.time) memset((void*)(dx + covered * s.in), 0, (size_t)((s.time - covered) * s.in) * sizeof(T));
    for (int64_t g = 0; g < s.groups; g++) state->dx.of(s, g)->run(dz, packed + g * s.stride * s.in, dx + g * s.stride * s.in, nullptr, p.own);
  }
}

template <class T>
void weight_gradient(const hk_call* call, const Sizes& s, const ConvProducts* state, const Scratch& p) {
  for (int64_t b = 0; b < s.batch; b++) {
    const T* x = data<T>(call->inputs[0]) + b * s.time * s.in;
    const T* dz = data<T>(call->inputs[2]) + b * s.frames * s.out;
    const Products& products = b ? state->dw : state->dw_first_row;
    for (int64_t g = 0; g < s.groups; g++) products.of(s, g)->run(dz, x + g * s.stride * s.in, p.dw + g * s.stride * s.in, nullptr, p.own);
  }
  float* dw = f32(call->outputs[1]);
  parallel_chunks(s.out, 16, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t o = begin; o < end; o++)
      for (int64_t i = 0; i < s.in; i++)
        for (int64_t j = 0; j < s.kernel; j++) dw[(o * s.in + i) * s.kernel + j] += p.dw[o * s.width + j * s.in + i];
  });
}

// The sums of every chunk, in order, into rows of `lanes` floats after them; returns those rows.
const float* total(const Sizes& s, const Scratch& p, int64_t rows) {
  const int64_t n = rows * s.lanes, chunks = s.batch * s.chunks;
  float* out = p.sums + chunks * n;
  for (int64_t i = 0; i < n; i += 16) {
    v16 t = {};
    for (int64_t c = 0; c < chunks; c++) t += load(p.sums + c * n + i);
    store(out + i, t);
  }
  return out;
}

template <class T>
void bias_gradient(const hk_call* call, const Sizes& s, const Scratch& p) {
  const int64_t all = s.batch * s.frames;
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t begin = i * all / (s.batch * s.chunks), end = (i + 1) * all / (s.batch * s.chunks);
    float* sums = p.sums + i * s.lanes;
    memset(sums, 0, (size_t)s.lanes * sizeof(float));
    for (int64_t t = begin; t < end; t++) {
      const T* row = data<T>(call->inputs[2]) + t * s.out;
      for (int64_t c = 0; c < s.out; c++) sums[c] += row[c];
    }
  });
  const float* sums = total(s, p, 1);
  for (int64_t c = 0; c < s.out; c++) f32(call->outputs[2])[c] += sums[c];
}

template <int K, class T>
void direct_gradient(const hk_call* call, const Sizes& s, const Scratch& p) {
  const int64_t size = (s.kernel + 1) * s.lanes;
  float* unused = p.sums + s.batch * s.chunks * size;  // weights and bias that the kernel may load; nothing uses what it makes of them
  memset(unused, 0, (size_t)size * sizeof(float));
  const int64_t ahead = wave_block(s.out) * s.out;
  parallel_chunks(s.batch * s.chunks, 1, [&](int64_t i, int64_t, int64_t) {
    const int64_t b = i / s.chunks, t0 = i % s.chunks * kChunk, t1 = t0 + kChunk < s.frames ? t0 + kChunk : s.frames;
    const T* dz = data<T>(call->inputs[2]) + b * s.frames * s.out;
    float* sums = p.sums + i * size;
    memset(sums, 0, (size_t)size * sizeof(float));
    wave_conv_grad<K>(f32(call->inputs[0]) + b * s.time, s.stride, t0, t1, unused, unused, s.out, s.kernel, sums, [&](int64_t t, int64_t c, vk) {
      const T* at = dz + t * s.out + c;
      __builtin_prefetch(at + ahead);
      return load_channels(at, s.out - c);
    });
  });
  const float* sums = total(s, p, s.kernel + 1);
  for (int64_t c = 0; c < s.out; c++)
    for (int64_t j = 0; j < s.kernel; j++) f32(call->outputs[1])[c * s.kernel + j] += sums[j * s.lanes + c];
  if (!present(call->outputs[2])) return;
  for (int64_t c = 0; c < s.out; c++) f32(call->outputs[2])[c] += sums[s.kernel * s.lanes + c];
}

template <class T>
int run_grad_as(hk_call* call) {
  const Sizes s = sizes_of(call);
  const Scratch p = layout_grad(call, s, call->scratch);
  const CpuProducts* state = (const CpuProducts*)call->state;
  if (present(call->outputs[2]) && !is_direct(s)) bias_gradient<T>(call, s, p);
  if (const auto& fast = state->fast_of<T>(); fast.dw) {
    fast_gradients(call, s, fast, p);
    return 0;
  }
  if (!is_direct(s)) weight_gradient<T>(call, reading_sizes(call, dw_product), state, p);
  else if (s.kernel == 10) direct_gradient<10, T>(call, s, p);
  else direct_gradient<0, T>(call, s, p);
  if (present(call->outputs[0])) input_gradient<T>(call, s, state, p);  // last: what follows reads dx
  return 0;
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[2], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(conv1d, {"conv1d", prepare, run, release, conv_cost}, {"conv1d_grad", prepare_grad, run_grad, release, conv_grad_cost})
