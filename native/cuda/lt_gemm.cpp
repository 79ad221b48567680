// Row-major C[m, n] = A B is column-major C'[n, m] = B' A': B is the first operand of the library and A the second. Sums are f32, of f32
// (no TF32) or of bf16, also where K is split: parts that are added up in bf16 would be rounded more than once. The algorithm is the
// library's first proposal, asked for once for each shape.
#include "cuda/lt_gemm.h"

#include <cuda_runtime.h>

#include <array>
#include <map>
#include <mutex>

#include "cuda/cublaslt.h"
#include "hubertkit/op.h"

namespace hk {
namespace HK_ISA {
namespace {

const size_t kMostWorkspace = 32u << 20;
const size_t kAlignment = 256;  // of the workspace
size_t aligned(size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

// The library's handle of the current device; NULL when there is none.
lt::Handle handle_of(const lt::Library* library) {
  static std::mutex mutex;
  static std::map<int, lt::Handle>* handles = new std::map<int, lt::Handle>;
  int device = 0;
  if (cudaGetDevice(&device) != cudaSuccess) return nullptr;
  std::lock_guard<std::mutex> lock(mutex);
  lt::Handle& handle = (*handles)[device];
  if (!handle && library->create(&handle) != 0) handle = nullptr;
  return handle;
}

struct Operand { uint64_t rows, columns; int64_t leading; int32_t transposed; };

// The operand of `rows` x `columns` (column-major) whose element (i, j) lies at i * row + j * column.
Operand operand(int64_t rows, int64_t columns, int64_t row, int64_t column) {
  if (row == 1) return {(uint64_t)rows, (uint64_t)columns, column > rows ? column : rows, 0};
  return {(uint64_t)columns, (uint64_t)rows, row > columns ? row : columns, 1};
}

// Rows that overlap cannot be described to the library.
bool overlaps(int64_t rows, int64_t columns, int64_t row, int64_t column) {
  return row == 1 ? column < rows && columns > 1 : row < columns && rows > 1;
}

class LtGemm final : public Gemm {
 public:
  LtGemm(const lt::Library* library, lt::Handle handle, const GemmShape& shape) : lt_(library), handle_(handle), shape_(shape) {
    good_ = describe() && choose();
  }
  ~LtGemm() override {
    for (lt::Handle layout : {a_, b_, c_})
      if (layout) lt_->destroy_layout(layout);
    if (matmul_) lt_->destroy_matmul(matmul_);
  }
  bool good() const { return good_; }
  size_t scratch_bytes() const override { return bias_bytes() + (chosen_.workspace ? kAlignment + chosen_.workspace : 0); }
  int run(hk_call* call, const void* a, const void* b, void* c, const float* f32_bias, void* scratch) const override {
    const float one = 1, beta = shape_.accumulate ? 1.0f : 0.0f;
    const void* bias = bias_bytes() ? scratch : f32_bias;
    if (bias_bytes()) round_to_bf16(call->stream, f32_bias, shape_.n, scratch);
    void* workspace = chosen_.workspace ? (void*)aligned((uintptr_t)scratch + bias_bytes()) : nullptr;
    int status = shape_.bias ? lt_->set_matmul(matmul_, lt::kBiasPointer, &bias, sizeof bias) : 0;
    if (status == 0)
      status = lt_->matmul(handle_, matmul_, &one, b, a_, a, b_, &beta, c, c_, c, c_, &chosen_.algorithm, workspace, chosen_.workspace, call->stream);
    return status == 0 ? 0 : fail(call, "cuBLASLt: status %d for a product of %lld x %lld x %lld", status, (long long)shape_.m, (long long)shape_.n, (long long)shape_.k);
  }

 private:
  // Scratch for the bias in bf16: the library knows no f32 bias for a C of bf16.
  size_t bias_bytes() const { return shape_.bias && shape_.c == HK_BF16 ? aligned((size_t)shape_.n * 2) : 0; }
  bool layout(lt::Handle* made, hk_dtype dtype, const Operand& o, int64_t stride) {
    const int32_t count = (int32_t)shape_.batch;
    return lt_->create_layout(made, dtype == HK_BF16 ? lt::kR16BF : lt::kR32F, o.rows, o.columns, o.leading) == 0 &&
           lt_->set_layout(*made, lt::kBatchCount, &count, sizeof count) == 0 && lt_->set_layout(*made, lt::kStridedBatchOffset, &stride, sizeof stride) == 0;
  }
  bool describe() {
    const GemmShape& s = shape_;
    const Operand first = operand(s.n, s.k, s.b_column, s.b_row), second = operand(s.k, s.m, s.a_column, s.a_row);
    const Operand result = operand(s.n, s.m, 1, s.ldc);
    const int32_t epilogue = s.bias ? lt::kEpilogueBias : lt::kEpilogueDefault;
    return lt_->create_matmul(&matmul_, lt::kCompute32F, lt::kR32F) == 0 &&
           lt_->set_matmul(matmul_, lt::kTransA, &first.transposed, sizeof first.transposed) == 0 &&
           lt_->set_matmul(matmul_, lt::kTransB, &second.transposed, sizeof second.transposed) == 0 &&
           lt_->set_matmul(matmul_, lt::kEpilogue, &epilogue, sizeof epilogue) == 0 && layout(&a_, s.ab, first, s.b_batch) &&
           layout(&b_, s.ab, second, s.a_batch) && layout(&c_, s.c, result, s.c_batch);
  }
  bool choose() {
    static std::mutex mutex;
    static auto* known = new std::map<std::array<int64_t, 18>, lt::Heuristic>;
    const GemmShape& s = shape_;
    int device = 0;
    cudaGetDevice(&device);
    const std::array<int64_t, 18> key = {s.m, s.n, s.k, s.a_row, s.a_column, s.b_row, s.b_column, s.ldc, s.accumulate, s.bias, s.ab, s.c,
                                         s.batch, s.a_batch, s.b_batch, s.c_batch, s.step, device};
    std::lock_guard<std::mutex> lock(mutex);
    const auto found = known->find(key);
    if (found != known->end()) {
      chosen_ = found->second;
      return true;
    }
    lt::Handle preference = nullptr;
    if (lt_->create_preference(&preference) != 0) return false;
    const Alignment pointers = alignment_of(s);
    const uint32_t reductions = lt::kInComputeType;
    int status = lt_->set_preference(preference, lt::kMaxWorkspaceBytes, &kMostWorkspace, sizeof kMostWorkspace), count = 0;
    status |= lt_->set_preference(preference, lt::kReductionSchemes, &reductions, sizeof reductions);
    for (int attribute : {lt::kMinAlignmentA, lt::kMinAlignmentB}) status |= lt_->set_preference(preference, attribute, &pointers.inputs, sizeof pointers.inputs);
    for (int attribute : {lt::kMinAlignmentC, lt::kMinAlignmentD}) status |= lt_->set_preference(preference, attribute, &pointers.output, sizeof pointers.output);
    if (status == 0) status = lt_->heuristics(handle_, matmul_, a_, b_, c_, c_, preference, 1, &chosen_, &count);
    lt_->destroy_preference(preference);
    if (status != 0 || count < 1 || chosen_.state != 0) return false;
    (*known)[key] = chosen_;
    return true;
  }

  const lt::Library* lt_;
  lt::Handle handle_, matmul_ = nullptr, a_ = nullptr, b_ = nullptr, c_ = nullptr;
  GemmShape shape_;
  lt::Heuristic chosen_ = {};
  bool good_ = false;
};

}  // namespace

Gemm* make_lt_gemm(const GemmShape& s) {
  const char* why = nullptr;
  const lt::Library* library = lt::library(&why);
  if (!library || overlaps(s.n, s.k, s.b_column, s.b_row) || overlaps(s.k, s.m, s.a_column, s.a_row)) return nullptr;
  const lt::Handle handle = handle_of(library);
  if (!handle) return nullptr;
  LtGemm* made = new LtGemm(library, handle, s);
  if (made->good()) return made;
  delete made;
  return nullptr;
}

}  // namespace HK_ISA
}  // namespace hk
