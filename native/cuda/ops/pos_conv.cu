// pos_conv and its gradient: the contract is in ops/pos_conv.h. Each group's frames are copied side by side, c = D / G channels a frame, so
// that the k frames that make an output frame are one row of a matrix A. All three products are then one matrix product for each group:
//   z = A(x) w      dx = A(dz) w, flipped in time      dw = dz' A(x)
// With a row for each output frame the rows would overlap and c would be the product's width: the matrix library, and with it the tensor
// cores, takes no rows that overlap and is slow on so few columns. So a row stands for `block` output frames: it holds the block + k - 1 frames
// that make them, the product has block * c columns, and the weights of the s-th of these frames lie s frames further down in a band:
//   z[r block + s, o] = sum_(u, i) x[r block + u, i] band[(s, o), (u, i)],   band[(s, o), (u, i)] = w[o, i, u - s], 0 outside of the taps
// That is (block + k - 1) / k times the arithmetic and (block + k - 1) / block copies of x. The gradient of the band is folded up to that
// of w. For an x in bf16 the weights are rounded to it; products are summed in f32 and rounded once.
#include "cuda/cast.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gelu.cuh"
#include "cuda/gemm.h"
#include "ops/pos_conv.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Sizes : PosConvSizes {
  static constexpr int64_t block = 8;  // output frames of a row
  int64_t rows;                        // of the copy, for one row of the batch
  int64_t columns;                     // elements of a row
  explicit Sizes(const hk_call* call) : PosConvSizes(call) {
    rows = blocks_for(time, block);
    columns = (block + kernel - 1) * channels;
  }
  int64_t taps() const { return kernel * channels; }
  int64_t copy() const { return groups * batch * rows * columns; }
  int64_t products() const { return groups * batch * rows * block * channels; }  // elements of z or dx
  int64_t band() const { return width * block * columns; }
  HK_ANYWHERE int64_t weights() const { return width * channels * kernel; }
};

struct State {
  Gemm *z = nullptr, *dw = nullptr;  // z also makes dx: the same shape with other weights
  ~State() {
    delete z;
    delete dw;
  }
};

void release(void* state) { delete (State*)state; }

bool make_product(hk_call* call, const Sizes& s, State* made) {
  const int64_t width = s.block * s.channels;
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  made->z = Gemm::make(call, {s.batch * s.rows, width, s.columns, s.columns, 1, 1, s.columns, width, false, false, dtype, HK_F32,
                              s.groups, s.batch * s.rows * s.columns, width * s.columns, s.batch * s.rows * width});
  return made->z;
}

// What is copied is moved 16 bytes at a time where channels allow it.
struct alignas(16) Piece { uint64_t half[2]; };
template <class T>
int piece_size(const Sizes& s) {
  const int n = (int)(sizeof(Piece) / sizeof(T));
  return s.channels % n ? 1 : n;
}

// grid (batch * rows, groups). A group's frames, `before` zeros in front of them. Sizes in elements of E.
template <class E>
__global__ void pad_kernel(const E* x, Sizes s, int64_t before, E* out) {
  const int64_t row = blockIdx.x, g = blockIdx.y, b = row / s.rows, first = row % s.rows * s.block - before;
  const int channels = (int)s.channels;
  x += b * s.time * s.width + g * channels;
  out += (g * gridDim.x + row) * s.columns;
  for (int e = (int)threadIdx.x; e < s.columns; e += (int)blockDim.x) {
    const int64_t t = first + e / channels;
    out[e] = t >= 0 && t < s.time ? x[t * s.width + e % channels] : E{};
  }
}

template <class E>
void pad_as(hk_call* call, const void* x, Sizes s, int piece, int64_t before, void* out) {
  s.width /= piece;
  s.channels /= piece;
  s.columns /= piece;
  const dim3 grid((unsigned)(s.batch * s.rows), (unsigned)s.groups), block(s.columns < kBlock ? 32 : kBlock);
  HK_LAUNCH(pad_kernel<E>, grid, block, 0, stream_of(call), (const E*)x, s, before, (E*)out);
}
template <class T>
void pad(hk_call* call, const Sizes& s, const hk_tensor& x, int64_t before, T* out) {
  const int piece = piece_size<T>(s);
  if (piece > 1) pad_as<Piece>(call, x.data, s, piece, before, out);
  else pad_as<T>(call, x.data, s, 1, before, out);
}

