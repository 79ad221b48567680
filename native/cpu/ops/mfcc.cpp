// mfcc on the CPU: the contract is in ops/mfcc.h, the work in native/audio/mfcc.cpp.
#include "cpu/op.h"
#include "ops/mfcc.h"

namespace hk {
namespace HK_ISA {
namespace {

int prepare(hk_call* call, size_t*, void**) { return expect_mfcc(call); }

int run(hk_call* call) {
  const MfccSizes s = mfcc_sizes(call);
  const float* wave = f32(call->inputs[0]);
  float* features = f32(call->outputs[0]);
  parallel_chunks(s.batch, 1, [&](int64_t b, int64_t, int64_t) {
    audio::mfcc39(wave + b * s.samples, (size_t)s.samples, features + b * s.frames * audio::kMfccFeatures);
  });
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mfcc, {"mfcc", prepare, run, nullptr, mfcc_cost})
