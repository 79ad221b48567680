// ctc: the contract, the formulas and what becomes of a bad target are in ops/ctc.h.
// One block for each utterance and direction walks through the frames, its threads over the states: beta is alpha of the reversed
// utterance, so that one kernel makes both, side by side. They are kept for all frames; then one block a frame makes the probability
// of every state and the gradient. Each sum has one thread and one order.
#include "cuda/softmax.cuh"
#include "ops/ctc.h"

namespace hk {
namespace HK_ISA {
namespace {

const int kThreads = 128;  // of a frame of the gradient; those that walk are kBlock

struct Problem : CtcSizes {
  const float*   logits;
  const int32_t *frame_lengths, *targets, *target_lengths;
  int32_t blank;
  bool    zero_infinity;
};

Problem problem_of(const hk_call* call) {
  const hk_tensor* in = call->inputs;
  return {ctc_sizes(call), f32(in[0]), i32(in[1]), i32(in[2]), i32(in[3]), (int32_t)attribute(call, "blank", 0), attribute(call, "zero_infinity", 0) != 0};
}

// Scratch: what the kernels hand on.
struct Tables {
  double* reach;  // [2, B, T, states]: alpha; alpha of the reversed utterance
  double* log_p;  // [B]: ln p(target | logits), NaN where the target is bad
  float*  lse;    // [B, T]
  Tables(Scratch& scratch, const CtcSizes& s)
      : reach(scratch.take<double>(2 * s.B * s.T * s.states)), log_p(scratch.take<double>(s.B)), lse(scratch.take<float>(s.B * s.T)) {}
};

// One utterance, read from its end when `reversed`.
struct Utterance {
  const float *logits, *lse;
  const int32_t* targets;
  int64_t frames, states, V;
  int32_t blank;
  bool reversed;

