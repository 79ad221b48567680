// The host shim has no matrix library: all products take the tile kernel.
#include "cuda/lt_gemm.h"

namespace hk {
namespace HK_ISA {

Gemm* make_lt_gemm(const GemmShape&) { return nullptr; }

}  // namespace HK_ISA
}  // namespace hk
