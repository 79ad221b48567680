// linear: the contract is in ops/linear.h, here in f32. GELU is a pass of its own: the matrix library knows only the tanh approximation.
#include "cuda/activate.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"
#include "ops/linear.h"

namespace hk {
namespace HK_ISA {
namespace {

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_linear(call)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_dense(call, "linear", "x", x, HK_F32, 1)) return 1;
  const int64_t in = last(x), out = call->inputs[1].shape[0];
  Gemm* gemm = Gemm::make(call, {rows(x), out, in, in, 1, 1, in, out, false, present(call->inputs[2])});
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

struct Gradient {
  Gemm *dx = nullptr, *dw = nullptr;
  ~Gradient() {
    delete dx;
    delete dw;
  }
};

size_t largest(size_t a, size_t b) { return a > b ? a : b; }

int prepare_grad(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_linear_grad(call)) return 1;
  const hk_tensor &x = call->inputs[0], &dx = call->outputs[0], &dw = call->outputs[1], &dbias = call->outputs[2];
  if (expect_dense(call, "linear_grad", "x", x, HK_F32, 1)) return 1;
  const int64_t in = last(x), out = call->inputs[1].shape[0], m = rows(x);
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

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(linear, {"linear", prepare, run, release, linear_cost}, {"linear_grad", prepare_grad, run_grad, release_grad, linear_grad_cost})
