// attention: softmax(q k^T / sqrt(depth)) v for every batch row and head, without ever holding a T x T matrix. Contract, dropout's
// numbering and the treatment of padded frames: native/cpu/ops/attention.cpp.
//
// bf16 goes to the tensor cores (attention_mma.cuh), f32 and the depths that those do not take to attention_simple.cuh.
#include "cuda/attention_mma.cuh"
#include "cuda/attention_simple.cuh"

namespace hk {
namespace HK_ISA {
namespace {

// What the kernels' grids and tiles can hold.
int expect_within_reach(hk_call* call, const char* op) {
  const AttentionSizes z(call);
  if (z.depth > kMostDepth) return fail(call, "%s: at most %d channels for each head on a GPU, got %lld", op, kMostDepth, (long long)z.depth);
  if (z.pairs() > 65535) return fail(call, "%s: at most 65535 heads in a batch, got %lld", op, (long long)z.pairs());
  return 0;
}

int prepare(hk_call* call, size_t*, void**) {
  const char* op = "attention";
  if (expect_counts(call, op, 2, 2) || expect_attention(call, op) || expect_within_reach(call, op) || expect_attended(call, op)) return 1;
  if (on_tensor_cores::takes(call)) return on_tensor_cores::allow_attend(call);
  return HK_BY_TYPE(call->inputs[0], without_tensor_cores::allow_attend, call);
}

int run(hk_call* call) {
  return on_tensor_cores::takes(call) ? on_tensor_cores::run_attend(call) : HK_BY_TYPE(call->inputs[0], without_tensor_cores::run_attend, call);
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "attention_grad";
  if (expect_counts(call, op, 5, 1) || expect_attention(call, op) || expect_within_reach(call, op) || expect_attention_gradient(call, op)) return 1;
  const AttentionSizes z(call);
  *scratch_bytes = (size_t)(z.pairs() * z.frames) * sizeof(float);  // sums of do * o
  if (on_tensor_cores::takes(call)) return on_tensor_cores::allow_gradients(call);
  return HK_BY_TYPE(call->inputs[0], without_tensor_cores::allow_gradients, call);
}

int run_grad(hk_call* call) {
  return on_tensor_cores::takes(call) ? on_tensor_cores::run_gradients(call) : HK_BY_TYPE(call->inputs[0], without_tensor_cores::run_gradients, call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(attention, {"attention", prepare, run, nullptr, attention_cost}, {"attention_grad", prepare_grad, run_grad, nullptr, attention_grad_cost})
