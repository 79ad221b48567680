// mask_frames (+ gradient) and channel_mask: the contracts are in ops/mask.h.
#include "cpu/op.h"
#include "cpu/partials.h"
#include "ops/mask.h"

namespace hk {
namespace HK_ISA {
namespace {

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

int mask_frames_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_mask_frames_grad(call)) return 1;
  const hk_tensor& dy = call->inputs[2];
  *scratch_bytes = (size_t)(partial_chunks(rows(dy)) * last(dy)) * sizeof(float);
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

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mask, {"mask_frames", mask_frames_prepare, mask_frames_run, nullptr, mask_cost},
            {"mask_frames_grad", mask_frames_grad_prepare, mask_frames_grad_run, nullptr, mask_frames_grad_cost},
            {"channel_mask", channel_mask_prepare, channel_mask_run, nullptr, mask_cost})
