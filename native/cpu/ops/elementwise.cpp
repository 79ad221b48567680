// add: a + b.  scale: factor * x.  select: gates[gate] ? a : b (how LayerDrop leaves a block out).
#include "cpu/op.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 16384;

int expect_unary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 1, 1) || expect_dense(call, op, "x", call->inputs[0], HK_F32, 0)) return 1;
  return expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}
int expect_binary(hk_call* call, const char* op) {
  if (expect_counts(call, op, 2, 1) || expect_dense(call, op, "a", call->inputs[0], HK_F32, 0)) return 1;
  return expect_like(call, op, "b", call->inputs[1], call->inputs[0]) || expect_like(call, op, "y", call->outputs[0], call->inputs[0]);
}

int add_prepare(hk_call* call, size_t* scratch_bytes, void** state) { return expect_binary(call, "add"); }

int add_run(hk_call* call) {
  const float *a = f32(call->inputs[0]), *b = f32(call->inputs[1]);
  float* y = f32(call->outputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) y[i] = a[i] + b[i];
  });
  return 0;
}

int scale_prepare(hk_call* call, size_t* scratch_bytes, void** state) { return expect_unary(call, "scale"); }

int scale_run(hk_call* call) {
  const float* x = f32(call->inputs[0]);
  float* y = f32(call->outputs[0]);
  const float factor = (float)attribute(call, "factor", 1);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; i++) y[i] = factor * x[i];
  });
  return 0;
}

int select_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  return expect_binary(call, "select") || expect_integer(call, "select", "gate", -1, 0, call->n_gates - 1);
}

int select_run(hk_call* call) {
  const float* from = f32(call->inputs[call->gates[(int)attribute(call, "gate", -1)] ? 0 : 1]);
  float* y = f32(call->outputs[0]);
  parallel_chunks(elements(call->inputs[0]), kGrain, [=](int64_t, int64_t begin, int64_t end) {
    memcpy(y + begin, from + begin, (size_t)(end - begin) * sizeof(float));
  });
  return 0;
}

hk_cost binary_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 12 * n};
}
hk_cost unary_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 8 * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(elementwise, {"add", add_prepare, add_run, nullptr, binary_cost}, {"scale", scale_prepare, scale_run, nullptr, unary_cost},
            {"select", select_prepare, select_run, nullptr, unary_cost})