// w[o, i, j] -> [G, o, (j, i)], or for the data gradient -> [G, i, (k-1-j, o)].
template <class T>
__global__ void pack_kernel(const float* w, Sizes s, bool flip, T* packed) {
  const int64_t e = element_index();
  if (e >= s.weights()) return;
  const int64_t inner = e % s.channels, j = e / s.channels % s.kernel, outer = e / (s.channels * s.kernel) % s.channels, g = e / (s.channels * s.kernel * s.channels);
  const int64_t o = g * s.channels + (flip ? inner : outer), i = flip ? outer : inner, tap = flip ? s.kernel - 1 - j : j;
  packed[e] = w[(o * s.channels + i) * s.kernel + tap];
}

// grid G * block * c. [G, o, (j, i)] -> [G, (s, o), (u, i)], where row s begins with s frames of zeros. Elements of E; channels: of a frame.
template <class E>
__global__ void band_kernel(const E* packed, int64_t outputs, int64_t block, int channels, int taps, E* band) {
  const int64_t o = blockIdx.x % outputs, s = blockIdx.x / outputs % block, g = blockIdx.x / (outputs * block);
  const int first = (int)s * channels, columns = taps + (int)(block - 1) * channels;
  packed += (g * outputs + o) * taps;
  band += (int64_t)blockIdx.x * columns;
  for (int e = (int)threadIdx.x; e < columns; e += kBlock) band[e] = e >= first && e < first + taps ? packed[e - first] : E{};
}

template <class E>
void band_as(hk_call* call, const Sizes& s, int piece, const void* packed, void* band) {
  HK_LAUNCH(band_kernel<E>, dim3((unsigned)(s.width * s.block)), dim3(kBlock), 0, stream_of(call), (const E*)packed, s.channels, s.block,
            (int)(s.channels / piece), (int)(s.taps() / piece), (E*)band);
}

// The weights as z's product takes them.
template <class T>
const T* pack(hk_call* call, const Sizes& s, bool flip, T* packed, T* band) {
  HK_LAUNCH(pack_kernel<T>, element_grid(s.weights()), dim3(kBlock), 0, stream_of(call), f32(call->inputs[1]), s, flip, packed);
  const int piece = piece_size<T>(s);
  if (piece > 1) band_as<Piece>(call, s, piece, packed, band);
  else band_as<T>(call, s, 1, packed, band);
  return band;
}

// grid D. The rows (s, o) of a band are added to row (0, o), each from its first tap on.
__global__ void fold_kernel(int64_t block, int64_t channels, int64_t taps, float* band) {
  const int64_t o = blockIdx.x % channels, g = blockIdx.x / channels, columns = taps + (block - 1) * channels;
  float* first = band + (g * block * channels + o) * columns;
  for (int64_t e = threadIdx.x; e < taps; e += kBlock) {
    float sum = first[e];
    for (int64_t s = 1; s < block; s++) sum += first[s * channels * (columns + 1) + e];
    first[e] = sum;
  }
}

// Row (0, o) of the band, (j, i), added to dw[o, i, j].
__global__ void unpack_kernel(const float* band, Sizes s, float* dw) {
  const int64_t e = element_index();
  if (e >= s.weights()) return;
  const int64_t j = e % s.kernel, i = e / s.kernel % s.channels, o = e / (s.kernel * s.channels);
  dw[e] += band[(o / s.channels * s.block * s.channels + o % s.channels) * s.columns + j * s.channels + i];
}

// v = product + bias, or the product alone; z = v where it is wanted; y = GELU(v) or v. product [G, B, rows * block, c]; z, y [B, T, D].
template <class T>
__global__ void finish_kernel(const float* product, const float* bias, Sizes s, bool with_gelu, T* z, T* y) {
  const int64_t e = element_index();
  if (e >= s.batch * s.time * s.width) return;
  const int64_t d = e % s.width, t = e / s.width % s.time, b = e / (s.width * s.time);
  const float v = product[((d / s.channels * s.batch + b) * s.rows * s.block + t) * s.channels + d % s.channels] + (bias ? bias[d] : 0.0f);
  if (z) z[e] = v;
  y[e] = with_gelu ? gelu(v) : v;
}

template <class T>
struct Layout {
  T *x, *dz, *packed, *band;
  float *product, *dw, *sums;  // dw: of the band
  void* own;
  size_t bytes;
};

