// Divides an op's scratch memory into 64-byte aligned arrays. The same layout function runs in `prepare` (base 0: only the size
// counts) and in `run`, so the two cannot disagree.
#pragma once
#include <stddef.h>
#include <stdint.h>

namespace hk {
namespace HK_ISA {

class Scratch {
 public:
  explicit Scratch(void* base) : begin_((uintptr_t)base), at_(begin_) {}
  template <class T>
  T* take(int64_t count) {
    T* array = (T*)at_;
    at_ += ((size_t)count * sizeof(T) + 63) / 64 * 64;
    return array;
  }
  size_t bytes() const { return at_ - begin_; }

 private:
  uintptr_t begin_, at_;
};

}  // namespace HK_ISA
}  // namespace hk
