// attention: softmax(q k^T / sqrt(depth)) v for every batch row and head, without ever holding a T x T matrix. Contract, dropout's
// numbering and the treatment of padded frames: native/cpu/ops/attention.cpp.
//
// bf16 goes to the tensor cores (attention_mma.cuh), f32 and the depths that those do not take to attention_simple.cuh.
#include "cuda/attention_mma.cuh"
#include "cuda/attention_simple.cuh"

namespace hk {
namespace HK_ISA {
namespace {

int expect_attention(hk_call* call, const char* op) {
  const hk_tensor& qkv = call->inputs[0];
  char text[96];
  if (expect_activation(call, op, "qkv", qkv, 3)) return 1;
  if (qkv.rank != 3 || qkv.shape[2] % 3 != 0) return fail(call, "%s: qkv must be [batch, frames, 3 width], got %s", op, describe(qkv, text));
  if (expect(call, op, "lengths", call->inputs[1], HK_I32, {qkv.shape[0]})) return 1;
  const int64_t width = qkv.shape[2] / 3;
  if (expect_integer(call, op, "heads", 1, 1, (double)width) || expect_dropout(call, op)) return 1;
  const int64_t heads = (int64_t)attribute(call, "heads", 1);
  if (width % heads) return fail(call, "%s: %lld heads do not divide width %lld", op, (long long)heads, (long long)width);
  if (width / heads > kMostDepth) return fail(call, "%s: at most %d channels for each head on a GPU, got %lld", op, kMostDepth, (long long)(width / heads));
  if (qkv.shape[0] * heads > 65535) return fail(call, "%s: at most 65535 heads in a batch, got %lld", op, (long long)(qkv.shape[0] * heads));
  return 0;
}

int prepare(hk_call* call, size_t*, void**) {
  const char* op = "attention";
  if (expect_counts(call, op, 2, 2) || expect_attention(call, op)) return 1;
  const AttentionSizes z(call);
  if (expect(call, op, "o", call->outputs[0], call->inputs[0].dtype, {z.batch, z.frames, z.width})) return 1;
  if (present(call->outputs[1]) && expect(call, op, "lse", call->outputs[1], HK_F32, {z.batch, z.heads, z.frames})) return 1;
  if (on_tensor_cores::takes(call)) return on_tensor_cores::allow_attend(call);
  return HK_BY_TYPE(call->inputs[0], without_tensor_cores::allow_attend, call);
}

int run(hk_call* call) {
  return on_tensor_cores::takes(call) ? on_tensor_cores::run_attend(call) : HK_BY_TYPE(call->inputs[0], without_tensor_cores::run_attend, call);
}

int prepare_grad(hk_call* call, size_t* scratch_bytes, void**) {
  const char* op = "attention_grad";
  if (expect_counts(call, op, 5, 1) || expect_attention(call, op)) return 1;
  const AttentionSizes z(call);
  const hk_tensor* in = call->inputs;
  if (expect(call, op, "o", in[2], in[0].dtype, {z.batch, z.frames, z.width}) || expect(call, op, "lse", in[3], HK_F32, {z.batch, z.heads, z.frames})) return 1;
  if (expect(call, op, "do", in[4], in[0].dtype, {z.batch, z.frames, z.width}) || expect_like(call, op, "dqkv", call->outputs[0], in[0])) return 1;
  *scratch_bytes = (size_t)(z.pairs() * z.frames) * sizeof(float);  // sums of do * o
  if (on_tensor_cores::takes(call)) return on_tensor_cores::allow_gradients(call);
  return HK_BY_TYPE(in[0], without_tensor_cores::allow_gradients, call);
}

int run_grad(hk_call* call) {
  return on_tensor_cores::takes(call) ? on_tensor_cores::run_gradients(call) : HK_BY_TYPE(call->inputs[0], without_tensor_cores::run_gradients, call);
}

hk_cost cost(const hk_call* call) {
  const AttentionSizes z(call);
  const double bt = (double)z.batch * (double)z.frames, d = (double)z.width;
  return {4 * bt * (double)z.frames * d, 4.0 * element_bytes(call->inputs[0]) * bt * d};
}
hk_cost cost_grad(const hk_call* call) {
  const AttentionSizes z(call);
  const double bt = (double)z.batch * (double)z.frames, d = (double)z.width;
  return {10 * bt * (double)z.frames * d, 8.0 * element_bytes(call->inputs[0]) * bt * d};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(attention, {"attention", prepare, run, nullptr, cost}, {"attention_grad", prepare_grad, run_grad, nullptr, cost_grad})
