// attention: what every back-end's op file shares: the sizes of a call, the checks of `prepare` and the cost. The contract is in
// native/cpu/ops/attention.cpp.
#pragma once
#include <math.h>

#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

struct AttentionSizes {
  int64_t batch, frames, width, heads, depth;
  float   scale;  // of the scores
  explicit AttentionSizes(const hk_call* call) {
    const hk_tensor& qkv = call->inputs[0];
    batch = qkv.shape[0];
    frames = qkv.shape[1];
    width = qkv.shape[2] / 3;
    heads = (int64_t)attribute(call, "heads", 1);
    depth = width / heads;
    scale = (float)(1 / sqrt((double)depth));
  }
  HK_ANYWHERE int64_t pairs() const { return batch * heads; }
};

// qkv, lengths and the attributes, which both ops have.
static inline int expect_attention(hk_call* call, const char* op) {
  const hk_tensor& qkv = call->inputs[0];
  char text[96];
  if (expect_activation(call, op, "qkv", qkv, 3)) return 1;
  if (qkv.rank != 3 || qkv.shape[2] % 3 != 0) return fail(call, "%s: qkv must be [batch, frames, 3 width], got %s", op, describe(qkv, text));
  if (expect(call, op, "lengths", call->inputs[1], HK_I32, {qkv.shape[0]})) return 1;
  const int64_t width = qkv.shape[2] / 3;
  if (expect_integer(call, op, "heads", 1, 1, (double)width) || expect_dropout(call, op)) return 1;
  const int64_t heads = (int64_t)attribute(call, "heads", 1);
  return width % heads == 0 ? 0 : fail(call, "%s: %lld heads do not divide width %lld", op, (long long)heads, (long long)width);
}

// What attention gives, after expect_attention.
static inline int expect_attended(hk_call* call, const char* op) {
  const AttentionSizes z(call);
  const hk_tensor *in = call->inputs, *out = call->outputs;
  if (expect(call, op, "o", out[0], in[0].dtype, {z.batch, z.frames, z.width})) return 1;
  return present(out[1]) && expect(call, op, "lse", out[1], HK_F32, {z.batch, z.heads, z.frames});
}

// What attention_grad takes and gives, after expect_attention.
static inline int expect_attention_gradient(hk_call* call, const char* op) {
  const AttentionSizes z(call);
  const hk_tensor* in = call->inputs;
  if (expect(call, op, "o", in[2], in[0].dtype, {z.batch, z.frames, z.width})) return 1;
  if (expect(call, op, "lse", in[3], HK_F32, {z.batch, z.heads, z.frames})) return 1;
  if (expect(call, op, "do", in[4], in[0].dtype, {z.batch, z.frames, z.width})) return 1;
  return expect_like(call, op, "dqkv", call->outputs[0], in[0]);
}

// `products` of frames x frames x width, `arrays` of activations read or written.
static inline hk_cost attention_products(const hk_call* call, double products, double arrays) {
  const AttentionSizes z(call);
  const double bt = (double)z.batch * (double)z.frames, d = (double)z.width;
  return {2 * products * bt * (double)z.frames * d, arrays * element_bytes(call->inputs[0]) * bt * d};
}
static inline hk_cost attention_cost(const hk_call* call) { return attention_products(call, 2, 4); }
static inline hk_cost attention_grad_cost(const hk_call* call) { return attention_products(call, 5, 8); }

}  // namespace HK_ISA
}  // namespace hk
