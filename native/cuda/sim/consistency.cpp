// Runs the ops of native/cuda/ops on the host shim and compares what they make with the ops of native/cpu/ops: through the C ABI, with
// random inputs and odd sizes, in a shuffled order of threads. Outputs begin with the same random numbers on both sides, so that an
// op that should add to a gradient and one that should overwrite are told apart, and inputs are compared afterwards. Ops whose activations
// may be bf16 run the same cases in f32 and in bf16.
//   cuda_sim_test [seed]      prints a line for each case; exit code 1 when one fails
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include <algorithm>
#include <string>
#include <vector>

#include "cpu/gemm.h"
#include "cuda/architecture.h"
#include "cuda/launch.h"
#include "cuda/lt_gemm.h"
#include "cuda/sim/mma.h"
#include "hubertkit/backend.h"
#include "hubertkit/bf16.h"
#include "hubertkit/philox.h"

namespace hk {
namespace portable { const hk_op* find_op(const char* kind); }
namespace cuda_sim { const hk_op* find_op(const char* kind); }
}  // namespace hk

namespace {

using hk::HK_ISA::bf16;
typedef std::vector<int64_t> Shape;
typedef std::vector<std::pair<const char*, double>> Attributes;

uint64_t state = 1;
uint64_t next() {
  state = state * 6364136223846793005ull + 1442695040888963407ull;
  return state >> 33;
}
float uniform() { return (float)((double)next() / 4294967296.0 * 4 - 1); }

const size_t kSize[] = {4, 2, 4, 1};

// Memory of exactly the size of the tensor: AddressSanitizer sees the first byte behind it.
struct Tensor {
  hk_tensor view = {};
  std::vector<unsigned char> bytes;
  Tensor() { view.rank = -1; }
  Tensor(int dtype, const Shape& shape) {
    view.dtype = dtype;
    view.rank = (int)shape.size();
    size_t n = kSize[dtype];
    for (size_t i = 0; i < shape.size(); i++) n *= (size_t)(view.shape[i] = shape[i]);
    bytes.resize(n);
    bind();
  }
  Tensor(const Tensor& other) : view(other.view), bytes(other.bytes) { bind(); }
  Tensor& operator=(const Tensor& other) {
    view = other.view;
    bytes = other.bytes;
    bind();
    return *this;
  }
  void bind() { view.data = view.rank < 0 ? nullptr : bytes.data(); }
  size_t count() const { return bytes.size() / kSize[view.dtype]; }
  template <class T> T* as() { return (T*)bytes.data(); }
};

Tensor floats(const Shape& shape, float scale = 1, float offset = 0) {
  Tensor t(HK_F32, shape);
  for (size_t i = 0; i < t.count(); i++) t.as<float>()[i] = offset + scale * (uniform() + uniform());
  return t;
}
Tensor rounded(Tensor numbers) {
  Tensor t(HK_BF16, Shape(numbers.view.shape, numbers.view.shape + numbers.view.rank));
  for (size_t i = 0; i < t.count(); i++) t.as<bf16>()[i] = numbers.as<float>()[i];
  return t;
}

int activation = HK_F32;  // the dtype of activations and of their gradients in the cases that run
Tensor activations(const Shape& shape, float scale = 1) { return activation == HK_BF16 ? rounded(floats(shape, scale)) : floats(shape, scale); }
// Weights that lose nothing where the back-end rounds them to the activations' dtype.
Tensor weights(const Shape& shape, float scale = 1) {
  Tensor t = floats(shape, scale);
  if (activation == HK_BF16)
    for (size_t i = 0; i < t.count(); i++) t.as<float>()[i] = bf16(t.as<float>()[i]);
  return t;
}

Tensor numbers(const std::vector<float>& values) {
  Tensor t(HK_F32, {(int64_t)values.size()});
  memcpy(t.bytes.data(), values.data(), t.bytes.size());
  return t;
}
Tensor integers(const Shape& shape, int low, int high) {  // low <= value < high
  Tensor t(HK_I32, shape);
  for (size_t i = 0; i < t.count(); i++) t.as<int32_t>()[i] = low + (int)(next() % (uint64_t)(high - low));
  return t;
}
Tensor list(const std::vector<int32_t>& values, const Shape& shape) {
  Tensor t(HK_I32, shape);
  memcpy(t.bytes.data(), values.data(), t.bytes.size());
  return t;
}
Tensor flags(const Shape& shape) {
  Tensor t(HK_U8, shape);
  for (size_t i = 0; i < t.count(); i++) t.as<uint8_t>()[i] = (uint8_t)(next() % 2);
  return t;
}
Tensor ints_out(const Shape& shape) { return integers(shape, 0, 9); }

struct Run {
  std::vector<Tensor> inputs, outputs;
  std::string error;
};

Run run(const hk_op* op, std::vector<Tensor> inputs, std::vector<Tensor> outputs, const Attributes& attributes) {
  Run result = {std::move(inputs), std::move(outputs), ""};
  if (!op) return result.error = "no such op", result;
  std::vector<hk_tensor> in, out;
  std::vector<hk_attribute> named;
  for (Tensor& t : result.inputs) in.push_back(t.view);
  for (Tensor& t : result.outputs) out.push_back(t.view);
  for (const auto& a : attributes) named.push_back({a.first, a.second});
  const uint64_t random[] = {5, 9};
  const uint8_t gates[] = {1, 0};
  hk_call call = {};
  call.n_inputs = (int)in.size();
  call.n_outputs = (int)out.size();
  call.n_attributes = (int)named.size();
  call.n_gates = 2;
  call.inputs = in.data();
  call.outputs = out.data();
  call.attributes = named.data();
  call.gates = gates;
  call.random = random;
  size_t scratch_bytes = 0;
  if (op->prepare(&call, &scratch_bytes, &call.state)) return result.error = std::string("prepare: ") + call.error, result;
  if (posix_memalign(&call.scratch, 64, scratch_bytes ? scratch_bytes : 1)) return result.error = "no memory", result;
  memset(call.scratch, 0xFF, scratch_bytes);  // what nobody wrote is NaN
  if (op->run(&call)) result.error = std::string("run: ") + call.error;
  free(call.scratch);
  if (op->release && call.state) op->release(call.state);
  return result;
}

float number(Tensor& t, size_t i) { return t.view.dtype == HK_BF16 ? (float)t.as<bf16>()[i] : t.as<float>()[i]; }

// The largest difference, as a share of the largest number. Of bf16 numbers one and 2 % more may lie up to two steps apart (2^-6), where f32
// numbers that differ by less than `bound` are rounded to different sides; none where the bound is 0.
double difference(Tensor& got, Tensor& expected, double bound) {
  const bool is_bf16 = got.view.dtype == HK_BF16;
  if (got.view.dtype != HK_F32 && !is_bf16) return got.bytes == expected.bytes ? 0 : INFINITY;
  double largest = 1e-30, worst = 0;
  size_t rounded_apart = 0;
  for (size_t i = 0; i < expected.count(); i++)
    if (isfinite(number(expected, i))) largest = fmax(largest, fabs(number(expected, i)));
  for (size_t i = 0; i < expected.count(); i++) {
    const float a = number(got, i), b = number(expected, i);
    const double apart = fabs((double)a - b) / largest;
    if (!isfinite(a) || !isfinite(b)) {
      if (!(a == b || (a != a && b != b))) return INFINITY;
    } else if (is_bf16 && bound > 0 && apart > bound && apart <= 1.0 / 64)
      rounded_apart++;
    else worst = fmax(worst, apart);
  }
  return rounded_apart > 1 + expected.count() / 50 ? INFINITY : worst;
}

int failures = 0;

typedef std::vector<Tensor> Tensors;

void judge(const char* kind, const hk_tensor& sized, const std::string& error, Tensors expected, Tensors got, double bound) {
  double worst = 0;
  for (size_t i = 0; i < expected.size(); i++)
    if (expected[i].view.rank >= 0) worst = fmax(worst, difference(got[i], expected[i], bound));
  const bool good = error.empty() && worst <= bound;
  failures += !good;
  printf("%s %s%s", good ? "ok  " : "FAIL", kind, activation == HK_BF16 ? " bf16" : "");
  for (int i = 0; i < sized.rank; i++) printf("%s%lld", i ? " x " : " ", (long long)sized.shape[i]);
  printf("  %.2g %s\n", worst, error.c_str());
}

bool same_bits(const Tensors& a, const Tensors& b) {
  return std::equal(a.begin(), a.end(), b.begin(), [](const Tensor& x, const Tensor& y) { return x.bytes == y.bytes; });
}

// Both back-ends; the kernels run a second time, in another order of threads and blocks, and must give the same bits.
struct Both {
  Run cpu, cuda;
  std::string error;
  Both(const char* kind, const Tensors& cpu_inputs, const Tensors& cuda_inputs, const Tensors& outputs, const Attributes& attributes)
      : cpu(run(hk::portable::find_op(kind), cpu_inputs, outputs, attributes)), cuda(run(hk::cuda_sim::find_op(kind), cuda_inputs, outputs, attributes)) {
    const Run again = run(hk::cuda_sim::find_op(kind), cuda_inputs, outputs, attributes);
    error = cpu.error.empty() ? cuda.error : "CPU " + cpu.error;
    if (error.empty() && !(same_bits(cuda.outputs, again.outputs) && same_bits(cuda.inputs, again.inputs))) error = "another order of threads gives other bits";
  }
};

Tensors joined(Tensors a, const Tensors& b) {
  a.insert(a.end(), b.begin(), b.end());
  return a;
}

// Both back-ends on the same inputs; returns the CPU's outputs, for the gradient's inputs.
Tensors same(const char* kind, const Tensors& inputs, const Tensors& outputs, const Attributes& attributes = {}, double bound = 1e-5) {
  const Both made(kind, inputs, inputs, outputs, attributes);
  judge(kind, inputs[0].view, made.error, joined(made.cpu.outputs, made.cpu.inputs), joined(made.cuda.outputs, made.cuda.inputs), bound);
  return made.cpu.outputs;
}

// Whether the CPU has something to compare products of activations with.
bool cpu_multiplies() {
  if (activation == HK_F32 || hk::has_bf16()) return true;
  printf("left out: products in bf16, which this processor lacks\n");
  return false;
}

void rows(int64_t n, int64_t d) {
  const Tensor x = activations({n, d}), y = activations({n, d}), gamma = floats({d}), beta = floats({d});
  const Attributes dropout = {{"dropout", 0.3}, {"stream", 4}};
  same("add", {x, y}, {activations({n, d})}, {}, 0);
  same("scale", {x}, {activations({n, d})}, {{"factor", -0.7}}, 0);
  same("cast", {x}, {floats({n, d})}, {}, 0);
  same("cast", {x}, {rounded(floats({n, d}))}, {}, 0);
  same("select", {x, y}, {activations({n, d})}, {{"gate", 0}}, 0);
  same("select", {x, y}, {activations({n, d})}, {{"gate", 1}}, 0);
  same("gelu", {x}, {activations({n, d})});
  same("gelu_grad", {x, y}, {activations({n, d})});
  same("dropout", {x}, {activations({n, d})}, dropout, 0);
  same("dropout", {x}, {activations({n, d})}, {{"dropout", 0}}, 0);
  auto made = same("layer_norm", {x, gamma, beta}, {activations({n, d}), floats({n, 2})});
  same("layer_norm_grad", {x, gamma, made[1], y}, {activations({n, d}), floats({d}), floats({d})});
  made = same("add_layer_norm", {x, y, gamma, beta}, {activations({n, d}), activations({n, d}), floats({n, 2})}, dropout);
  same("add_layer_norm_grad", {made[1], gamma, made[2], y, x}, {activations({n, d}), activations({n, d}), floats({d}), floats({d})}, dropout);
  made = same("add_layer_norm", {x, y, gamma, beta}, {activations({n, d}), activations({n, d}), floats({n, 2})});
  same("add_layer_norm_grad", {made[1], gamma, made[2], y, Tensor()}, {activations({n, d}), Tensor(), floats({d}), Tensor()});
  same("mean_square", {x}, {floats({1})});
  same("mean_square_grad", {x, numbers({0.7f})}, {activations({n, d})});
  if (!cpu_multiplies()) return;
  const Tensor w = floats({d + 2, d}), z = activations({n, d + 2});
  same("linear", {x, w, floats({d + 2})}, {activations({n, d + 2}), activations({n, d + 2})}, {{"gelu", 1}});
  same("linear", {x, w, Tensor()}, {activations({n, d + 2}), Tensor()}, {{"gelu", 1}});
  same("linear_grad", {x, w, z}, {activations({n, d}), floats({d + 2, d}), floats({d + 2})});
}

void logits(int64_t n, int64_t d) {
  const Tensor x = floats({n, d}), labels = integers({n}, -1, (int)d);
  const auto made = same("cross_entropy", {x, labels}, {floats({3}), floats({n})});
  same("cross_entropy_grad", {x, labels, made[1], numbers({0.8f, 0, 0})}, {floats({n, d})});
  same("argmax", {x}, {ints_out({n})});
}

// Ties go to the even neighbour; what is beyond the largest number and half a step becomes infinite.
void rounding() {
  const float values[] = {0, -0.0f, 1, 1.00390625f, -1.01171875f, 1.004f, 3.38e38f, 3.3999999e38f, INFINITY, -INFINITY, 1e-40f};
  const uint16_t bits[] = {0, 0x8000, 0x3f80, 0x3f80, 0xbf82, 0x3f81, 0x7f7e, 0x7f80, 0x7f80, 0xff80, 1};
  const Tensor x = numbers(std::vector<float>(values, values + 11)), nan = numbers({NAN});
  Tensor y(HK_BF16, {11}), expected(HK_BF16, {11});
  memcpy(expected.bytes.data(), bits, sizeof bits);
  const Run made = run(hk::cuda_sim::find_op("cast"), {x}, {y}, {});
  judge("cast of ties and limits", x.view, made.error, {expected}, made.outputs, 0);
  same("cast", {nan}, {Tensor(HK_BF16, {1})}, {}, 0);
}

void frames(int64_t b, int64_t t, int64_t d) {
  const Tensor x = activations({b, t, d}), mask = flags({b, t}), lengths = integers({b}, (int)t / 2, (int)t + 2);
  same("mask_frames", {x, mask, lengths, floats({d})}, {activations({b, t, d})}, {}, 0);
  same("mask_frames_grad", {mask, lengths, x}, {activations({b, t, d}), floats({d})});
  same("mask_frames_grad", {mask, lengths, x}, {Tensor(), floats({d})});
  same("channel_mask", {x, flags({b, d})}, {activations({b, t, d})}, {}, 0);
}

// Two indices that are no rows.
void gather_rows(int64_t b, int64_t t, int64_t d, int64_t count) {
  std::vector<int32_t> index = {-1, (int32_t)(b * t)};
  for (int32_t r = 0; r < (int32_t)count; r++) index.push_back((r * 7 + 3) % (int32_t)(b * t));
  const int64_t n = count + 2;
  same("gather_rows", {activations({b, t, d}), list(index, {n})}, {activations({1, n, d})}, {}, 0);
  same("scatter_rows", {activations({1, n, d}), list(index, {n})}, {activations({b, t, d})}, {}, 0);
}

void adamw(int n, const std::vector<int32_t>& ends, float gradient_scale, float clip) {
  Tensor v = floats({n}), trainable = flags({(int64_t)ends.size()});
  for (int i = 0; i < n; i++) v.as<float>()[i] = fabsf(v.as<float>()[i]);
  trainable.as<uint8_t>()[0] = 1;
  same("adamw", {floats({n}), floats({n}, gradient_scale), floats({n}), v, list(ends, {(int64_t)ends.size()}), trainable,
                 numbers({0.01f, 0.9f, 0.98f, 1e-6f, 0.01f, clip, 3})}, {floats({2})});
}

// One channel is a waveform: it stays f32, and has no gradient where activations are bf16.
void conv1d(int64_t b, int64_t t, int64_t in, int64_t out, int64_t kernel, int64_t stride) {
  const int64_t made = (t - kernel) / stride + 1;
  const bool wave = in == 1;
  if (!wave && !cpu_multiplies()) return;
  const Tensor x = wave ? floats({b, t, in}) : activations({b, t, in}), w = floats({out, in, kernel}), bias = floats({out}), dz = activations({b, made, out});
  const Tensor dx = wave && activation == HK_BF16 ? Tensor() : wave ? floats({b, t, in}) : activations({b, t, in});
  const Attributes strided = {{"stride", (double)stride}}, with_gelu = {{"stride", (double)stride}, {"gelu", 1}};
  same("conv1d", {x, w, bias}, {activations({b, made, out}), activations({b, made, out})}, with_gelu);
  same("conv1d", {x, w, Tensor()}, {activations({b, made, out}), Tensor()}, strided);
  same("conv1d_grad", {x, w, dz}, {dx, floats({out, in, kernel}), floats({out})}, strided);
  same("conv1d_grad", {x, w, dz}, {Tensor(), floats({out, in, kernel}), Tensor()}, strided);
}

// A waveform far from zero asks for windows relative to their mean.
void conv0_norm_gelu(int64_t b, int64_t n, int64_t c, int64_t kernel, int64_t stride, float offset) {
  const int64_t made = (n - kernel) / stride + 1, moments = kernel + kernel * kernel;
  const Tensor wave = floats({b, n}, 0.2f, offset), w = floats({c, 1, kernel}), gamma = floats({c}), beta = floats({c});
  const Attributes strided = {{"stride", (double)stride}};
  const auto found = same("conv0_norm_gelu", {wave, w, gamma, beta}, {activations({b, made, c}), floats({b, moments})}, strided);
  same("conv0_norm_gelu_grad", {wave, w, gamma, beta, found[1], activations({b, made, c})}, {floats({c, 1, kernel}), floats({c}), floats({c})}, strided);
}

void pos_conv(int64_t b, int64_t t, int64_t groups, int64_t channels, int64_t kernel) {
  const int64_t d = groups * channels;
  const Tensor x = activations({b, t, d}), w = weights({d, channels, kernel}), dz = activations({b, t, d});
  const Attributes grouped = {{"groups", (double)groups}}, with_gelu = {{"groups", (double)groups}, {"gelu", 1}};
  same("pos_conv", {x, w, floats({d})}, {activations({b, t, d}), activations({b, t, d})}, with_gelu);
  same("pos_conv", {x, w, floats({d})}, {activations({b, t, d}), Tensor()}, grouped);
  same("pos_conv_grad", {x, w, dz}, {activations({b, t, d}), floats({d, channels, kernel}), floats({d})}, grouped);
  same("pos_conv_grad", {x, w, dz}, {Tensor(), floats({d, channels, kernel}), floats({d})}, grouped);
}

void weight_norm(int64_t out, int64_t in, int64_t taps) {
  const Tensor v = floats({out, in, taps}), g = floats({1, 1, taps}), dw = floats({out, in, taps});
  same("weight_norm", {v, g}, {floats({out, in, taps})});
  same("weight_norm_grad", {v, g, dw}, {floats({out, in, taps}), floats({1, 1, taps})});
}

// z and lse of the CPU (one row for each visited frame, masked ones first) as the GPU keeps them (one for each frame), into the rows of
// `by_frame` that are visited.
void order_by_frame(Tensors inputs, bool unmasked, Tensors rows, Tensors* by_frame) {
  const int64_t T = inputs[0].view.shape[1], frames = inputs[0].view.shape[0] * T, P = rows[0].view.shape[1], K = inputs[3].view.shape[0];
  int64_t row = 0;
  for (int masked = 1; masked >= (unmasked ? 0 : 1); masked--)
    for (int64_t f = 0; f < frames; f++) {
      const int32_t label = inputs[4].as<int32_t>()[f];
      if (f % T >= inputs[6].as<int32_t>()[f / T] || inputs[5].as<uint8_t>()[f] != masked || label < 0 || label >= K) continue;
      memcpy((*by_frame)[0].as<float>() + f * P, rows[0].as<float>() + row * P, (size_t)P * sizeof(float));
      (*by_frame)[1].as<float>()[f] = rows[1].as<float>()[row++];
    }
}

// `projection`: the scale of its weights; below 1e-8 norms are clamped. In bf16 the kernels round the gradient of z before it
// goes through the projection, which the CPU does not: dh and dwp have the bound of `hubertkit selftest`.
void masked_cross_entropy(int64_t b, int64_t t, int64_t d, int64_t p, int64_t k, bool unmasked, const std::vector<float>& dsums, float projection = 1) {
  const Attributes attributes = {{"temperature", 0.2}, {"unmasked", unmasked}};
  const Tensor lengths = integers({b}, (int)t / 2, (int)t + 2);
  const Tensor w = weights({p, d}, projection), bias = floats({p}, projection), labels = integers({b, t}, -1, (int)k + 1);
  const Tensors inputs = {activations({b, t, d}), w, bias, floats({k, p}), labels, flags({b, t}), lengths};
  const Both made("masked_cross_entropy", inputs, inputs, {floats({6}), floats({b * t, p}), floats({b * t})}, attributes);
  const Tensors &cpu = made.cpu.outputs, &cuda = made.cuda.outputs;
  Tensors by_frame = {cuda[1], cuda[2]};
  order_by_frame(inputs, unmasked, {cpu[1], cpu[2]}, &by_frame);
  judge("masked_cross_entropy", inputs[0].view, made.error, {cpu[0], by_frame[0], by_frame[1]}, cuda, 1e-5);

  const Tensors gradients = {activations({b, t, d}), floats({p, d}), floats({p}), floats({k, p})};
  const Both gradient("masked_cross_entropy_grad", joined(inputs, {cpu[1], cpu[2], numbers(dsums)}),
                      joined(inputs, {by_frame[0], by_frame[1], numbers(dsums)}), gradients, attributes);
  const Tensors &want = gradient.cpu.outputs, &got = gradient.cuda.outputs;
  judge("masked_cross_entropy_grad, dh and dwp", inputs[0].view, gradient.error, {want[0], want[1]}, {got[0], got[1]}, activation == HK_BF16 ? 1.0 / 128 : 1e-5);
  judge("masked_cross_entropy_grad, dbp and de", inputs[0].view, gradient.error, {want[2], want[3]}, {got[2], got[3]}, 1e-5);
}

// Centroids come in pairs of equals, which with a multiple of 128 stand with the same thread.
void kmeans_assign(int64_t n, int64_t d, int64_t clusters) {
  Tensor x = floats({n, d}), centroids = floats({clusters, d});
  float* c = centroids.as<float>();
  for (int64_t k = clusters / 2; k < clusters; k++) memcpy(c + k * d, c + (k - clusters / 2) * d, (size_t)d * sizeof(float));
  x.as<float>()[n * d - 1] = NAN;
  same("kmeans_assign", {x, centroids}, {ints_out({n}), floats({n})});
}

// Labels of no cluster, clusters of many pieces and without rows, weights that count up to the largest number.
void kmeans_update(int64_t n, int64_t d, int64_t clusters) {
  Tensor labels = integers({n}, -1, (int)clusters + 1), weights = integers({clusters}, 0, 3);
  for (int64_t i = 0; i < n / 2; i++) labels.as<int32_t>()[i] = 0;
  weights.as<int32_t>()[clusters - 1] = 2147483646;
  same("kmeans_update", {floats({n, d}), labels, floats({clusters, d}), weights}, {floats({clusters, d}), ints_out({clusters})}, {}, 1e-6);
}

void mfcc(int64_t b, int64_t n) { same("mfcc", {floats({b, n}, 0.2f, 0.5f)}, {floats({b, (n - 400) / 160 + 1, 39})}); }

double to_bf16(double x) { return (float)bf16((float)x); }

// The formulas of native/cpu/ops/attention.cpp in double precision, straight from them. `rounded`: what tensor cores multiply is rounded as
// there, the probabilities after dropout (forward relative to the largest, rounded up to a power of two) and the gradients of the scores.
struct AttentionFormulas {
  int64_t batch, frames, heads, depth, stream;
  double  dropout, scale;
  bool    rounded;
  AttentionFormulas(int64_t b, int64_t t, int64_t h, int64_t d, int64_t stream, double dropout, bool rounded)
      : batch(b), frames(t), heads(h), depth(d), stream(stream), dropout(dropout), scale(1 / sqrt((double)d)), rounded(rounded) {}

