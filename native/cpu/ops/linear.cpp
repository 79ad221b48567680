// linear: the contract is in ops/linear.h. One product (product.h) with W read transposed, then bias and GELU; without z, GELU works in
// place. linear_grad: dz is the gradient before GELU (gelu_grad makes it).
#include "cpu/partials.h"
#include "cpu/product.h"
#include "ops/linear.h"

namespace hk {
namespace HK_ISA {
namespace {

int linear_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_linear(call)) return 1;
  const hk_tensor &x = call->inputs[0], &bias = call->inputs[2];
  const int64_t in = last(x), out = call->inputs[1].shape[0], m = rows(x);
  Gemm* gemm = Gemm::make({m, out, in, in, 1, 1, in, out, false, present(bias), dtype_of(x), dtype_of(x), is_bf16(x)});
  if (!gemm && is_bf16(x) && !has_bf16()) return fail(call, "linear: %s", kNoBf16);
  if (!gemm) return fail(call, "linear: the matrix library refused m %lld, n %lld, k %lld", (long long)m, (long long)out, (long long)in);
  *state = gemm;
  *scratch_bytes = gemm->scratch_bytes();
  return 0;
}

int linear_run(hk_call* call) {
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &y = call->outputs[0];
  const hk_tensor& z = present(call->outputs[1]) ? call->outputs[1] : y;
  ((Gemm*)call->state)->run(x.data, w.data, z.data, f32(call->inputs[2]), call->scratch, has_gelu(call) ? y.data : nullptr);
  return 0;
}

void linear_release(void* state) { delete (Gemm*)state; }

struct LinearGrad {
  Gemm *dx = nullptr, *dw = nullptr;
  ~LinearGrad() {
    delete dx;
    delete dw;
  }
};

size_t largest(size_t a, size_t b) { return a > b ? a : b; }

int linear_grad_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_linear_grad(call)) return 1;
  const hk_tensor &x = call->inputs[0], &dx = call->outputs[0], &dw = call->outputs[1], &dbias = call->outputs[2];
  const int64_t in = last(x), out = call->inputs[1].shape[0], m = rows(x);
  LinearGrad* grad = new LinearGrad;
  if (present(dx)) grad->dx = Gemm::make({m, in, out, out, 1, in, 1, in, false, false, dtype_of(x), dtype_of(x), is_bf16(x)});
  if (present(dw)) grad->dw = Gemm::make({out, in, m, 1, out, in, 1, in, true, false, dtype_of(x), HK_F32});
  if ((present(dx) && !grad->dx) || (present(dw) && !grad->dw)) {
    delete grad;
    if (is_bf16(x) && !has_bf16()) return fail(call, "linear_grad: %s", kNoBf16);
    return fail(call, "linear_grad: the matrix library refused rows %lld, %lld to %lld channels", (long long)m, (long long)in, (long long)out);
  }
  *state = grad;
  *scratch_bytes = present(dbias) ? (size_t)(partial_chunks(m) * out) * sizeof(float) : 0;
  if (grad->dx) *scratch_bytes = largest(*scratch_bytes, grad->dx->scratch_bytes());
  if (grad->dw) *scratch_bytes = largest(*scratch_bytes, grad->dw->scratch_bytes());
  return 0;
}

template <class T>
void add_column_sums(const T* dz, int64_t m, int64_t width, float* dbias, float* partials) {
  parallel_chunks(m, partial_grain(m), [=](int64_t chunk, int64_t begin, int64_t end) {
    float* total = partials + chunk * width;
    memset(total, 0, (size_t)width * sizeof(float));
    for (int64_t r = begin; r < end; r++)
      for (int64_t i = 0; i < width; i++) total[i] += dz[r * width + i];
  });
  add_partials(partials, partial_chunks(m), width, width, dbias);
}

int linear_grad_run(hk_call* call) {
  const LinearGrad* grad = (const LinearGrad*)call->state;
  const hk_tensor &x = call->inputs[0], &w = call->inputs[1], &dz = call->inputs[2], &dbias = call->outputs[2];
  float* sums = (float*)call->scratch;
  if (present(dbias) && is_bf16(dz)) add_column_sums(data<bf16>(dz), rows(dz), last(dz), f32(dbias), sums);
  else if (present(dbias)) add_column_sums(f32(dz), rows(dz), last(dz), f32(dbias), sums);
  if (grad->dw) grad->dw->run(dz.data, x.data, call->outputs[1].data, nullptr, call->scratch);
  if (grad->dx) grad->dx->run(dz.data, w.data, call->outputs[0].data, nullptr, call->scratch);
  return 0;
}

void linear_grad_release(void* state) { delete (LinearGrad*)state; }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(linear, {"linear", linear_prepare, linear_run, linear_release, linear_cost},
            {"linear_grad", linear_grad_prepare, linear_grad_run, linear_grad_release, linear_grad_cost})
