// The few entry points of cuBLASLt that are used, declared here: neither its headers nor the library are needed to build. The library is
// opened at run time: $HUBERTKIT_CUBLASLT, the loader's path, the CUDA toolkit's folder, the Python packages of NVIDIA.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace hk {
namespace lt {

enum Compute { kCompute32F = 68 };
enum DataType { kR32F = 0, kR16BF = 14 };
enum MatmulAttribute { kTransA = 3, kTransB = 4, kEpilogue = 7, kBiasPointer = 8 };
enum Epilogue { kEpilogueDefault = 1, kEpilogueBias = 4 };
enum LayoutAttribute { kBatchCount = 5, kStridedBatchOffset = 6 };
enum ReductionScheme { kInComputeType = 2 };
enum PreferenceAttribute { kMaxWorkspaceBytes = 1, kReductionSchemes = 3, kMinAlignmentA = 5, kMinAlignmentB = 6, kMinAlignmentC = 7, kMinAlignmentD = 8 };

struct Algorithm { uint64_t data[8]; };
struct Heuristic {
  Algorithm algorithm;
  size_t    workspace;
  int       state;
  float     waves;
  int       reserved[4];
};
static_assert(sizeof(Heuristic) == 96, "cublasLtMatmulHeuristicResult_t has 96 bytes");

typedef void* Handle;      // cublasLtHandle_t, cublasLtMatmulDesc_t, cublasLtMatrixLayout_t, cublasLtMatmulPreference_t
typedef void* CudaStream;  // cudaStream_t

struct Library {
  int (*create)(Handle* library);
  int (*create_matmul)(Handle* matmul, int compute_type, int scale_type);
  int (*destroy_matmul)(Handle);
  int (*set_matmul)(Handle, int attribute, const void* value, size_t bytes);
  int (*create_layout)(Handle* layout, int data_type, uint64_t rows, uint64_t columns, int64_t leading);
  int (*destroy_layout)(Handle);
  int (*set_layout)(Handle, int attribute, const void* value, size_t bytes);
  int (*create_preference)(Handle* preference);
  int (*destroy_preference)(Handle);
  int (*set_preference)(Handle, int attribute, const void* value, size_t bytes);
  int (*heuristics)(Handle library, Handle matmul, Handle a, Handle b, Handle c, Handle d, Handle preference, int wanted, Heuristic* results, int* found);
  int (*matmul)(Handle library, Handle matmul, const void* alpha, const void* a, Handle a_layout, const void* b, Handle b_layout, const void* beta,
                const void* c, Handle c_layout, void* d, Handle d_layout, const Algorithm*, void* workspace, size_t workspace_bytes, CudaStream);
};

// NULL, with the reason in `*why`, when the library is not there. Opened once.
const Library* library(const char** why);

}  // namespace lt
}  // namespace hk
