// A library with the entry points of cuBLASLt that native/cuda/cublaslt.h declares, on the host: column-major products as the descriptors say.
// It asks for a workspace, which it overwrites, and refuses what the library refuses: pointers that are less aligned than was promised, a
// workspace that is too small or does not begin at a multiple of 256 bytes, leading dimensions smaller than the columns.
#include <string.h>

#include "cuda/cublaslt.h"
#include "hubertkit/bf16.h"

namespace {

using namespace hk::lt;
using hk::HK_ISA::bf16;

const int kInvalidValue = 7, kNotSupported = 15;
const size_t kWorkspace = 1000;

struct Matmul {
  int32_t     transposed[2] = {0, 0}, epilogue = kEpilogueDefault;
  const void* bias = nullptr;
};
struct Layout {
  int      type;
  uint64_t rows, columns;
  int64_t  leading, stride = 0;
  int32_t  count = 1;
};
struct Preference {
  size_t   workspace = 0;
  uint32_t reductions = 7, alignment[4] = {256, 256, 256, 256};  // of A, B, C, D
};

double read(const void* x, int type, int64_t i) { return type == kR16BF ? (double)(float)((const bf16*)x)[i] : (double)((const float*)x)[i]; }
void   write(void* x, int type, int64_t i, double value) {
  if (type == kR16BF) ((bf16*)x)[i] = (float)value;
  else ((float*)x)[i] = (float)value;
}
bool aligned(const void* x, uint32_t bytes) { return (uintptr_t)x % bytes == 0; }

// Element (i, j) of an operand, of one product of the batch.
double element(const void* x, const Layout& l, bool transposed, int64_t batch, int64_t i, int64_t j) {
  return read(x, l.type, batch * l.stride + (transposed ? j + i * l.leading : i + j * l.leading));
}

}  // namespace

extern "C" {

int cublasLtCreate(Handle* library) { return *library = (Handle)1, 0; }
int cublasLtMatmulDescCreate(Handle* made, int compute, int scale) {
  if (compute != kCompute32F || scale != kR32F) return kNotSupported;
  *made = new Matmul;
  return 0;
}
int cublasLtMatmulDescDestroy(Handle h) { return delete (Matmul*)h, 0; }
int cublasLtMatmulDescSetAttribute(Handle h, int attribute, const void* value, size_t bytes) {
  Matmul& m = *(Matmul*)h;
  if (attribute == kTransA || attribute == kTransB) return memcpy(&m.transposed[attribute - kTransA], value, bytes), bytes != 4 ? kInvalidValue : 0;
  if (attribute == kEpilogue) return memcpy(&m.epilogue, value, bytes), bytes != 4 ? kInvalidValue : 0;
  if (attribute == kBiasPointer) return memcpy(&m.bias, value, bytes), bytes != 8 ? kInvalidValue : 0;
  return kInvalidValue;
}
int cublasLtMatrixLayoutCreate(Handle* made, int type, uint64_t rows, uint64_t columns, int64_t leading) {
  if (leading < (int64_t)rows) return kInvalidValue;
  *made = new Layout{type, rows, columns, leading};
  return 0;
}
int cublasLtMatrixLayoutDestroy(Handle h) { return delete (Layout*)h, 0; }
int cublasLtMatrixLayoutSetAttribute(Handle h, int attribute, const void* value, size_t bytes) {
  Layout& l = *(Layout*)h;
  if (attribute == kBatchCount) return memcpy(&l.count, value, bytes), bytes != 4 ? kInvalidValue : 0;
  if (attribute == kStridedBatchOffset) return memcpy(&l.stride, value, bytes), bytes != 8 ? kInvalidValue : 0;
  return kInvalidValue;
}
int cublasLtMatmulPreferenceCreate(Handle* made) { return *made = new Preference, 0; }
int cublasLtMatmulPreferenceDestroy(Handle h) { return delete (Preference*)h, 0; }
int cublasLtMatmulPreferenceSetAttribute(Handle h, int attribute, const void* value, size_t bytes) {
  Preference& p = *(Preference*)h;
  if (attribute == kMaxWorkspaceBytes) return memcpy(&p.workspace, value, bytes), bytes != 8 ? kInvalidValue : 0;
  if (attribute == kReductionSchemes) return memcpy(&p.reductions, value, bytes), bytes != 4 ? kInvalidValue : 0;
  if (attribute >= kMinAlignmentA && attribute <= kMinAlignmentD)
    return memcpy(&p.alignment[attribute - kMinAlignmentA], value, bytes), bytes != 4 ? kInvalidValue : 0;
  return kInvalidValue;
}

int cublasLtMatmulAlgoGetHeuristic(Handle, Handle matmul, Handle a, Handle b, Handle c, Handle d, Handle preference, int wanted, Heuristic* results, int* found) {
  const Matmul& m = *(Matmul*)matmul;
  const Layout &A = *(Layout*)a, &B = *(Layout*)b, &C = *(Layout*)c;
  const Preference& p = *(Preference*)preference;
  const auto rows = [&](const Layout& l, int which) { return m.transposed[which] ? l.columns : l.rows; };
  const auto columns = [&](const Layout& l, int which) { return m.transposed[which] ? l.rows : l.columns; };
  *found = 0;
  if (c != d || rows(A, 0) != C.rows || columns(A, 0) != rows(B, 1) || columns(B, 1) != C.columns) return kInvalidValue;
  if (A.count != C.count || B.count != C.count || A.type != B.type) return kInvalidValue;
  if (wanted < 1 || p.workspace < kWorkspace || p.reductions != kInComputeType) return kNotSupported;
  *results = {};
  memcpy(results->algorithm.data, p.alignment, sizeof p.alignment);
  results->workspace = kWorkspace;
  *found = 1;
  return 0;
}

int cublasLtMatmul(Handle, Handle matmul, const void* alpha, const void* a, Handle a_layout, const void* b, Handle b_layout, const void* beta, const void* c,
                   Handle c_layout, void* d, Handle, const Algorithm* algorithm, void* workspace, size_t workspace_bytes, CudaStream) {
  const Matmul& m = *(Matmul*)matmul;
  const Layout &A = *(Layout*)a_layout, &B = *(Layout*)b_layout, &C = *(Layout*)c_layout;
  uint32_t alignment[4];
  memcpy(alignment, algorithm->data, sizeof alignment);
  if (workspace_bytes < kWorkspace || !aligned(workspace, 256)) return kInvalidValue;
  if (!aligned(a, alignment[0]) || !aligned(b, alignment[1]) || !aligned(c, alignment[2]) || !aligned(d, alignment[3])) return kInvalidValue;
  memset(workspace, 0xFF, workspace_bytes);
  const int64_t depth = m.transposed[0] ? A.rows : A.columns;
  for (int64_t batch = 0; batch < C.count; batch++)
    for (int64_t i = 0; i < (int64_t)C.rows; i++)
      for (int64_t j = 0; j < (int64_t)C.columns; j++) {
        double sum = 0;
        for (int64_t k = 0; k < depth; k++) sum += element(a, A, m.transposed[0], batch, i, k) * element(b, B, m.transposed[1], batch, k, j);
        const int64_t at = batch * C.stride + i + j * C.leading;
        sum = *(const float*)alpha * sum + (*(const float*)beta != 0 ? *(const float*)beta * read(c, C.type, at) : 0);
        if (m.epilogue == kEpilogueBias) sum += read(m.bias, C.type, i);
        write(d, C.type, at, sum);
      }
  return 0;
}

}  // extern "C"
