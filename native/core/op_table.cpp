// The ops of one instruction set, or of CUDA: compiled once per set (HK_ISA), from the list that CMake makes of its op files.
#include <string.h>

#include "hubertkit/backend.h"

namespace hk {
namespace HK_ISA {

#define HK_OPS(name) extern const hk_op* const name##_ops; extern const int name##_op_count;
#include "op_files.inc"
#undef HK_OPS

const hk_op* find_op(const char* kind) {
#define HK_OPS(name) \
  for (int i = 0; i < name##_op_count; i++) \
    if (strcmp(name##_ops[i].kind, kind) == 0) return &name##_ops[i];
#include "op_files.inc"
#undef HK_OPS
  return nullptr;
}

}  // namespace HK_ISA
}  // namespace hk
