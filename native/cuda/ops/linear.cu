// linear: the contract is in ops/linear.h. GELU is a pass of its own: the matrix library knows only the tanh approximation.
#include "cuda/activate.cuh"
#include "cuda/cast.cuh"
#include "cuda/column_sums.cuh"
#include "cuda/gemm.h"
#include "ops/linear.h"

namespace hk {
namespace HK_ISA {
namespace {

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_linear(call)) return 1;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1];
  const int64_t in = last(x), out = w.shape[0];
  Gemm* gemm = Gemm::make(call, {rows(x), out, in, in, 1, 1, in, out, false, present(call->inputs[2]), dtype_of(x), dtype_of(x)});
  *state = gemm;
  if (!gemm) return 1;
  *scratch_bytes = weight_bytes(x, w) + gemm->scratch_bytes();
  return 0;
}

int run(hk_call* call) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &y = call->outputs[0];
  const hk_tensor& z = present(call->outputs[1]) ? call->outputs[1] : y;
  const void* weight = as_operand(stream_of(call), x, w, call->scratch);
  char* own = (char*)call->scratch + weight_bytes(x, w);
  if (((const Gemm*)call->state)->run(call, x.data, weight, z.data, f32(call->inputs[2]), own)) return 1;
  if (has_gelu(call)) activate(stream_of(call), z, y);
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
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &dx = call->outputs[0], &dw = call->outputs[1], &dbias = call->outputs[2];
  const int64_t in = last(x), out = w.shape[0], m = rows(x);
  Gradient* made = new Gradient;
  *state = made;
  if (present(dx)) made->dx = Gemm::make(call, {m, in, out, out, 1, in, 1, in, false, false, dtype_of(x), dtype_of(x)});
  if (present(dw)) made->dw = Gemm::make(call, {out, in, m, 1, out, in, 1, in, true, false, dtype_of(x), HK_F32});
  if ((present(dx) && !made->dx) || (present(dw) && !made->dw)) {
    delete made;
    *state = nullptr;
    return 1;
  }
  *scratch_bytes = present(dbias) ? (size_t)column_sum_floats(m, out) * sizeof(float) : 0;
  if (made->dx) *scratch_bytes = largest(*scratch_bytes, weight_bytes(x, w) + made->dx->scratch_bytes());
  if (made->dw) *scratch_bytes = largest(*scratch_bytes, made->dw->scratch_bytes());
  return 0;
}

int run_grad(hk_call* call) {
  const Gradient* gradient = (const Gradient*)call->state;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &dz = call->inputs[2], &dbias = call->outputs[2];
  if (present(dbias)) add_column_sums(stream_of(call), dz, (float*)call->scratch, f32(dbias));
  if (gradient->dw && gradient->dw->run(call, dz.data, x.data, call->outputs[1].data, nullptr, call->scratch)) return 1;
  if (!gradient->dx) return launched(call);
  const void* weight = as_operand(stream_of(call), x, w, call->scratch);
  char* own = (char*)call->scratch + weight_bytes(x, w);
  if (gradient->dx->run(call, dz.data, weight, call->outputs[0].data, nullptr, own)) return 1;
  return launched(call);
}

void release_grad(void* state) { delete (Gradient*)state; }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(linear, {"linear", prepare, run, release, linear_cost}, {"linear_grad", prepare_grad, run_grad, release_grad, linear_grad_cost})