  __device__ Utterance(const Problem& p, const float* all_lse, int64_t b, bool reversed_)
      : logits(p.logits + b * p.T * p.V), lse(all_lse + b * p.T), targets(p.targets + b * p.S), frames(p.frame_lengths[b]),
        states(2 * (int64_t)p.target_lengths[b] + 1), V(p.V), blank(p.blank), reversed(reversed_) {}
  __device__ int32_t label(int64_t s) const {
    if (reversed) s = states - 1 - s;
    return s % 2 ? targets[s / 2] : blank;
  }
  __device__ double emission(int64_t t, int64_t s) const {
    if (reversed) t = frames - 1 - t;
    return (double)logits[t * V + label(s)] - lse[t];
  }
  // Whether state s may be entered from s - 2: it is a label, and not the one before it.
  __device__ bool skips(int64_t s) const { return s >= 2 && s % 2 && label(s) != label(s - 2); }
};

// One warp a frame.
__global__ void frame_lse(const float* logits, int64_t frames, int64_t V, float* lse) {
  const int64_t r = row_index();
  if (r >= frames) return;
  const float value = row_loss(logits + r * V, V, 0).lse;
  if (threadIdx.x % 32 == 0) lse[r] = value;
}

// For all threads of the block.
__device__ bool is_bad(const Problem& p, int64_t b, int* shared) {
  const int64_t length = p.target_lengths[b], frames = p.frame_lengths[b];
  if (length < 0 || length > p.S || frames < 0 || frames > p.T) return true;
  int bad = 0;
  for (int64_t i = threadIdx.x; i < length; i += blockDim.x) bad |= !ctc_label_fits(p.targets[b * p.S + i], p.V, p.blank);
  return block_sum(bad, shared) > 0;
}

// grid (utterances, 2)
__global__ void walk(Problem p, Tables tables, float* loss) {
  __shared__ int shared[32];
  const int64_t b = blockIdx.x;
  const bool reversed = blockIdx.y == 1;
  if (is_bad(p, b, shared)) {
    if (threadIdx.x == 0 && !reversed) loss[b] = (float)(tables.log_p[b] = NAN);
    return;
  }
  const Utterance u(p, tables.lse, b, reversed);
  double* now = tables.reach + (blockIdx.y * p.B + b) * p.T * p.states;
  const double* before = now;
  for (int64_t t = 0; t < u.frames; t++) {
    for (int64_t s = threadIdx.x; s < u.states; s += blockDim.x) {
      double reach = s < 2 ? 0 : kLogZero;
      if (t > 0) reach = log_add(before[s], s >= 1 ? before[s - 1] : kLogZero, u.skips(s) ? before[s - 2] : kLogZero);
      now[s] = reach == kLogZero ? kLogZero : reach + u.emission(t, s);
    }
    __syncthreads();
    before = now;
    now += p.states;
  }
  if (threadIdx.x || reversed) return;
  double log_p = u.states == 1 ? 0 : kLogZero;
  if (u.frames > 0) log_p = log_add(before[u.states - 1], u.states > 1 ? before[u.states - 2] : kLogZero, kLogZero);
  tables.log_p[b] = log_p;
  loss[b] = log_p == kLogZero ? (p.zero_infinity ? 0.0f : INFINITY) : (float)-log_p;
}

// grid utterances x frames. Probabilities take alpha's place.
__global__ void frame_gradient(Problem p, Tables tables, float* gradient) {
  const int64_t b = blockIdx.x / p.T, t = blockIdx.x % p.T;
  const double log_p = tables.log_p[b];
  gradient += blockIdx.x * p.V;
  if (log_p != log_p || log_p == kLogZero || t >= p.frame_lengths[b]) {
    for (int64_t v = threadIdx.x; v < p.V; v += kThreads) gradient[v] = log_p != log_p ? NAN : 0.0f;
    return;
  }
  const Utterance u(p, tables.lse, b, false);
  double* probability = tables.reach + blockIdx.x * p.states;
  const double* beta = tables.reach + ((p.B + b) * p.T + u.frames - 1 - t) * p.states;
  for (int64_t s = threadIdx.x; s < u.states; s += kThreads) {
    const double before = probability[s], behind = beta[u.states - 1 - s];  // the emission is in both
    probability[s] = before == kLogZero || behind == kLogZero ? 0 : expf((float)(before + behind - u.emission(t, s) - log_p));
  }
  __syncthreads();
  for (int64_t v = threadIdx.x; v < p.V; v += kThreads) {
    float sum = expf(u.logits[t * p.V + v] - u.lse[t]);
    for (int64_t s = 0; s < u.states; s++)
      if (u.label(s) == v) sum -= (float)probability[s];
    gradient[v] = sum;
  }
}

__global__ void scale_rows(const float* x, const float* weight, int64_t n, int64_t each, float* y) {
  const int64_t i = element_index();
  if (i < n) y[i] = x[i] * weight[i / each];
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_ctc(call)) return 1;
  Scratch scratch(nullptr);
  Tables(scratch, ctc_sizes(call));
  *scratch_bytes = scratch.bytes();
  return 0;
}

int run(hk_call* call) {
  const Problem p = problem_of(call);
  Scratch scratch(call->scratch);
  const Tables tables(scratch, p);
  const int64_t frames = p.B * p.T;
  HK_LAUNCH(frame_lse, row_grid(frames), dim3(kRowBlock), 0, stream_of(call), p.logits, frames, p.V, tables.lse);
  HK_LAUNCH(walk, dim3((unsigned)p.B, 2), dim3(kBlock), 0, stream_of(call), p, tables, f32(call->outputs[0]));
  HK_LAUNCH(frame_gradient, dim3((unsigned)frames), dim3(kThreads), 0, stream_of(call), p, tables, f32(call->outputs[1]));
  return launched(call);
}

int run_grad(hk_call* call) {
  const hk_tensor& unit = call->inputs[0];
  const int64_t n = elements(unit);
  HK_LAUNCH(scale_rows, element_grid(n), dim3(kBlock), 0, stream_of(call), f32(unit), f32(call->inputs[1]), n, unit.shape[1] * unit.shape[2],
            f32(call->outputs[0]));
  return launched(call);
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(ctc, {"ctc", prepare, run, nullptr, ctc_cost}, {"ctc_grad", ctc_grad_prepare, run_grad, nullptr, ctc_grad_cost})