  double multiplied(double x) const { return rounded ? to_bf16(x) : x; }
  int64_t length(Tensor& lengths, int64_t b) const { return std::max<int64_t>(0, std::min<int64_t>(frames, lengths.as<int32_t>()[b])); }
  size_t at(int64_t b, int64_t t, int64_t h, int64_t parts, int64_t part) const { return (size_t)(((b * frames + t) * parts + part) * heads + h) * (size_t)depth; }
  double product(Tensor& x, size_t i, Tensor& y, size_t j) const {
    double sum = 0;
    for (int64_t c = 0; c < depth; c++) sum += (double)number(x, i + (size_t)c) * number(y, j + (size_t)c);
    return sum;
  }
  bool kept(int64_t b, int64_t h, int64_t i, int64_t j) const {
    const uint64_t element = (uint64_t)(((b * heads + h) * frames + i) * frames + j);
    return hk::philox(5, 9, (uint32_t)stream, (uint32_t)(element / 4)).word[element % 4] >= hk::dropout_threshold(dropout);
  }

  Tensors forward(Tensor qkv, Tensor lengths) const {
    Tensor o = rounded_zeros({batch, frames, heads * depth}), lse(HK_F32, {batch, heads, frames});
    for_rows([&](int64_t b, int64_t h, int64_t i) {
      std::vector<double> scores, sums((size_t)depth);
      double largest = -INFINITY, total = 0;
      for (int64_t j = 0; j < length(lengths, b); j++) {
        scores.push_back(scale * product(qkv, at(b, i, h, 3, 0), qkv, at(b, j, h, 3, 1)) / log(2));
        largest = fmax(largest, ceil(scores.back()));
      }
      for (size_t j = 0; j < scores.size(); j++) {
        const double p = exp2(scores[j] - largest);
        total += p;
        for (int64_t c = 0; c < depth; c++)
          if (kept(b, h, i, (int64_t)j)) sums[(size_t)c] += multiplied(p) * number(qkv, at(b, (int64_t)j, h, 3, 2) + (size_t)c);
      }
      for (int64_t c = 0; c < depth && total > 0; c++) o.as<bf16>()[at(b, i, h, 1, 0) + (size_t)c] = (float)(sums[(size_t)c] / total / (1 - dropout));
      lse.as<float>()[(b * heads + h) * frames + i] = total > 0 ? (float)((largest + log2(total)) * log(2)) : 0;
    });
    return {o, lse};
  }