template <class T>
Layout<T> layout(const hk_call* call, const Sizes& s, bool gradient) {
  Scratch scratch(call->scratch);
  Layout<T> l = {};
  l.x = scratch.take<T>(s.copy());
  l.packed = scratch.take<T>(s.weights());
  l.band = scratch.take<T>(s.band());
  l.product = scratch.take<float>(s.products());
  if (gradient) {
    l.dz = scratch.take<T>(s.copy());
    l.dw = scratch.take<float>(s.band());
    l.sums = scratch.take<float>(column_sum_floats(s.batch * s.time, s.width));
  }
  l.bytes = scratch.bytes();
  l.own = (char*)call->scratch + l.bytes;
  return l;
}
size_t layout_bytes(const hk_call* call, const Sizes& s, bool gradient) {
  return is_bf16(call->inputs[0]) ? layout<bf16>(call, s, gradient).bytes : layout<float>(call, s, gradient).bytes;
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_pos_conv(call)) return 1;
  State* made = new State;
  *state = made;
  const Sizes s(call);
  if (!make_product(call, s, made)) {
    release(made);
    *state = nullptr;
    return 1;
  }
  *scratch_bytes = layout_bytes(call, s, false) + made->z->scratch_bytes();
  return 0;
}

// [G, B, rows * block, c] from a padded copy, for z and for dx.
template <class T>
int convolve(hk_call* call, const Sizes& s, const Layout<T>& l, const T* copy, bool flip) {
  const T* weights = pack(call, s, flip, l.packed, l.band);
  return ((const State*)call->state)->z->run(call, copy, weights, l.product, nullptr, l.own);
}

template <class T>
void finish(hk_call* call, const Sizes& s, const float* product, const float* bias, bool with_gelu, T* z, T* y) {
  HK_LAUNCH(finish_kernel<T>, element_grid(s.batch * s.time * s.width), dim3(kBlock), 0, stream_of(call), product, bias, s, with_gelu, z, y);
}

template <class T>
int run_as(hk_call* call) {
  const Sizes s(call);
  const Layout<T> l = layout<T>(call, s, false);
  pad(call, s, call->inputs[0], s.before_x, l.x);
  if (convolve(call, s, l, l.x, false)) return 1;
  finish(call, s, l.product, f32(call->inputs[2]), has_gelu(call), data<T>(call->outputs[1]), data<T>(call->outputs[0]));
  return launched(call);
}
int run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_as, call); }

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_pos_conv_grad(call)) return 1;
  State* made = new State;
  *state = made;
  const Sizes s(call);
  const hk_dtype dtype = dtype_of(call->inputs[0]);
  const int64_t width = s.block * s.channels, copy = s.batch * s.rows * s.columns;
  if (make_product(call, s, made))  // dz: the frames of a row that the row's outputs are
    made->dw = Gemm::make(call, {width, s.columns, s.batch * s.rows, 1, s.columns, s.columns, 1, s.columns, false, false, dtype, HK_F32,
                                 s.groups, copy, copy, width * s.columns, s.channels});
  if (!made->dw) {
    release(made);
    *state = nullptr;
    return 1;
  }
  const size_t a = made->z->scratch_bytes(), b = made->dw->scratch_bytes();
  *scratch_bytes = layout_bytes(call, s, true) + (a > b ? a : b);
  return 0;
}

template <class T>
int run_grad_as(hk_call* call) {
  const Sizes s(call);
  const Layout<T> l = layout<T>(call, s, true);
  const hk_tensor &dz = call->inputs[2], &dx = call->outputs[0];
  pad(call, s, dz, s.before_z, l.dz);
  if (present(dx)) {
    if (convolve(call, s, l, l.dz, true)) return 1;
    finish(call, s, l.product, nullptr, false, (T*)nullptr, data<T>(dx));
  }
  pad(call, s, call->inputs[0], s.before_x, l.x);
  if (((const State*)call->state)->dw->run(call, l.dz + s.before_z * s.channels, l.x, l.dw, nullptr, l.own)) return 1;
  HK_LAUNCH(fold_kernel, dim3((unsigned)s.width), dim3(kBlock), 0, stream_of(call), s.block, s.channels, s.taps(), l.dw);
  HK_LAUNCH(unpack_kernel, element_grid(s.weights()), dim3(kBlock), 0, stream_of(call), l.dw, s, f32(call->outputs[1]));
  add_column_sums(stream_of(call), dz, l.sums, f32(call->outputs[2]));
  return launched(call);
}
int run_grad(hk_call* call) { return HK_BY_TYPE(call->inputs[0], run_grad_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(pos_conv, {"pos_conv", prepare, run, release, pos_conv_cost}, {"pos_conv_grad", prepare_grad, run_grad, release, pos_conv_grad_cost})
