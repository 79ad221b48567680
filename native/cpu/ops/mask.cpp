// mask_frames: what the encoder sees. x[B,T,D], mask u8[B,T], lengths i32[B], embedding[D] -> y[B,T,D]:
//   0 where t >= length, the embedding where mask, else x.
// mask_frames_grad: mask, lengths, dy -> dx (0 where x was replaced), dembedding += sum of dy over masked frames.
// channel_mask: x[B,T,C], mask u8[B,C] -> y, 0 in masked channels; its gradient is the same op on dy.
#include "cpu/op.h"
#include "cpu/partials.h"

namespace hk {
namespace HK_ISA {
namespace {

int expect_mask(hk_call* call, const char* op, const hk_tensor& mask, const hk_tensor& lengths, const hk_tensor& x) {
  return expect(call, op, "mask", mask, HK_U8, {x.shape[0], x.shape[1]}) || expect(call, op, "lengths", lengths, HK_I32, {x.shape[0]});
}

int expect_frames(hk_call* call, const char* op, const char* what, const hk_tensor& x) {
  char text[96];
  if (expect_activation(call, op, what, x, 3)) return 1;
  return x.rank == 3 ? 0 : fail(call, "%s: %s must be [batch, frames, width], got %s", op, what, describe(x, text));
}

int mask_frames_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "mask_frames";
  if (expect_counts(call, op, 4, 1)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_frames(call, op, "x", x) || expect_mask(call, op, call->inputs[1], call->inputs[2], x)) return 1;
  return expect(call, op, "embedding", call->inputs[3], HK_F32, {x.shape[2]}) || expect_like(call, op, "y", call->outputs[0], x);
}

template <class T>
int mask_frames_as(hk_call* call) {
  const hk_tensor& shape = call->inputs[0];
  const int64_t frames = shape.shape[1], width = shape.shape[2];
  const size_t bytes = (size_t)width * sizeof(T);
  const T* x = data<T>(shape);
  const float* embedding = f32(call->inputs[3]);
  const uint8_t* mask = u8(call->inputs[1]);
  const int32_t* lengths = i32(call->inputs[2]);
  T* y = data<T>(call->outputs[0]);
  parallel_chunks(shape.shape[0] * frames, 32, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      if (r % frames >= clamp_length(lengths[r / frames], frames)) memset((void*)(y + r * width), 0, bytes);
      else if (mask[r]) map(embedding, y + r * width, 0, width, [](v16 v) { return v; });
      else memcpy((void*)(y + r * width), x + r * width, bytes);
    }
  });
  return 0;
}
int mask_frames_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mask_frames_as, call); }

int mask_frames_grad_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "mask_frames_grad";
  if (expect_counts(call, op, 3, 2)) return 1;
  const hk_tensor &dy = call->inputs[2], &dx = call->outputs[0], &dembedding = call->outputs[1];
  if (expect_frames(call, op, "dy", dy) || expect_mask(call, op, call->inputs[0], call->inputs[1], dy)) return 1;
  if (present(dx) && expect_like(call, op, "dx", dx, dy)) return 1;
  if (present(dembedding) && expect(call, op, "dembedding", dembedding, HK_F32, {dy.shape[2]})) return 1;
  *scratch_bytes = (size_t)(partial_chunks(dy.shape[0] * dy.shape[1]) * dy.shape[2]) * sizeof(float);
  return 0;
}

template <class T>
int mask_frames_grad_as(hk_call* call) {
  const hk_tensor& shape = call->inputs[2];
  const int64_t frames = shape.shape[1], width = shape.shape[2], count = shape.shape[0] * frames;
  const size_t bytes = (size_t)width * sizeof(T);
  const uint8_t* mask = u8(call->inputs[0]);
  const int32_t* lengths = i32(call->inputs[1]);
  const T* dy = data<T>(shape);
  T* dx = data<T>(call->outputs[0]);
  float* partials = (float*)call->scratch;
  parallel_chunks(count, partial_grain(count), [=](int64_t chunk, int64_t begin, int64_t end) {
    float* total = partials + chunk * width;
    memset(total, 0, (size_t)width * sizeof(float));
    for (int64_t r = begin; r < end; r++) {
      const bool valid = r % frames < clamp_length(lengths[r / frames], frames);
      if (valid && mask[r])
        for (int64_t i = 0; i < width; i++) total[i] += dy[r * width + i];
      if (!dx) continue;
      if (valid && !mask[r]) memcpy((void*)(dx + r * width), dy + r * width, bytes);
      else memset((void*)(dx + r * width), 0, bytes);
    }
  });
  if (present(call->outputs[1])) add_partials(partials, partial_chunks(count), width, width, f32(call->outputs[1]));
  return 0;
}
int mask_frames_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[2], mask_frames_grad_as, call); }

int channel_mask_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  const char* op = "channel_mask";
  if (expect_counts(call, op, 2, 1)) return 1;
  const hk_tensor& x = call->inputs[0];
  if (expect_frames(call, op, "x", x) || expect(call, op, "mask", call->inputs[1], HK_U8, {x.shape[0], x.shape[2]})) return 1;
  return expect_like(call, op, "y", call->outputs[0], x);
}

template <class T>
int channel_mask_as(hk_call* call) {
  const hk_tensor& shape = call->inputs[0];
  const int64_t frames = shape.shape[1], width = shape.shape[2];
  const T* x = data<T>(shape);
  const uint8_t* mask = u8(call->inputs[1]);
  T* y = data<T>(call->outputs[0]);
  parallel_chunks(shape.shape[0] * frames, 32, [=](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      const uint8_t* row = mask + r / frames * width;
      for (int64_t i = 0; i < width; i++) y[r * width + i] = row[i] ? T(0.0f) : x[r * width + i];
    }
  });
  return 0;
}
int channel_mask_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], channel_mask_as, call); }

hk_cost move_cost(const hk_call* call) { return {0, 2.0 * element_bytes(call->outputs[0]) * (double)elements(call->outputs[0])}; }
hk_cost mask_frames_grad_cost(const hk_call* call) { return {0, 2.0 * element_bytes(call->inputs[2]) * (double)elements(call->inputs[2])}; }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mask, {"mask_frames", mask_frames_prepare, mask_frames_run, nullptr, move_cost},
            {"mask_frames_grad", mask_frames_grad_prepare, mask_frames_grad_run, nullptr, mask_frames_grad_cost},
            {"channel_mask", channel_mask_prepare, channel_mask_run, nullptr, move_cost})
