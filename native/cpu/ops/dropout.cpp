// dropout: y = x / (1 - p) where the element's Philox word says keep, else 0. Its gradient is the same op on dy.
#include "cpu/dropout.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 4096;

int dropout_prepare(hk_call* call, size_t* scratch_bytes, void** state) {
  if (expect_counts(call, "dropout", 1, 1) || expect_activation(call, "dropout", "x", call->inputs[0], 0)) return 1;
  if (expect_dropout(call, "dropout")) return 1;
  return expect_like(call, "dropout", "y", call->outputs[0], call->inputs[0]);
}

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

hk_cost dropout_cost(const hk_call* call) {
  const double n = (double)elements(call->inputs[0]);
  return {n, 2.0 * element_bytes(call->inputs[0]) * n};
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(dropout, {"dropout", dropout_prepare, dropout_run, nullptr, dropout_cost})
