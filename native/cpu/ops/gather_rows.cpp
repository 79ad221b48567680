// gather_rows and scatter_rows: the contracts are in ops/gather_rows.h. Rows are copied as bytes.
#include "cpu/op.h"
#include "ops/gather_rows.h"

namespace hk {
namespace HK_ISA {
namespace {

const int64_t kGrain = 32;  // rows

int gather_rows_run(hk_call* call) {
  const hk_tensor &x = call->inputs[0], &y = call->outputs[0];
  const int32_t* index = i32(call->inputs[1]);
  const size_t bytes = (size_t)last(x) * element_bytes(x);
  parallel_chunks(rows(y), kGrain, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++) {
      if (is_row(index[r], rows(x))) memcpy(u8(y) + (size_t)r * bytes, u8(x) + (size_t)index[r] * bytes, bytes);
      else memset(u8(y) + (size_t)r * bytes, 0, bytes);
    }
  });
  return 0;
}

int scatter_rows_run(hk_call* call) {
  const hk_tensor &y = call->inputs[0], &x = call->outputs[0];
  const int32_t* index = i32(call->inputs[1]);
  const size_t bytes = (size_t)last(x) * element_bytes(x);
  parallel_chunks(rows(x), kGrain, [&](int64_t, int64_t begin, int64_t end) {
    memset(u8(x) + (size_t)begin * bytes, 0, (size_t)(end - begin) * bytes);
  });
  parallel_chunks(rows(y), kGrain, [&](int64_t, int64_t begin, int64_t end) {
    for (int64_t r = begin; r < end; r++)
      if (is_row(index[r], rows(x))) memcpy(u8(x) + (size_t)index[r] * bytes, u8(y) + (size_t)r * bytes, bytes);
  });
  return 0;
}

}  // namespace
}  // namespace HK_ISA
}  // namespace hk

HK_OP_TABLE(gather_rows, {"gather_rows", gather_rows_prepare, gather_rows_run, nullptr, gather_rows_cost},
            {"scatter_rows", scatter_rows_prepare, scatter_rows_run, nullptr, scatter_rows_cost})
