// mfcc: the contract is in ops/mfcc.h. The spectrum of all frames is one matrix product with the window times the Fourier matrix, in f32:
// twenty times the arithmetic of an FFT and still little of it (41 MFLOP for a second of audio). The tables are made in f64 by each run; they
// cost no more than a second of audio does.
#include "audio/mfcc.h"
#include "cuda/gemm.h"
#include "cuda/reduce.cuh"
#include "ops/mfcc.h"

namespace hk {
namespace HK_ISA {
namespace {

using namespace audio;
const int kPoints = 512, kLines = kPoints / 2, kSpectrum = 2 * kLines;  // a spectrum: real and imaginary part of each line
const float kFloor = 1.1920928955078125e-7f;
const double kPi = 3.14159265358979323846;

struct Tables {
  float fourier[kWindow][kSpectrum];
  float filters[kLines][kMfccFilters];
  float cepstrum[kMfccFilters][kMfccs];  // orthonormal DCT-II times the lifter
};

// grid kWindow, block kSpectrum. Line k of the spectrum of a windowed frame: sum_n window[n] x[n] exp(-2 pi i n k / 512).
__global__ void fourier_kernel(Tables* t) {
  const int n = (int)blockIdx.x, line = (int)threadIdx.x / 2;
  const double window = pow(0.5 - 0.5 * cos(2 * kPi * n / (kWindow - 1)), 0.85), angle = 2 * kPi * (n * line % kPoints) / kPoints;
  t->fourier[n][threadIdx.x] = (float)(window * (threadIdx.x % 2 ? -sin(angle) : cos(angle)));
}

__device__ double mel(double hz) { return 1127 * log(1 + hz / 700); }

// grid kMfccFilters, block kLines. Triangles that are equally spaced in mel; the first threads make a column of the cosine transform.
__global__ void filter_kernel(Tables* t) {
  const int f = (int)blockIdx.x, i = (int)threadIdx.x;
  const double low = mel(20), step = (mel(8000) - low) / (kMfccFilters + 1), place = (mel(i * 16000.0 / kPoints) - low) / step - f;
  t->filters[i][f] = (float)(place <= 0 || place >= 2 ? 0 : place <= 1 ? place : 2 - place);
  if (i >= kMfccs) return;
  const double scale = sqrt((i == 0 ? 1.0 : 2.0) / kMfccFilters), lifter = 1 + 0.5 * 22 * sin(kPi * i / 22);
  t->cepstrum[f][i] = (float)(scale * lifter * cos(kPi / kMfccFilters * (f + 0.5) * i));
}

// One warp a frame: DC removed, pre-emphasised.
__global__ void frame_kernel(const float* wave, MfccSizes s, float* frames) {
  const int64_t r = row_index();
  if (r >= s.batch * s.frames) return;
  const float* x = wave + r / s.frames * s.samples + r % s.frames * kFrameShift;
  const int lane = threadIdx.x % 32;
  float sum = 0;
  for (int n = lane; n < kWindow; n += 32) sum += x[n];
  const float mean = warp_sum(sum) * (1.0f / kWindow);
  for (int n = lane; n < kWindow; n += 32) frames[r * kWindow + n] = (x[n] - mean) - 0.97f * (x[n > 0 ? n - 1 : 0] - mean);
}

// One warp a frame: the first kMfccs features.
__global__ void cepstrum_kernel(const float* spectra, const Tables* t, int64_t rows, float* features) {
  __shared__ float power[kRowWarps][kLines], energy[kRowWarps][kMfccFilters];
  const int64_t r = row_index();
  if (r >= rows) return;
  const int lane = threadIdx.x % 32, warp = (int)threadIdx.x / 32;
  for (int k = lane; k < kLines; k += 32) {
    const float re = spectra[r * kSpectrum + 2 * k], im = spectra[r * kSpectrum + 2 * k + 1];
    power[warp][k] = re * re + im * im;
  }
  __syncwarp();
  if (lane < kMfccFilters) {
    float sum = 0;
    for (int k = 0; k < kLines; k++) sum += power[warp][k] * t->filters[k][lane];
    energy[warp][lane] = logf(fmaxf(sum, kFloor));
  }
  __syncwarp();
  if (lane >= kMfccs) return;
  float sum = 0;
  for (int f = 0; f < kMfccFilters; f++) sum += energy[warp][f] * t->cepstrum[f][lane];
  features[r * kMfccFeatures + lane] = sum;
}

// grid over rows * kMfccs. The kMfccs columns from `from` on make those that follow: sum over n = 1, 2 of n (x[t + n] - x[t - n]) / 10, edges
// repeated.
__global__ void delta_kernel(MfccSizes s, int from, float* features) {
  const int64_t e = element_index(), r = e / kMfccs, t = r % s.frames;
  if (r >= s.batch * s.frames) return;
  const float* column = features + (r - t) * kMfccFeatures + from + e % kMfccs;
  const auto at = [&](int64_t frame) { return column[(frame < 0 ? 0 : frame < s.frames ? frame : s.frames - 1) * kMfccFeatures]; };
  features[r * kMfccFeatures + from + kMfccs + e % kMfccs] = ((at(t + 1) - at(t - 1)) + 2 * (at(t + 2) - at(t - 2))) * 0.1f;
}

struct Layout {
  Tables* tables;
  float *frames, *spectra;  // [B*T, kWindow], [B*T, kSpectrum]
  void*  own;               // of the product
  Layout(const hk_call* call, const MfccSizes& s, Scratch& scratch) {
    tables = scratch.take<Tables>(1);
    frames = scratch.take<float>(s.batch * s.frames * kWindow);
    spectra = scratch.take<float>(s.batch * s.frames * kSpectrum);
    own = (char*)call->scratch + scratch.bytes();
  }
};

int prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_mfcc(call)) return 1;
  const MfccSizes s = mfcc_sizes(call);
  Gemm* product = Gemm::make(call, {s.batch * s.frames, kSpectrum, kWindow, kWindow, 1, kSpectrum, 1, kSpectrum, false, false});
  *state = product;
  if (!product) return 1;
  Scratch scratch(nullptr);
  Layout(call, s, scratch);
  *scratch_bytes = scratch.bytes() + product->scratch_bytes();
  return 0;
}

int run(hk_call* call) {
  const MfccSizes s = mfcc_sizes(call);
  Scratch scratch(call->scratch);
  const Layout l(call, s, scratch);
  const int64_t rows = s.batch * s.frames;
  const cudaStream_t stream = stream_of(call);
  float* features = f32(call->outputs[0]);
  HK_LAUNCH(fourier_kernel, dim3(kWindow), dim3(kSpectrum), 0, stream, l.tables);
  HK_LAUNCH(filter_kernel, dim3(kMfccFilters), dim3(kLines), 0, stream, l.tables);
  HK_LAUNCH(frame_kernel, row_grid(rows), dim3(kRowBlock), 0, stream, f32(call->inputs[0]), s, l.frames);
  if (((const Gemm*)call->state)->run(call, l.frames, l.tables->fourier, l.spectra, nullptr, l.own)) return 1;
  HK_LAUNCH(cepstrum_kernel, row_grid(rows), dim3(kRowBlock), 0, stream, l.spectra, l.tables, rows, features);
  for (int from : {0, kMfccs}) HK_LAUNCH(delta_kernel, element_grid(rows * kMfccs), dim3(kBlock), 0, stream, s, from, features);
  return launched(call);
}

void release(void* state) { delete (Gemm*)state; }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(mfcc, {"mfcc", prepare, run, release, mfcc_cost})