  Tensors gradient(Tensor qkv, Tensor lengths, Tensor o, Tensor lse, Tensor d_o) const {
    std::vector<double> sums((size_t)(batch * frames * 3 * heads * depth));
    for_rows([&](int64_t b, int64_t h, int64_t i) {
      const size_t q = at(b, i, h, 3, 0), out = at(b, i, h, 1, 0);
      for (int64_t j = 0; j < length(lengths, b); j++) {
        const size_t k = at(b, j, h, 3, 1), v = at(b, j, h, 3, 2);
        const double p = exp(scale * product(qkv, q, qkv, k) - lse.as<float>()[(b * heads + h) * frames + i]);
        const double keep = kept(b, h, i, j) ? 1 / (1 - dropout) : 0;
        const double ds = multiplied(p * (keep * product(d_o, out, qkv, v) - product(d_o, out, o, out)));
        for (size_t c = 0; c < (size_t)depth; c++) {
          sums[q + c] += scale * ds * number(qkv, k + c);
          sums[k + c] += scale * ds * number(qkv, q + c);
          sums[v + c] += keep * multiplied(p) * number(d_o, out + c);
        }
      }
    });
    Tensor dqkv = rounded_zeros({batch, frames, 3 * heads * depth});
    for (size_t i = 0; i < sums.size(); i++) dqkv.as<bf16>()[i] = (float)sums[i];
    return {dqkv};
  }

