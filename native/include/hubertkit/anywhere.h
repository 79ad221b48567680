// HK_ANYWHERE: of a function that CUDA kernels call too.
#pragma once
#if defined(__CUDACC__)
#define HK_ANYWHERE __host__ __device__
#else
#define HK_ANYWHERE
#endif
