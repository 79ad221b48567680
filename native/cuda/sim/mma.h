// Host models of the instructions of cuda/mma.cuh, as the PTX ISA describes them: what each lane holds, and which lane's address counts for
// what. A copy to shared memory happens at once or as late as it may, by chance: both a missing wait and a buffer that is still being read show.
#pragma once
#include "cuda/sim/sim.h"

namespace hk {
namespace sim {

// What all 32 lanes brought along.
template <class T>
void gather(WarpOp op, T value, T (&all)[32]) {
  uint64_t bits = 0;
  memcpy(&bits, &value, sizeof value);
  const uint64_t* brought = wait_for_warp(~0u, op, bits);
  for (int i = 0; i < 32; i++) memcpy(&all[i], &brought[i], sizeof value);
}

inline float half_of(uint32_t pair, int half) {
  const uint32_t bits = (half ? pair >> 16 : pair & 0xffff) << 16;
  float x;
  memcpy(&x, &bits, sizeof x);
  return x;
}

inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  uint64_t left[2][32], right[32];  // the registers of A by k / 8, those of B
  gather(WarpOp::mma, a[0] | (uint64_t)a[1] << 32, left[0]);
  gather(WarpOp::mma, a[2] | (uint64_t)a[3] << 32, left[1]);
  gather(WarpOp::mma, b0 | (uint64_t)b1 << 32, right);
  for (int r = 0; r < 4; r++) {
    const int row = lane() / 4 + r / 2 * 8, column = lane() % 4 * 2 + r % 2;
    for (int k = 0; k < 16; k++) {
      const uint64_t pairs_a = left[k / 8][row % 8 * 4 + k % 8 / 2], pairs_b = right[column * 4 + k % 8 / 2];
      d[r] += half_of((uint32_t)(pairs_a >> row / 8 * 32), k % 2) * half_of((uint32_t)(pairs_b >> k / 8 * 32), k % 2);
    }
  }
}

inline void load_matrices(uint32_t (&r)[4], const void* row, bool transposed) {
  const unsigned char* rows[32];
  gather(WarpOp::ldmatrix, (const unsigned char*)row, rows);
  expect_aligned("ldmatrix", row, 16);
  const int g = lane() / 4, t = lane() % 4;
  for (int i = 0; i < 4; i++)
    for (int half = 0; half < 2; half++) {
      const int line = transposed ? 2 * t + half : g, column = transposed ? g : 2 * t + half;
      memcpy((unsigned char*)&r[i] + 2 * half, rows[8 * i + line] + 2 * column, 2);
    }
}
inline void ldmatrix_x4(uint32_t (&r)[4], const void* row) { load_matrices(r, row, false); }
inline void ldmatrix_x4_transposed(uint32_t (&r)[4], const void* row) { load_matrices(r, row, true); }

template <int BYTES>
void copy_async(void* to, const void* from, bool present) {
  expect_aligned("cp.async", to, BYTES);
  expect_aligned("cp.async", from, BYTES);
  copy_now_or_later(to, present ? from : nullptr, BYTES);
}
inline void wait_for_copies() { finish_copies(); }

}  // namespace sim
}  // namespace hk
