// adamw: the contract and the formulas are in ops/adamw.h. Three launches: sums of squares of each chunk of gradients in double;
// one block adds them in a fixed order and makes the step's factors; one pass over the flat buffers updates everything in place.
// A thread finds the segment of its first element by bisection and walks on from there. Hyper-parameters and segments lie on the
// device and cannot be refused here: a hyper-parameter that is not finite skips the step as a norm that is not finite does.
#include "cuda/reduce.cuh"
#include "ops/adamw.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kChunk = 4096;

struct Segments {
  const int32_t* ends;
  const uint8_t* trainable;
  int64_t count;
  // The segment of element i at or behind `from`.
  __device__ int64_t next(int64_t from, int64_t i) const {
    while (from < count - 1 && ends[from] <= i) from++;
    return from;
  }
  __device__ int64_t find(int64_t i) const {
    int64_t low = 0, high = count - 1;
    while (low < high) {
      const int64_t middle = (low + high) / 2;
      if (ends[middle] > i) high = middle;
      else low = middle + 1;
    }
    return low;
  }
};

struct Step {
  float scale, beta1, beta2, eps, decay, rate, root;  // rate = lr / (1-beta1^step), root = 1 / sqrt(1-beta2^step)
  int skipped;
};

__global__ void square_chunks(const float* gradients, Segments segments, int64_t n, double* partial) {
  __shared__ double shared[32];
  const int64_t begin = (int64_t)blockIdx.x * kChunk, end = begin + kChunk < n ? begin + kChunk : n;
  double sum = 0;
  int64_t segment = segments.find(begin + threadIdx.x);
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    segment = segments.next(segment, i);
    if (segments.trainable[segment]) sum += (double)gradients[i] * gradients[i];
  }
  sum = block_sum(sum, shared);
  if (threadIdx.x == 0) partial[blockIdx.x] = sum;
}

__global__ void make_step(const double* partial, int64_t chunks, const float* hyper, Step* step, float* info) {
  __shared__ double shared[32];
  double sum = 0;
  for (int64_t c = threadIdx.x; c < chunks; c += blockDim.x) sum += partial[c];
  sum = block_sum(sum, shared);
  if (threadIdx.x) return;
  const double norm = sqrt(sum), clip = hyper[5], count = hyper[6];
  bool finite = isfinite(norm);
  for (int i = 0; i < 7; i++) finite = finite && isfinite(hyper[i]);
  step->skipped = !finite;
  step->scale = (float)(clip > 0 && clip < norm + 1e-6 ? clip / (norm + 1e-6) : 1.0);
  step->beta1 = hyper[1];
  step->beta2 = hyper[2];
  step->eps = hyper[3];
  step->decay = (float)(1 - (double)hyper[0] * hyper[4]);
  step->rate = (float)(hyper[0] / (1 - pow((double)hyper[1], count)));
  step->root = (float)(1 / sqrt(1 - pow((double)hyper[2], count)));
  info[0] = (float)norm;
  info[1] = finite ? 0.0f : 1.0f;
}

__global__ void update(const Step* step, Segments segments, int64_t n, float* p, float* g, float* m, float* v) {
  const Step s = *step;
  const int64_t begin = (int64_t)blockIdx.x * kChunk, end = begin + kChunk < n ? begin + kChunk : n;
  int64_t segment = segments.find(begin + threadIdx.x);
  for (int64_t i = begin + threadIdx.x; i < end; i += blockDim.x) {
    segment = segments.next(segment, i);
    if (segments.trainable[segment] && !s.skipped) {
      const float gradient = g[i] * s.scale;
      m[i] = s.beta1 * m[i] + (1 - s.beta1) * gradient;
      v[i] = s.beta2 * v[i] + (1 - s.beta2) * gradient * gradient;
      p[i] = p[i] * s.decay - s.rate * m[i] / (sqrtf(v[i]) * s.root + s.eps);
    }
    g[i] = 0;
  }
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_adamw(call)) return 1;
  *scratch_bytes = sizeof(Step) + 64 + (size_t)blocks_for(call->inputs[0].shape[0], kChunk) * sizeof(double);
  return 0;
}

int run(hk_call* call) {
  const hk_tensor* in = call->inputs;
  const int64_t n = in[0].shape[0], chunks = blocks_for(n, kChunk);
  const Segments segments = {i32(in[4]), u8(in[5]), in[4].shape[0]};
  Scratch scratch(call->scratch);
  Step* step = scratch.take<Step>(1);
  double* partial = scratch.take<double>(chunks);
  HK_LAUNCH(square_chunks, dim3((unsigned)chunks), dim3(kBlock), 0, stream_of(call), f32(in[1]), segments, n, partial);
  HK_LAUNCH(make_step, dim3(1), dim3(kBlock), 0, stream_of(call), partial, chunks, f32(in[6]), step, f32(call->outputs[0]));
  HK_LAUNCH(update, dim3((unsigned)chunks), dim3(kBlock), 0, stream_of(call), step, segments, n, f32(in[0]), f32(in[1]), f32(in[2]), f32(in[3]));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(adamw, {"adamw", prepare, run, nullptr, adamw_cost})
