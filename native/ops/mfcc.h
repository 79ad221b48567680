// mfcc: what every back-end's op file shares: the contract, its checks and the cost. Kaldi's MFCCs with their first and second differences,
// as native/audio/mfcc.h defines them.
//   wave[B,N], 16 kHz in +-1  ->  features[B,T,39], T = (N - 400) / 160 + 1
#pragma once
#include "audio/mfcc.h"
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {

struct MfccSizes { int64_t batch, samples, frames; };

static inline MfccSizes mfcc_sizes(const hk_call* call) {
  const hk_tensor& wave = call->inputs[0];
  return {wave.shape[0], wave.shape[1], (wave.shape[1] - audio::kWindow) / audio::kFrameShift + 1};
}

static inline int expect_mfcc(hk_call* call) {
  const char* op = "mfcc";
  const hk_tensor& wave = call->inputs[0];
  char text[96];
  if (expect_counts(call, op, 1, 1) || expect_dense(call, op, "the waveform", wave, HK_F32, 2)) return 1;
  if (wave.rank != 2 || wave.shape[1] < audio::kWindow)
    return fail(call, "%s: the waveform must be f32[B, N] with at least %d samples, got %s", op, audio::kWindow, describe(wave, text));
  const MfccSizes s = mfcc_sizes(call);
  return expect(call, op, "features", call->outputs[0], HK_F32, {s.batch, s.frames, audio::kMfccFeatures});
}

// Of a frame: windowing, 2.5 n log2 n of a real FFT, two filters for each line, the cosine transform.
static inline hk_cost mfcc_cost(const hk_call* call) {
  const MfccSizes s = mfcc_sizes(call);
  const double frames = (double)s.batch * s.frames, n = 512;
  return {frames * (5.0 * audio::kWindow + 2.5 * n * 9 + 2 * n + 2.0 * audio::kMfccFilters * audio::kMfccs),
          4 * ((double)s.batch * s.samples + frames * audio::kMfccFeatures)};
}

}  // namespace HK_ISA
}  // namespace hk
