// The inner loop of the positional convolution and of both its gradients: rows of coefficients slid along rows of samples.
//
//   out[r, t] = sum over segments s and q < n of a[s*a_step + r*lda + q] * x[s*x_step + q + t],   r < rows, t < width
//
// In bf16 (factor.h) every second q makes a step: a holds pairs (a[q], a[q+1]), NEXT of them from one step to the next, and x holds
// at each place the sample there and the one after it. An odd n needs a zero behind it in a.
//
// Time is in the vector lanes, so that a group of 8 channels keeps the multipliers as busy as a group of 64: each step loads three
// neighbouring vectors of x (unaligned: the next step reads them one sample further) and multiplies them by one broadcast
// coefficient a row, 24 sums in registers on AVX-512. Reads of x go up to kCorrelatePad samples past q + width.
#pragma once
#include "cpu/factor.h"

namespace hk {
namespace HK_ISA {

// Rows of a tile: rows x 3 sums and 3 windows fit the machine's registers.
#if defined(__AVX512F__)
const int kTileRows = 8;
#else
const int kTileRows = 4;
#endif
const int64_t kCorrelatePad = 16;

template <int ROWS, int VECTORS, int NEXT, class Factor>
static inline void correlate_tile(const Factor* a, int64_t lda, int64_t a_step, const Factor* x, int64_t x_step, int64_t segments, int64_t n,
                                  float* out, int64_t ldo) {
  vk sums[ROWS][VECTORS] = {};
  for (int64_t s = 0; s < segments; s++) {
    const Factor *coefficients = a + s * a_step, *samples = x + s * x_step;
    for (int64_t q = 0; q < factors<Factor>(n); q++) {
      vk window[VECTORS];
      for (int v = 0; v < VECTORS; v++) window[v] = load_factors(samples + q * kNumbers<Factor> + v * kLanes);
      for (int r = 0; r < ROWS; r++) {
        const Factor w = coefficients[r * lda + q * NEXT];
        for (int v = 0; v < VECTORS; v++) sums[r][v] = multiply_add(sums[r][v], window[v], w);
      }
    }
  }
  for (int r = 0; r < ROWS; r++)
    for (int v = 0; v < VECTORS; v++) *(vku*)(out + r * ldo + v * kLanes) = sums[r][v];
}

template <int ROWS, int NEXT, class Factor>
static inline void correlate_rows(const Factor* a, int64_t lda, int64_t a_step, const Factor* x, int64_t x_step, int64_t segments, int64_t n,
                                  int64_t width, float* out, int64_t ldo) {
  int64_t t = 0;
  for (; t + 2 * kLanes < width; t += 3 * kLanes) correlate_tile<ROWS, 3, NEXT>(a, lda, a_step, x + t, x_step, segments, n, out + t, ldo);
  if (t + kLanes < width) correlate_tile<ROWS, 2, NEXT>(a, lda, a_step, x + t, x_step, segments, n, out + t, ldo);
  else if (t < width) correlate_tile<ROWS, 1, NEXT>(a, lda, a_step, x + t, x_step, segments, n, out + t, ldo);
}

// `width` outputs of each of `rows` <= kTileRows rows; `out` rows have room for width rounded up to 16.
template <int NEXT = 1, class Factor>
static inline void correlate(int64_t rows, const Factor* a, int64_t lda, int64_t a_step, const Factor* x, int64_t x_step, int64_t segments,
                             int64_t n, int64_t width, float* out, int64_t ldo) {
  while (rows > 0) {
    const int64_t take = rows >= 8 && kTileRows >= 8 ? 8 : rows >= 4 ? 4 : rows >= 2 ? 2 : 1;
    if (kTileRows >= 8 && take == 8) correlate_rows<kTileRows, NEXT>(a, lda, a_step, x, x_step, segments, n, width, out, ldo);
    else if (take == 4) correlate_rows<4, NEXT>(a, lda, a_step, x, x_step, segments, n, width, out, ldo);
    else if (take == 2) correlate_rows<2, NEXT>(a, lda, a_step, x, x_step, segments, n, width, out, ldo);
    else correlate_rows<1, NEXT>(a, lda, a_step, x, x_step, segments, n, width, out, ldo);
    rows -= take;
    a += take * lda;
    out += take * ldo;
  }
}

}  // namespace HK_ISA
}  // namespace hk
