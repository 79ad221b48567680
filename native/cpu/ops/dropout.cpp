// dropout: the contract is in ops/elementwise.h.
#include "cpu/dropout.h"

#include "ops/elementwise.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 4096;

template <class T>
int dropout_as(hk_call* call) {
  const Dropout dropout(call);
  const T* x = data<T>(call->inputs[0]);
  T* y = data<T>(call->outputs[0]);
  const int64_t n = elements(call->inputs[0]);
  if (!dropout.on()) {
    memcpy((void*)y, x, (size_t)n * sizeof(T));
    return 0;
  }
  parallel_chunks(n, kGrain, [=](int64_t, int64_t begin, int64_t end) {
    alignas(64) uint32_t buffer[64];
    for (int64_t i = begin; i < end; i += 64) {
      const uint32_t* words = dropout.words((uint64_t)i, 64, buffer);
      const int64_t stop = i + 64 < end ? i + 64 : end;
      for (int64_t j = i; j < stop; j += 16) {
        const int left = (int)(stop - j);
        if (left >= 16) store(y + j, dropout.apply(load(x + j), words + (j - i)));
        else store_n(y + j, dropout.apply(load_n(x + j, left), words + (j - i)), left);
      }
    }
  });
  return 0;
}
int dropout_run(hk_call* call) { return HK_BY_TYPE(call->inputs[0], dropout_as, call); }

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(dropout, {"dropout", dropout_prepare, dropout_run, nullptr, unary_cost})