 private:
  static Tensor rounded_zeros(const Shape& shape) { return Tensor(HK_BF16, shape); }
  template <class Body>
  void for_rows(const Body& body) const {
    for (int64_t b = 0; b < batch; b++)
      for (int64_t h = 0; h < heads; h++)
        for (int64_t i = 0; i < frames; i++) body(b, h, i);
  }
};

// Rows of which one is longer than it can be, one is full or nearly so, and the others may be empty. Tensor cores, which multiply rounded
// numbers, are compared with the formulas rounded alike, and portable code of the CPU, which does not round them, with the same formulas.
void attention(int64_t b, int64_t t, int64_t heads, int64_t depth, double dropout) {
  const int64_t d = heads * depth, stream = 3;
  Tensor lengths = integers({b}, -1, (int)t);
  lengths.as<int32_t>()[0] = (int32_t)t + 3;
  lengths.as<int32_t>()[b - 1] = (int32_t)t - 1;
  const Tensor qkv = activations({b, t, 3 * d}, 0.7f), upstream = activations({b, t, d});
  const Attributes attributes = {{"heads", (double)heads}, {"dropout", dropout}, {"stream", (double)stream}};
  const Tensors without_lse = {activations({b, t, d}), Tensor()}, with_lse = {activations({b, t, d}), floats({b, heads, t})}, gradient = {activations({b, t, 3 * d})};
  if (activation == HK_F32 || depth % 8 || depth > 80) {
    same("attention", {qkv, lengths}, without_lse, attributes);
    const auto made = same("attention", {qkv, lengths}, with_lse, attributes);
    same("attention_grad", {qkv, lengths, made[0], made[1], upstream}, gradient, attributes);
    return;
  }
  const AttentionFormulas exact(b, t, heads, depth, stream, dropout, false), rounded(b, t, heads, depth, stream, dropout, true);
  const auto compare = [&](const char* kind, const Tensors& inputs, const Tensors& outputs, const Tensors& of_cpu, const Tensors& of_cuda) {
    const Both made(kind, inputs, inputs, outputs, attributes);
    judge((std::string(kind) + ", the CPU against the formulas").c_str(), inputs[0].view, made.cpu.error, of_cpu, made.cpu.outputs, 1e-5);
    judge(kind, inputs[0].view, made.error, joined(of_cuda, inputs), joined(made.cuda.outputs, made.cuda.inputs), 1e-5);
  };
  const Tensors made = exact.forward(qkv, lengths), made_rounded = rounded.forward(qkv, lengths);
  compare("attention", {qkv, lengths}, without_lse, {made[0], Tensor()}, {made_rounded[0], Tensor()});
  compare("attention", {qkv, lengths}, with_lse, made, made_rounded);
  const Tensors inputs = {qkv, lengths, made[0], made[1], upstream};
  compare("attention_grad", inputs, gradient, exact.gradient(qkv, lengths, made[0], made[1], upstream), rounded.gradient(qkv, lengths, made[0], made[1], upstream));
}

void ctc(int64_t b, int64_t t, int64_t v, int64_t s, int64_t blank, bool zero_infinity) {
  Tensor targets = integers({b, s}, 0, (int)v - 1), frames = integers({b}, (int)t / 2, (int)t + 1), lengths = integers({b}, (int)s / 2, (int)s + 1);
  for (size_t i = 0; i < targets.count(); i++) targets.as<int32_t>()[i] += targets.as<int32_t>()[i] >= blank;
  frames.as<int32_t>()[0] = (int32_t)t;
  if (b > 2) {  // a target without a frame, no target in all frames
    frames.as<int32_t>()[1] = 0;
    frames.as<int32_t>()[2] = (int32_t)t;
    lengths.as<int32_t>()[2] = 0;
  }
  const auto made = same("ctc", {floats({b, t, v}, 2), frames, targets, lengths}, {floats({b}), floats({b, t, v})},
                         {{"blank", (double)blank}, {"zero_infinity", zero_infinity}});
  same("ctc_grad", {made[1], floats({b})}, {floats({b, t, v})});
}

// Each kind of bad row has loss and gradient NaN; the last row keeps its own.
void ctc_with_bad_rows(int64_t t, int64_t v, int64_t s) {
  const Tensors inputs = {floats({7, t, v}), integers({7}, (int)t, (int)t + 1), integers({7, s}, 1, (int)v), integers({7}, (int)s, (int)s + 1)};
  Tensors bad = inputs;
  bad[1].as<int32_t>()[0] = (int32_t)t + 1;
  bad[1].as<int32_t>()[1] = -1;
  bad[2].as<int32_t>()[3 * s - 1] = (int32_t)v;
  bad[2].as<int32_t>()[3 * s] = 0;  // the blank
  bad[3].as<int32_t>()[4] = (int32_t)s + 1;
  bad[3].as<int32_t>()[5] = -1;
  const Both made("ctc", inputs, bad, {floats({7}), floats({7, t, v})}, {});
  Tensors expected = made.cpu.outputs;
  for (Tensor& output : expected)
    for (size_t i = 0; i < output.count() / 7 * 6; i++) output.as<float>()[i] = NAN;
  judge("ctc of bad rows", inputs[0].view, made.error, expected, made.cuda.outputs, 1e-5);
}

// ---- the shim itself ----

__global__ void reverse(const int* x, int* y, int n, bool with_barrier) {
  __shared__ int copy[64];
  copy[threadIdx.x] = x[threadIdx.x];
  if (with_barrier) __syncthreads();
  y[threadIdx.x] = copy[n - 1 - (int)threadIdx.x];
}
__global__ void half_waits() {
  if (threadIdx.x < 16) __syncthreads();
}
__global__ void half_shuffles(int* y) {
  if (threadIdx.x < 16) y[threadIdx.x] = __shfl_xor_sync(0xFFFFFFFFu, 1, 1);
}

// A warp: d = a b, a[16, 16] and b[16, 8] row-major, fragments put together and taken apart by the formulas of the PTX ISA 9.7.14.5.8.
__global__ void multiply_fragments(const bf16* a, const bf16* b, float* d) {
  const int group = (int)threadIdx.x >> 2, in_group = (int)threadIdx.x % 4;
  uint32_t a_registers[4] = {}, b_registers[2] = {};
  float accumulators[4] = {};
  for (int i = 0; i < 8; i++) {
    const int row = i < 2 || (i >= 4 && i < 6) ? group : group + 8, column = in_group * 2 + (i & 1) + (i >= 4 ? 8 : 0);
    a_registers[i / 2] |= (uint32_t)a[row * 16 + column].bits << i % 2 * 16;
  }
  for (int i = 0; i < 4; i++) {
    const int row = in_group * 2 + (i & 1) + (i >= 2 ? 8 : 0), column = group;
    b_registers[i / 2] |= (uint32_t)b[row * 8 + column].bits << i % 2 * 16;
  }
  hk::sim::mma_m16n8k16(accumulators, a_registers, b_registers[0], b_registers[1]);
  for (int i = 0; i < 4; i++) d[(i < 2 ? group : group + 8) * 8 + in_group * 2 + (i & 1)] = accumulators[i];
}

// A warp: four 8 x 8 matrices, [32 rows, 8], are copied to shared memory with gaps between rows and loaded. Each thread leaves its registers.
__global__ void load_matrices(const bf16* x, bool transposed, uint32_t* registers) {
  HK_SHARED(bf16, shared);
  bf16* row = shared + (31 - threadIdx.x) * 24;  // in reverse, so that only the given addresses tell where rows are
  memcpy(row, x + threadIdx.x * 8, 16);
  __syncthreads();
  uint32_t r[4];
  if (transposed) hk::sim::ldmatrix_x4_transposed(r, row);
  else hk::sim::ldmatrix_x4(r, row);
  memcpy(registers + threadIdx.x * 4, r, sizeof r);
}

__global__ void copies_numbers(const int* x, int* y, bool waits) {
  HK_SHARED(int, shared);
  hk::sim::copy_async<4>(shared + threadIdx.x, x + threadIdx.x, threadIdx.x % 4 > 0);
  if (waits) hk::sim::wait_for_copies();
  __syncthreads();
  y[threadIdx.x] = shared[63 - threadIdx.x];
}
__global__ void copies_across(const int* x) {
  HK_SHARED(int, shared);
  hk::sim::copy_async<16>(shared + 1, x, true);
}

void notices(const char* what, bool good) {
  failures += !good;
  printf("%s the shim notices %s\n", good ? "ok  " : "FAIL", what);
}
bool failed_launch(const char* part) {
  const cudaError_t error = cudaGetLastError();
  return error != cudaSuccess && strstr(cudaGetErrorString(error), part);
}

void shim() {
  int x[64], y[64], wrong = 0;
  for (int i = 0; i < 64; i++) x[i] = i;
  HK_LAUNCH(reverse, dim3(1), dim3(64), 0, nullptr, x, y, 64, true);
  for (int i = 0; i < 64; i++) wrong += y[i] != 63 - i;
  notices("no fault in a kernel that has its barrier", wrong == 0);
  HK_LAUNCH(reverse, dim3(1), dim3(64), 0, nullptr, x, y, 64, false);
  for (int i = 0; i < 64; i++) wrong += y[i] != 63 - i;
  notices("that a barrier is missing", wrong > 0);
  HK_LAUNCH(half_waits, dim3(1), dim3(32), 0, nullptr);
  notices("a barrier that half of the threads reach", failed_launch("16 threads at __syncthreads"));
  HK_LAUNCH(half_shuffles, dim3(1), dim3(32), 0, nullptr, y);
  notices("a shuffle with lanes that are gone", failed_launch("16 at a warp function"));
  HK_LAUNCH(half_waits, dim3(1), dim3(16), 49 << 10, nullptr);
  notices("shared memory that was not asked for", failed_launch("50176 bytes of shared memory"));
  int right = 0, late = 0;
  HK_LAUNCH(copies_numbers, dim3(1), dim3(64), 256, nullptr, x, y, true);
  for (int i = 0; i < 64; i++) right += y[i] == ((63 - i) % 4 ? 63 - i : 0);
  notices("no fault in copies that are waited for", right == 64);
  HK_LAUNCH(copies_numbers, dim3(1), dim3(64), 256, nullptr, x, y, false);
  for (int i = 0; i < 64; i++) late += y[i] == -1;
  notices("copies that nobody waits for", late > 0);
  HK_LAUNCH(copies_across, dim3(1), dim3(1), 32, nullptr, x);
  notices("a copy to an address between two", failed_launch("no multiple of 16"));
}

void matrix_instructions() {
  Tensor a = rounded(floats({16, 16})), b = rounded(floats({16, 8})), d(HK_F32, {16, 8}), product(HK_F32, {16, 8});
  for (int i = 0; i < 16; i++)
    for (int j = 0; j < 8; j++) {
      double sum = 0;
      for (int k = 0; k < 16; k++) sum += (double)number(a, (size_t)(i * 16 + k)) * number(b, (size_t)(k * 8 + j));
      product.as<float>()[i * 8 + j] = (float)sum;
    }
  HK_LAUNCH(multiply_fragments, dim3(1), dim3(32), 0, nullptr, a.as<bf16>(), b.as<bf16>(), d.as<float>());
  judge("mma_m16n8k16", a.view, "", {product}, {d}, 1e-6);

  Tensor x = rounded(floats({32, 8})), registers(HK_I32, {32, 4}), expected(HK_I32, {32, 4});
  for (int transposed = 0; transposed < 2; transposed++) {
    for (int thread = 0; thread < 32; thread++)
      for (int matrix = 0; matrix < 4; matrix++) {  // Figure 104: four threads have a row, two elements each
        const int line = thread / 4, pair = thread % 4 * 2;
        const auto element = [&](int row, int column) { return (uint32_t)x.as<bf16>()[(8 * matrix + row) * 8 + column].bits; };
        expected.as<uint32_t>()[thread * 4 + matrix] = transposed ? element(pair, line) | element(pair + 1, line) << 16 : element(line, pair) | element(line, pair + 1) << 16;
      }
    HK_LAUNCH(load_matrices, dim3(1), dim3(32), 32 * 48, nullptr, x.as<bf16>(), transposed == 1, registers.as<uint32_t>());
    judge(transposed ? "ldmatrix_x4_transposed" : "ldmatrix_x4", x.view, "", {expected}, {registers}, 0);
  }
}

// The fast kernels of the matrix library want rows that begin at multiples of 16 bytes; how many rows there are is up to the batch.
void alignment() {
  using namespace hk::HK_ISA;
  GemmShape s = {8581, 768, 3072, 3072, 1, 1, 3072, 768, false, false, HK_BF16, HK_F32};
  const auto notices = [&](const char* what, uint32_t inputs, uint32_t output) {
    const Alignment found = alignment_of(s);
    const bool good = found.inputs == inputs && found.output == output;
    failures += !good;
    printf("%s products of %s\n", good ? "ok  " : "FAIL", what);
  };
  notices("any number of rows are aligned", 16, 16);
  s.ldc = 770;
  notices("results whose rows are not aligned", 16, 4);
  s.b_column = 3068;
  notices("a factor whose columns are not aligned", 2, 4);
  s = {768, 3072, 8581, 1, 768, 3072, 1, 3072, true, false, HK_BF16, HK_F32, 2, 768 * 8, 0, 0, 4};
  notices("what begins between two aligned addresses", 2, 16);
}

void architectures() {
  using hk::cuda::architecture_of;
  const bool good = architecture_of(8, 6) == "86-real" && architecture_of(9, 0) == "90a-real" && architecture_of(10, 0) == "100-real";
  failures += !good;
  printf("%s the architecture to build for\n", good ? "ok  " : "FAIL");
}

// ---- the cases ----

void ops_of_either_precision() {
  rows(3, 5);
  rows(7, 131);
  rows(261, 9);
  rows(5, 520);
  frames(2, 5, 6);
  frames(3, 67, 33);
  gather_rows(2, 5, 6, 4);
  gather_rows(3, 67, 33, 201);
  conv1d(2, 23, 5, 7, 3, 2);
  conv1d(2, 20, 6, 66, 2, 2);
  conv1d(1, 29, 3, 4, 8, 3);
  conv1d(3, 17, 2, 5, 2, 3);
  conv1d(2, 75, 1, 9, 10, 5);
  conv1d(3, 260, 1, 131, 23, 3);
  conv0_norm_gelu(2, 57, 5, 10, 5, 0);
  conv0_norm_gelu(1, 2803, 3, 10, 5, 500);
  conv0_norm_gelu(2, 63, 517, 10, 5, 0);
  conv0_norm_gelu(3, 44, 131, 23, 3, 1);
  conv0_norm_gelu(1, 1200, 4, 1, 2, 0);
  pos_conv(2, 9, 2, 3, 4);
  pos_conv(1, 70, 3, 2, 5);
  pos_conv(2, 3, 4, 1, 16);
  pos_conv(3, 19, 2, 8, 6);
  masked_cross_entropy(1, 1, 3, 2, 5, true, {0.7f, 0, 0, 0.4f, 0, 0});
  masked_cross_entropy(3, 29, 13, 9, 41, false, {0.7f, 0, 0, 0.4f, 0, 0});
  masked_cross_entropy(2, 70, 40, 33, 67, true, {0.7f, 0, 0, 0.4f, 0, 0});
  masked_cross_entropy(2, 7, 5, 4, 3, true, {0.7f, 0, 0, 0, 0, 0});
  masked_cross_entropy(1, 9, 5, 4, 3, true, {0.7f, 0, 0, 0.4f, 0, 0}, 1e-10f);
  attention(3, 7, 2, 5, 0);
  attention(4, 3, 2, 16, 0.2);
  attention(2, 67, 1, 64, 0.3);
  attention(3, 133, 2, 48, 0.4);
  attention(1, 5, 1, 80, 0);
  attention(1, 131, 1, 80, 0.2);
  attention(1, 70, 1, 100, 0.1);
  attention(1, 66, 1, 72, 0.1);
}

void ops_of_f32() {
  logits(3, 5);
  logits(7, 131);
  logits(261, 9);
  weight_norm(3, 1, 1);
  weight_norm(23, 13, 33);
  weight_norm(2, 64, 5);
  kmeans_assign(1, 1, 1);
  kmeans_assign(67, 19, 128);
  kmeans_assign(130, 5, 201);
  mfcc(1, 400);
  mfcc(3, 1899);
  kmeans_update(1, 1, 1);
  kmeans_update(67, 131, 300);
  kmeans_update(1700, 5, 7);
  ctc(4, 9, 5, 3, 0, true);
  ctc(3, 131, 33, 17, 32, false);
  ctc(2, 600, 4, 150, 2, false);
  ctc(5, 3, 2, 4, 1, true);
  ctc_with_bad_rows(11, 6, 4);
  adamw(48, {48}, 1, 1);
  adamw(9001, {16, 16, 700, 5000, 9001}, 1, 0);
  adamw(5000, {4097, 5000}, INFINITY, 1);
}

}  // namespace

int main(int argc, char** argv) {
  const uint64_t seed = argc > 1 ? strtoull(argv[1], nullptr, 10) : 1;
  state = seed * 977 + 13;
  hk::sim::set_seed(seed);
  shim();
  matrix_instructions();
  alignment();
  architectures();
  ops_of_f32();
  rounding();
  ops_of_either_precision();
  activation = HK_BF16;
  ops_of_either_precision();
  printf("%d failed\n", failures);
  return failures > 0;
}
