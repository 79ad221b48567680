// ctc: connectionist temporal classification (Graves et al., ICML 2006, sections 4.1-4.2), forward-backward in log space.
// inputs  logits[B,T,V]  frame_lengths i32[B]  targets i32[B,S]  target_lengths i32[B]
// attributes blank, zero_infinity
// outputs loss[B] = -ln p(target | logits) in nats, dlogits_unit[B,T,V] = d loss[b] / d logits[b]
//
// States s = 0 .. 2L: blank, target 0, blank, target 1, ..., blank. alpha[t][s]: log probability of all prefixes that end in
// state s at frame t, emission included; beta the same for suffixes, emission at t left out. The gradient is
// softmax(logits[t])[v] - sum over states s of v of exp(alpha + beta - log p). A target that does not fit into its frames
// (repeated labels need a blank between them) has loss +inf, or 0 with zero_infinity; its gradient is 0 either way.
// Frames behind frame_lengths get gradient 0.
//
// Values are double: a path's log probability reaches thousands, where a float's steps are too coarse for the gradient. The
// log of a sum needs only the differences to the largest term, and those are taken in float. Rows of the batch run in
// parallel, in a fixed number of slots, each with room for one row's alpha.
#include "cpu/op.h"
#include "hubertkit/scratch.h"
#include "cpu/softmax.h"

namespace hk {
namespace HK_ISA {
namespace {

const double kZero = -INFINITY;  // log 0
const int64_t kSlots = 16;

struct Sizes {
  int64_t B, T, V, S, states, slots;
};
Sizes sizes_of(const hk_call* call) {
  const hk_tensor &x = call->inputs[0], &y = call->inputs[2];
  Sizes s = {x.shape[0], x.shape[1], x.shape[2], y.shape[1], 2 * y.shape[1] + 1, 0};
  s.slots = s.B < kSlots ? s.B : kSlots;
  return s;
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
  const char* op = "ctc";
  if (expect_counts(call, op, 4, 2)) return 1;
  const hk_tensor *in = call->inputs, *out = call->outputs;
  if (in[0].rank != 3 || in[2].rank != 2) return fail(call, "ctc: logits must be [B, T, V] and targets [B, S]");
  if (elements(in[0]) < 1 || elements(in[2]) < 1) return fail(call, "ctc: empty tensor");
  const Sizes s = sizes_of(call);
  if (expect(call, op, "logits", in[0], HK_F32, {s.B, s.T, s.V}) ||
      expect(call, op, "frame_lengths", in[1], HK_I32, {s.B}) || expect(call, op, "targets", in[2], HK_I32, {s.B, s.S}) ||
      expect(call, op, "target_lengths", in[3], HK_I32, {s.B}) || expect(call, op, "loss", out[0], HK_F32, {s.B}) ||
      expect(call, op, "dlogits_unit", out[1], HK_F32, {s.B, s.T, s.V}))
    return 1;
  const double blank = attribute(call, "blank", 0);
  if (!(blank >= 0 && blank < s.V && blank == (int64_t)blank))
    return fail(call, "ctc: blank must be a class in 0..%lld, got %g", (long long)s.V - 1, blank);
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
      if (label < 0 || label >= s.V || label == blank)
        return fail(call, "ctc: targets[%lld, %lld] = %d is not a class in 0..%lld other than the blank %d", (long long)b,
                    (long long)i, label, (long long)s.V - 1, blank);
    }
  }
  return 0;
}

inline double log_add(double a, double b, double c) {
  const double largest = a > b ? (a > c ? a : c) : (b > c ? b : c);
  if (largest == kZero) return kZero;
  const float sum = __builtin_expf((float)(a - largest)) + __builtin_expf((float)(b - largest)) +
                    __builtin_expf((float)(c - largest));
  return largest + __builtin_logf(sum);
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
      double reach = s < 2 ? 0 : kZero;
      if (t > 0)
        reach = log_add(before[s], s >= 1 ? before[s - 1] : kZero, skips(w.state, s, blank) ? before[s - 2] : kZero);
      now[s] = reach == kZero ? kZero : reach + ((double)x[w.state[s]] - w.lse[t]);
    }
  }
  const double* end = w.alpha + (frames - 1) * states;
  return log_add(end[states - 1], states > 1 ? end[states - 2] : kZero, kZero);
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
      if (t == frames - 1) beta[s] = s + 2 >= states ? 0 : kZero;
      else
        beta[s] = log_add(next[s], s + 1 < states ? next[s + 1] : kZero,
                          s + 2 < states && skips(w.state, s + 2, blank) ? next[s + 2] : kZero);
      if (alpha[s] != kZero && beta[s] != kZero) g[w.state[s]] -= __builtin_expf((float)(alpha[s] + beta[s] - log_p));
    }
    for (int64_t s = 0; s < states; s++)
      if (beta[s] != kZero) beta[s] += (double)x[w.state[s]] - w.lse[t];
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
  double log_p = length == 0 ? 0 : kZero;
  if (frames > 0) log_p = forward(w, logits, frames, states, s.V, blank);
  const bool impossible = log_p == kZero;
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

hk_cost cost(const hk_call* call) {
  const Sizes s = sizes_of(call);
  return {10.0 * s.B * s.T * (s.states + s.V), 8.0 * s.B * s.T * s.V};
}

// ctc_grad: dlogits[b] = dloss[b] dlogits_unit[b]
int prepare_grad(hk_call* call, size_t*, void**) {
  const char* op = "ctc_grad";
  if (expect_counts(call, op, 2, 1)) return 1;
  const hk_tensor& unit = call->inputs[0];
  if (unit.rank != 3 || unit.dtype != HK_F32 || elements(unit) < 1) return fail(call, "ctc_grad: dlogits_unit must be f32 [B, T, V]");
  return expect(call, op, "dloss", call->inputs[1], HK_F32, {unit.shape[0]}) ||
         expect(call, op, "dlogits", call->outputs[0], HK_F32, unit.shape, 3);
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

hk_cost cost_grad(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 8 * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(ctc, {"ctc", prepare, run, nullptr, cost}, {"ctc_grad", prepare_grad, run_grad, nullptr, cost_grad})
