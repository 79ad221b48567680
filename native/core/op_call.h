// One op of a back-end, called alone and at once, with arrays of the host or of the back-end.
#pragma once
#include <vector>

#include "core/store.h"

namespace hk {

struct Array {
  void*    data;
  hk_dtype dtype;
  std::vector<int64_t> shape;
  bool     resident = false;  // in the back-end's memory; else in the host's, and copied where the two differ
};

// Keeps its memory between calls.
class OpCaller {
 public:
  explicit OpCaller(const hk_backend* backend);
  ~OpCaller();
  OpCaller(const OpCaller&) = delete;
  OpCaller& operator=(const OpCaller&) = delete;
  // Outputs are there when it returns. Throws HK_SHAPE (the op does not take the arrays), HK_MEMORY, HK_DEVICE.
  void run(const char* kind, const std::vector<Array>& inputs, const std::vector<Array>& outputs);
  void upload(void* to, const void* from, size_t bytes);

 private:
  static const int kMostArrays = 8;
  hk_tensor place(const Array& array, int number);

  const hk_backend* backend_;
  void* stream_ = nullptr;
  Block scratch_, copies_[kMostArrays];
};

}  // namespace hk
