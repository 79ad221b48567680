// mask_frames (+ gradient) and channel_mask: the contracts are in ops/mask.h. One thread an element; the embedding's gradient is a
// column sum over the masked frames, in a fixed order.
#include "cuda/column_sums.cuh"
#include "cuda/reduce.cuh"
#include "ops/mask.h"

namespace hk {
namespace HK_ISA {
namespace {

struct Frames {
  const uint8_t* mask;
  const int32_t* lengths;
  int64_t frames;
  __device__ bool valid(int64_t r) const { return r % frames < clamp_length(lengths[r / frames], frames); }
};

template <class T>
__global__ void mask_frames_kernel(Frames f, const T* x, const float* embedding, int64_t n, int64_t width, T* y) {
  const int64_t i = element_index(), r = i / width;
  if (i >= n) return;
  y[i] = !f.valid(r) ? 0.0f : f.mask[r] ? embedding[i % width] : (float)x[i];
}

template <class T>
__global__ void mask_frames_grad_kernel(Frames f, const T* dy, int64_t n, int64_t width, T* dx) {
  const int64_t i = element_index(), r = i / width;
  if (i < n) dx[i] = f.valid(r) && !f.mask[r] ? (float)dy[i] : 0.0f;
}

template <class T>
struct MaskedValue {
  Frames f;
  const T* dy;
  int64_t width;
  __device__ float operator()(int64_t r, int64_t c) const { return f.valid(r) && f.mask[r] ? (float)dy[r * width + c] : 0.0f; }
};

template <class T>
__global__ void channel_mask_kernel(const T* x, const uint8_t* mask, int64_t n, int64_t frames, int64_t width, T* y) {
  const int64_t i = element_index();
  if (i < n) y[i] = mask[i / (frames * width) * width + i % width] ? 0.0f : (float)x[i];
}

template <class T>
int mask_frames_as(hk_call* call) {
  const hk_tensor& x = call->inputs[0];
  const int64_t n = elements(x);
  const Frames frames = {u8(call->inputs[1]), i32(call->inputs[2]), x.shape[1]};
  HK_LAUNCH(mask_frames_kernel<T>, element_grid(n), dim3(kBlock), 0, stream_of(call), frames, data<T>(x), f32(call->inputs[3]), n, x.shape[2],
            data<T>(call->outputs[0]));
  return launched(call);
}
int mask_frames_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], mask_frames_as, call); }

int mask_frames_grad_prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_mask_frames_grad(call)) return 1;
  const hk_tensor& dy = call->inputs[2];
  *scratch_bytes = (size_t)column_sum_floats(rows(dy), last(dy)) * sizeof(float);
  return 0;
}
template <class T>
int mask_frames_grad_as(hk_call* call) {
  const hk_tensor &dy = call->inputs[2], &dx = call->outputs[0], &dembedding = call->outputs[1];
  const int64_t n = elements(dy), width = last(dy);
  const Frames frames = {u8(call->inputs[0]), i32(call->inputs[1]), dy.shape[1]};
  if (present(dx))
    HK_LAUNCH(mask_frames_grad_kernel<T>, element_grid(n), dim3(kBlock), 0, stream_of(call), frames, data<T>(dy), n, width, data<T>(dx));
  if (present(dembedding))
    add_column_sums_of(stream_of(call), MaskedValue<T>{frames, data<T>(dy), width}, rows(dy), width, (float*)call->scratch, f32(dembedding));
  return launched(call);
}
int mask_frames_grad_run(hk_call* call) { return HK_BY_TYPE(call->inputs[2], mask_frames_grad_as, call); }

template <class T>
int channel_mask_as(hk_call* call) {
  const hk_tensor& x = call->inputs[0];
  const int64_t n = elements(x);
  HK_LAUNCH(channel_mask_kernel<T>, element_grid(n), dim3(kBlock), 0, stream_of(call), data<T>(x), u8(call->inputs[1]), n, x.shape[1], x.shape[2],
            data<T>(call->outputs[0]));
  return launched(call);
}
int channel_mask_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], channel_mask_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mask, {"mask_frames", mask_frames_prepare, mask_frames_run, nullptr, mask_cost},
            {"mask_frames_grad", mask_frames_grad_prepare, mask_frames_grad_run, nullptr, mask_frames_grad_cost},
            {"channel_mask", channel_mask_prepare, channel_mask_run, nullptr, mask_cost})
