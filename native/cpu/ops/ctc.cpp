// ctc: the contract and the formulas are in ops/ctc.h. Rows of the batch run in parallel, in a fixed number of slots, each with room
// for one row's alpha. Beta leaves the emission at its own frame out, so that alpha + beta is a path's log probability.
#include "cpu/op.h"
#include "cpu/softmax.h"
#include "hubertkit/scratch.h"
#include "ops/ctc.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kSlots = 16;

struct Sizes : CtcSizes {
  int64_t slots;
};
Sizes sizes_of(const hk_call* call) {
  const CtcSizes s = ctc_sizes(call);
  return {s, s.B < kSlots ? s.B : kSlots};
}

struct Slot {
  double *alpha, *beta, *next;  // [T, states], [states] twice
  float*  lse;                  // [T]
  int32_t* state;               // [states] the class of each state
};
Slot slot_layout(const Sizes& s, Scratch& scratch) {
  Slot w;
  w.alpha = scratch.take<double>(s.T * s.states);
  w.beta = scratch.take<double>(s.states);
  w.next = scratch.take<double>(s.states);
  w.lse = scratch.take<float>(s.T);
  w.state = scratch.take<int32_t>(s.states);
  return w;
}

int prepare(hk_call* call, size_t* scratch_bytes, void**) {
  if (expect_ctc(call)) return 1;
  const Sizes s = sizes_of(call);
  Scratch scratch(nullptr);
  for (int64_t i = 0; i < s.slots; i++) slot_layout(s, scratch);
  *scratch_bytes = scratch.bytes();
  return 0;
}

int check_values(hk_call* call, const Sizes& s, int32_t blank) {
  const int32_t *frames = i32(call->inputs[1]), *targets = i32(call->inputs[2]), *lengths = i32(call->inputs[3]);
  for (int64_t b = 0; b < s.B; b++) {
    if (frames[b] < 0 || frames[b] > s.T)
      return fail(call, "ctc: frame_lengths[%lld] = %d is not in 0..%lld", (long long)b, frames[b], (long long)s.T);
    if (lengths[b] < 0 || lengths[b] > s.S)
      return fail(call, "ctc: target_lengths[%lld] = %d is not in 0..%lld", (long long)b, lengths[b], (long long)s.S);
    for (int64_t i = 0; i < lengths[b]; i++) {
      const int32_t label = targets[b * s.S + i];
      if (!ctc_label_fits(label, s.V, blank))
        return fail(call, "ctc: targets[%lld, %lld] = %d is not a class in 0..%lld other than the blank %d", (long long)b,
                    (long long)i, label, (long long)s.V - 1, blank);
    }
  }
  return 0;
}

// Whether state s may be entered from s - 2: it is a label, and not the one before it.
inline bool skips(const int32_t* state, int64_t s, int32_t blank) {
  return s >= 2 && state[s] != blank && state[s] != state[s - 2];
}

// Fills alpha and returns log p(target).
double forward(const Slot& w, const float* logits, int64_t frames, int64_t states, int64_t V, int32_t blank) {
  for (int64_t t = 0; t < frames; t++) {
    const float* x = logits + t * V;
    w.lse[t] = log_sum_exp(x, V, row_max(x, V));
    double* now = w.alpha + t * states;
    const double* before = now - states;
    for (int64_t s = 0; s < states; s++) {
      double reach = s < 2 ? 0 : kLogZero;
      if (t > 0)
        reach = log_add(before[s], s >= 1 ? before[s - 1] : kLogZero, skips(w.state, s, blank) ? before[s - 2] : kLogZero);
      now[s] = reach == kLogZero ? kLogZero : reach + ((double)x[w.state[s]] - w.lse[t]);
    }
  }
  const double* end = w.alpha + (frames - 1) * states;
  return log_add(end[states - 1], states > 1 ? end[states - 2] : kLogZero, kLogZero);
}

void backward(const Slot& w, const float* logits, int64_t frames, int64_t states, int64_t V, int32_t blank, double log_p,
              float* gradient) {
  double *beta = w.beta, *next = w.next;
  for (int64_t t = frames - 1; t >= 0; t--) {
    const float* x = logits + t * V;
    float* g = gradient + t * V;
    const double* alpha = w.alpha + t * states;
    weighted_softmax(x, V, w.lse[t], 1, g);
    for (int64_t s = 0; s < states; s++) {
      if (t == frames - 1) beta[s] = s + 2 >= states ? 0 : kLogZero;
      else
        beta[s] = log_add(next[s], s + 1 < states ? next[s + 1] : kLogZero,
                          s + 2 < states && skips(w.state, s + 2, blank) ? next[s + 2] : kLogZero);
      if (alpha[s] != kLogZero && beta[s] != kLogZero) g[w.state[s]] -= __builtin_expf((float)(alpha[s] + beta[s] - log_p));
    }
    for (int64_t s = 0; s < states; s++)
      if (beta[s] != kLogZero) beta[s] += (double)x[w.state[s]] - w.lse[t];
    double* swap = beta;
    beta = next;
    next = swap;
  }
}

void run_row(const hk_call* call, const Sizes& s, const Slot& w, int32_t blank, bool zero_infinity, int64_t b) {
  const float* logits = f32(call->inputs[0]) + b * s.T * s.V;
  const int32_t* target = i32(call->inputs[2]) + b * s.S;
  const int64_t frames = i32(call->inputs[1])[b], length = i32(call->inputs[3])[b], states = 2 * length + 1;
  float *loss = f32(call->outputs[0]) + b, *gradient = f32(call->outputs[1]) + b * s.T * s.V;
  for (int64_t i = 0; i < states; i++) w.state[i] = i % 2 ? target[i / 2] : blank;
  double log_p = length == 0 ? 0 : kLogZero;
  if (frames > 0) log_p = forward(w, logits, frames, states, s.V, blank);
  const bool impossible = log_p == kLogZero;
  *loss = impossible ? (zero_infinity ? 0.0f : INFINITY) : (float)-log_p;
  const int64_t filled = impossible ? 0 : frames;
  if (filled > 0) backward(w, logits, frames, states, s.V, blank, log_p, gradient);
  memset(gradient + filled * s.V, 0, (size_t)((s.T - filled) * s.V) * sizeof(float));
}

int run(hk_call* call) {
  const Sizes s = sizes_of(call);
  const int32_t blank = (int32_t)attribute(call, "blank", 0);
  const bool zero_infinity = attribute(call, "zero_infinity", 0) != 0;
  if (check_values(call, s, blank)) return 1;
  Slot slots[kSlots];
  Scratch scratch(call->scratch);
  for (int64_t i = 0; i < s.slots; i++) slots[i] = slot_layout(s, scratch);
#pragma omp parallel for schedule(dynamic, 1)
  for (int64_t i = 0; i < s.slots; i++)
    for (int64_t b = i; b < s.B; b += s.slots) run_row(call, s, slots[i], blank, zero_infinity, b);
  return 0;
}

int run_grad(hk_call* call) {
  const hk_tensor& unit = call->inputs[0];
  const int64_t each = unit.shape[1] * unit.shape[2];
  const float *x = f32(unit), *weight = f32(call->inputs[1]);
  float* y = f32(call->outputs[0]);
  parallel_chunks(unit.shape[0], 1, [&](int64_t b, int64_t, int64_t) {
    for (int64_t i = 0; i < each; i++) y[b * each + i] = x[b * each + i] * weight[b];
  });
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(ctc, {"ctc", prepare, run, nullptr, ctc_cost}, {"ctc_grad", ctc_grad_prepare, run_grad, nullptr, ctc_grad_cost})
