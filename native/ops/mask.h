// mask_frames and channel_mask: what every back-end's op file shares: the contract, the checks of `prepare` and the cost.
//   mask_frames       x[B,T,D], mask u8[B,T], lengths i32[B], embedding[D]  ->  y[B,T,D]: 0 where t >= length, the embedding where mask, else x;
//                     what the encoder sees
//   mask_frames_grad  mask, lengths, dy  ->  dx? (0 where x was replaced), dembedding? += sum of dy over masked frames
//   channel_mask      x[B,T,C], mask u8[B,C]  ->  y, 0 in masked channels; its gradient is the same op on dy
#pragma once
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

static inline int expect_frames(hk_call* call, const char* op, const char* what, const hk_tensor& x) {
  char text[96];
  if (expect_activation(call, op, what, x, 3)) return 1;
  return x.rank == 3 ? 0 : fail(call, "%s: %s must be [batch, frames, width], got %s", op, what, describe(x, text));
}
static inline int expect_mask(hk_call* call, const char* op, const hk_tensor& mask, const hk_tensor& lengths, const hk_tensor& x) {
  return expect(call, op, "mask", mask, HK_U8, {x.shape[0], x.shape[1]}) || expect(call, op, "lengths", lengths, HK_I32, {x.shape[0]});
}

static inline int mask_frames_prepare(hk_call* call, size_t*, void**) {
  const char* op = "mask_frames";
  if (expect_counts(call, op, 4, 1)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_frames(call, op, "x", x) || expect_mask(call, op, call->inputs[1], call->inputs[2], x)) return 1;
  return expect(call, op, "embedding", call->inputs[3], HK_F32, {x.shape[2]}) || expect_like(call, op, "y", call->outputs[0], x);
}

static inline int expect_mask_frames_grad(hk_call* call) {
  const char* op = "mask_frames_grad";
  if (expect_counts(call, op, 3, 2)) return 1;
  const hk_tensor &dy = call->inputs[2], &dx = call->outputs[0], &dembedding = call->outputs[1];
  if (expect_frames(call, op, "dy", dy) || expect_mask(call, op, call->inputs[0], call->inputs[1], dy)) return 1;
  if (present(dx) && expect_like(call, op, "dx", dx, dy)) return 1;
  return present(dembedding) ? expect(call, op, "dembedding", dembedding, HK_F32, {dy.shape[2]}) : 0;
}

static inline int channel_mask_prepare(hk_call* call, size_t*, void**) {
  const char* op = "channel_mask";
  if (expect_counts(call, op, 2, 1)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_frames(call, op, "x", x) || expect(call, op, "mask", call->inputs[1], HK_U8, {x.shape[0], x.shape[2]})) return 1;
  return expect_like(call, op, "y", call->outputs[0], x);
}

// Of a copy of `t`.
static inline hk_cost move_cost(const hk_tensor& t) { return {0, 2.0 * element_bytes(t) * (double)elements(t)}; }
static inline hk_cost mask_cost(const hk_call* call) { return move_cost(call->outputs[0]); }
static inline hk_cost mask_frames_grad_cost(const hk_call* call) { return move_cost(call->inputs[2]); }

}  // namespace HK_ISA
}  // namespace hk
