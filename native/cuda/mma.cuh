// The instructions of a warp that attention on tensor cores is made of (sm_80 and newer), and what goes into and comes out of them. The shim
// has a model of each in sim/mma.h. Sections are those of the PTX ISA 9.0.
//
// mma_m16n8k16: D = A B + D, bf16 times bf16 into f32. Fragments (9.7.14.5.8), with g = lane / 4 and t = lane % 4; a register of A or B
// holds two neighbours of its k, the first in the low half (h = 0):
//   A 16 x 16   register r: row g + 8 (r % 2), column 2 t + h + 8 (r / 2)
//   B 16 x 8    register r: row 2 t + h + 8 r, column g
//   D 16 x 8    register r: row g + 8 (r / 2), column 2 t + r % 2
// So two neighbouring D (16 columns), rounded and packed, are one A: as_left_operand.
//
// ldmatrix_x4 (9.7.14.5.15): four 8 x 8 matrices from shared memory, register r from the matrix whose rows begin where lanes 8 r .. 8 r + 7
// point: element (g, 2 t + h). ldmatrix_x4_transposed: element (2 t + h, g). Rows begin at multiples of 16 bytes.
//
// copy_async (cp.async, 9.7.9.25.3.1): 4 or 16 bytes from global to shared memory, zeros when not `present`. They are there for the thread
// that asked after wait_for_copies, for the others after the next __syncthreads.
#pragma once
#include "cuda/cuda_op.h"
#if !defined(__CUDACC__)
#include "cuda/sim/mma.h"
#endif

namespace hk {
namespace HK_ISA {

#if defined(__CUDACC__)
__device__ static inline void mma_m16n8k16(float (&d)[4], const uint32_t (&a)[4], uint32_t b0, uint32_t b1) {
  asm volatile("mma.sync.aligned.m16n8k16.row.col.f32.bf16.bf16.f32 {%0, %1, %2, %3}, {%4, %5, %6, %7}, {%8, %9}, {%0, %1, %2, %3};"
               : "+f"(d[0]), "+f"(d[1]), "+f"(d[2]), "+f"(d[3])
               : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "r"(b0), "r"(b1));
}

__device__ static inline uint32_t shared_address(const void* p) { return (uint32_t)__cvta_generic_to_shared(p); }

__device__ static inline void ldmatrix_x4(uint32_t (&r)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}
__device__ static inline void ldmatrix_x4_transposed(uint32_t (&r)[4], const bf16* row) {
  asm volatile("ldmatrix.sync.aligned.m8n8.x4.trans.shared.b16 {%0, %1, %2, %3}, [%4];"
               : "=r"(r[0]), "=r"(r[1]), "=r"(r[2]), "=r"(r[3]) : "r"(shared_address(row)) : "memory");
}

template <int BYTES>
__device__ static inline void copy_async(void* to, const void* from, bool present) {
  static_assert(BYTES == 4 || BYTES == 16, "what cp.async copies");
  if (BYTES == 16)
    asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(present ? 16 : 0) : "memory");
  else
    asm volatile("cp.async.ca.shared.global [%0], [%1], 4, %2;" ::"r"(shared_address(to)), "l"(__cvta_generic_to_global(from)), "r"(present ? 4 : 0) : "memory");
}
__device__ static inline void wait_for_copies() { asm volatile("cp.async.wait_all;" ::: "memory"); }

// Two neighbours of a bf16 matrix at an even column.
__device__ static inline uint32_t load_pair(const bf16* x) { return *(const uint32_t*)x; }
__device__ static inline void store_pair(bf16* x, uint32_t pair) { *(uint32_t*)x = pair; }

// 2^x within 2 ulp; 0 below 2^-126.
__device__ static inline float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
}
#else
using sim::copy_async;
using sim::ldmatrix_x4;
using sim::ldmatrix_x4_transposed;
using sim::mma_m16n8k16;
using sim::wait_for_copies;
static inline uint32_t load_pair(const bf16* x) {
  uint32_t pair;
  memcpy(&pair, x, sizeof pair);
  return pair;
}
static inline void store_pair(bf16* x, uint32_t pair) { memcpy((void*)x, &pair, sizeof pair); }
static inline float exp2_of(float x) { return exp2f(x); }
#endif

// The two of a pair.
__device__ static inline float low(uint32_t pair) {
  bf16 x;
  x.bits = (uint16_t)pair;
  return x;
}
__device__ static inline float high(uint32_t pair) { return low(pair >> 16); }
__device__ static inline uint32_t pack(float low, float high) { return bf16(low).bits | (uint32_t)bf16(high).bits << 16; }
// The 16 x 16 matrix of two neighbouring D.
__device__ static inline void as_left_operand(const float (&left)[4], const float (&right)[4], uint32_t (&a)[4]) {
  a[0] = pack(left[0], left[1]);
  a[1] = pack(left[2], left[3]);
  a[2] = pack(right[0], right[1]);
  a[3] = pack(right[2], right[3]);
}

}  // namespace HK_ISA
}  // namespace hk
