#include "cpu/gemm.h"

#include <cpuid.h>

#include <oneapi/dnnl/dnnl.hpp>

namespace hk {
namespace {

using dnnl::memory;

dnnl::engine& engine() {
  static dnnl::engine e(dnnl::engine::kind::cpu, 0);
  return e;
}
dnnl::stream& stream() {
  static dnnl::stream s(engine());
  return s;
}

memory::data_type type_of(hk_dtype dtype) { return dtype == HK_BF16 ? memory::data_type::bf16 : memory::data_type::f32; }

class OneDnnMatmul final : public LibraryGemm {
 public:
  explicit OneDnnMatmul(const GemmShape& s) {
    a_ = memory::desc({s.m, s.k}, type_of(s.ab), memory::dims{s.a_row, s.a_column});
    b_ = memory::desc({s.k, s.n}, type_of(s.ab), memory::dims{s.b_row, s.b_column});
    c_ = memory::desc({s.m, s.n}, type_of(s.c), memory::dims{s.ldc, 1});
    if (s.bias) bias_ = memory::desc({1, s.n}, memory::data_type::f32, memory::dims{s.n, 1});
    has_bias_ = s.bias;
    dnnl::primitive_attr attr;
    attr.set_scratchpad_mode(dnnl::scratchpad_mode::user);
    if (s.accumulate) {
      dnnl::post_ops ops;
      ops.append_sum(1.f);
      attr.set_post_ops(ops);
    }
#if DNNL_VERSION_MAJOR < 3
    const dnnl::matmul::desc d = s.bias ? dnnl::matmul::desc(a_, b_, bias_, c_) : dnnl::matmul::desc(a_, b_, c_);
    const dnnl::matmul::primitive_desc pd(d, attr, engine());
#else
    const auto pd = s.bias ? dnnl::matmul::primitive_desc(engine(), a_, b_, bias_, c_, attr)
                           : dnnl::matmul::primitive_desc(engine(), a_, b_, c_, attr);
#endif
    scratch_ = pd.scratchpad_desc();
    primitive_ = dnnl::matmul(pd);
    // Memory objects are made once; only their data handles change from run to run.
    ma_ = memory(a_, engine(), nullptr);
    mb_ = memory(b_, engine(), nullptr);
    mc_ = memory(c_, engine(), nullptr);
    ms_ = memory(scratch_, engine(), nullptr);
    args_ = {{DNNL_ARG_SRC, ma_}, {DNNL_ARG_WEIGHTS, mb_}, {DNNL_ARG_DST, mc_}, {DNNL_ARG_SCRATCHPAD, ms_}};
    if (has_bias_) {
      mbias_ = memory(bias_, engine(), nullptr);
      args_.insert({DNNL_ARG_BIAS, mbias_});
    }
  }
  size_t scratch_bytes() const override { return scratch_.get_size(); }
  void run(const void* a, const void* b, void* c, const float* bias, void* scratch) const override {
    ma_.set_data_handle((void*)a);
    mb_.set_data_handle((void*)b);
    mc_.set_data_handle(c);
    ms_.set_data_handle(scratch);
    if (has_bias_) mbias_.set_data_handle((void*)bias);
    primitive_.execute(stream(), args_);
    stream().wait();
  }

 private:
  memory::desc a_, b_, c_, bias_, scratch_;
  bool has_bias_ = false;
  dnnl::matmul primitive_;
  mutable memory ma_, mb_, mc_, ms_, mbias_;
  std::unordered_map<int, memory> args_;
};

}  // namespace

const char* const kNoBf16 = "precision 'bf16' needs a processor with AVX512_BF16 or AMX; this one has neither, use precision 'f32'";

bool has_bf16() {
  unsigned a = 0, b = 0, c = 0, d = 0;
  const bool avx512_bf16 = __builtin_cpu_supports("avx512f") && __get_cpuid_count(7, 1, &a, &b, &c, &d) && (a >> 5 & 1);
  const bool amx_bf16 = __builtin_cpu_supports("avx512f") && __get_cpuid_count(7, 0, &a, &b, &c, &d) && (d >> 22 & 1);
  return avx512_bf16 || amx_bf16;
}

LibraryGemm* LibraryGemm::make(const GemmShape& shape) {
  if (shape.ab == HK_BF16 && !has_bf16()) return nullptr;
  try {
    return new OneDnnMatmul(shape);
  } catch (const std::exception&) {
    return nullptr;
  }
}

void gemm(bool trans_a, bool trans_b, int64_t m, int64_t n, int64_t k, float alpha, const float* a, int64_t lda,
          const float* b, int64_t ldb, float beta, float* c, int64_t ldc) {
  if (m == 0 || n == 0) return;
  dnnl_sgemm(trans_a ? 'T' : 'N', trans_b ? 'T' : 'N', m, n, k, alpha, a, lda, b, ldb, beta, c, ldc);
}

}  // namespace hk
