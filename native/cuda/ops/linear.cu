// linear: z = x W^T + bias over the last dimension; with gelu = 1 also y = GELU(z). linear_grad: dx = dz W, dW += dz^T x,
// dbias += column sums of dz. Contract and shapes: native/cpu/ops/linear.cpp. GELU is a pass of its own: the matrix library knows only the
// tanh approximation.
#include "cuda/activate.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"

namespace hk {
namespace HK_ISA {
namespace {

bool has_gelu(const hk_call* call) { return attribute(call, "gelu", 0) != 0; }

// `t` must have the leading dimensions of x and `width` channels.
int expect_rows(hk_call* call, const char* op, const char* what, const hk_tensor& t, const hk_tensor& x, int64_t width) {
  int64_t shape[HK_MAX_RANK];
  memcpy(shape, x.shape, sizeof shape);
  shape[x.rank - 1] = width;
  return expect(call, op, what, t, HK_F32, shape, x.rank);
}

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "linear";
  if (expect_counts(call, op, 3, 2)) return 1;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &bias = call->inputs[2], &z = call->outputs[1];
  if (expect_dense(call, op, "x", x, HK_F32, 1) || expect_dense(call, op, "w", w, HK_F32, 2)) return 1;
  const int64_t in = last(x), out = w.shape[0];
  if (expect(call, op, "w", w, HK_F32, {out, in}) || expect_integer(call, op, "gelu", 0, 0, 1)) return 1;
  if (present(bias) && expect(call, op, "bias", bias, HK_F32, {out})) return 1;
  if (expect_rows(call, op, "y", call->outputs[0], x, out)) return 1;
  if (present(z) && !has_gelu(call)) return fail(call, "linear: z is an output only with gelu = 1");
  if (present(z) && expect_rows(call, op, "z", z, x, out)) return 1;
  Gemm* gemm = Gemm::make(call, {rows(x), out, in, in, 1, 1, in, out, false, present(bias)});
  *state = gemm;
  if (!gemm) return 1;
  *scratch_bytes = gemm->scratch_bytes();
  return 0;
}

int run(hk_call* call) {
  const hk_tensor &y = call->outputs[0], &z = call->outputs[1], &bias = call->inputs[2];
  float* product = present(z) ? f32(z) : f32(y);
  if (((const Gemm*)call->state)->run(call, f32(call->inputs[0]), f32(call->inputs[1]), product, present(bias) ? f32(bias) : nullptr, call->scratch)) return 1;
  if (has_gelu(call)) activate(stream_of(call), product, f32(y), elements(y));
  return launched(call);
}

void release(void* state) { delete (Gemm*)state; }

hk_cost cost(const hk_call* call) {
  const double m = (double)rows(call->inputs[0]), in = (double)last(call->inputs[0]), out = (double)call->inputs[1].shape[0];
  return {2 * m * in * out, 4 * (m * in + in * out + m * out)};
}

struct Gradient {
  Gemm *dx = nullptr, *dw = nullptr;
  ~Gradient() {
    delete dx;
    delete dw;
  }
};

size_t largest(size_t a, size_t b) { return a > b ? a : b; }

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "linear_grad";
  if (expect_counts(call, op, 3, 3)) return 1;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &dz = call->inputs[2];
  const hk_tensor &dx = call->outputs[0], &dw = call->outputs[1], &dbias = call->outputs[2];
  if (expect_dense(call, op, "x", x, HK_F32, 1) || expect_dense(call, op, "w", w, HK_F32, 2)) return 1;
  const int64_t in = last(x), out = w.shape[0], m = rows(x);
  if (expect(call, op, "w", w, HK_F32, {out, in}) || expect_rows(call, op, "dz", dz, x, out)) return 1;
  if (present(dx) && expect_like(call, op, "dx", dx, x)) return 1;
  if (present(dw) && expect_like(call, op, "dw", dw, w)) return 1;
  if (present(dbias) && expect(call, op, "dbias", dbias, HK_F32, {out})) return 1;
  Gradient* made = new Gradient;
  *state = made;
  if (present(dx)) made->dx = Gemm::make(call, {m, in, out, out, 1, in, 1, in, false, false});
  if (present(dw)) made->dw = Gemm::make(call, {out, in, m, 1, out, in, 1, in, true, false});
  if ((present(dx) && !made->dx) || (present(dw) && !made->dw)) {
    delete made;
    *state = nullptr;
    return 1;
  }
  *scratch_bytes = present(dbias) ? (size_t)column_sum_floats(m, out) * sizeof(float) : 0;
  if (made->dx) *scratch_bytes = largest(*scratch_bytes, made->dx->scratch_bytes());
  if (made->dw) *scratch_bytes = largest(*scratch_bytes, made->dw->scratch_bytes());
  return 0;
}

int run_grad(hk_call* call) {
  const Gradient* gradient = (const Gradient*)call->state;
  const float *x = f32(call->inputs[0]), *w = f32(call->inputs[1]), *dz = f32(call->inputs[2]);
  if (present(call->outputs[2]))
    add_column_sums(stream_of(call), dz, rows(call->inputs[2]), last(call->inputs[2]), (float*)call->scratch, f32(call->outputs[2]));
  if (gradient->dx && gradient->dx->run(call, dz, w, f32(call->outputs[0]), nullptr, call->scratch)) return 1;
  if (gradient->dw && gradient->dw->run(call, dz, x, f32(call->outputs[1]), nullptr, call->scratch)) return 1;
  return launched(call);
}

void release_grad(void* state) { delete (Gradient*)state; }

hk_cost cost_grad(const hk_call* call) {
  const double m = (double)rows(call->inputs[0]), in = (double)last(call->inputs[0]), out = (double)call->inputs[1].shape[0];
  const int products = present(call->outputs[0]) + present(call->outputs[1]);
  return {2 * m * in * out * products + m * out, 4 * (m * out + products * (m * in + in * out))};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(linear, {"linear", prepare, run, release, cost}, {"linear_grad", prepare_grad, run_grad, release_grad, cost_grad})
