// Native objects as JavaScript knows them: by number. A wrong or stale number is an error, never a dangling pointer.
#pragma once
#include <map>
#include <memory>
#include <mutex>
#include <string>

#include "core/error.h"

namespace hk {

template <class T>
class Registry {
 public:
  explicit Registry(const char* what) : what_(what) {}
  double add(std::shared_ptr<T> item) {
    std::lock_guard<std::mutex> lock(mutex_);
    items_[++last_] = std::move(item);
    return (double)last_;
  }
  std::shared_ptr<T> get(double handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    const auto found = items_.find((int64_t)handle);
    if (!(handle > 0) || found == items_.end())
      throw Error("HK_DISPOSED", std::string("this ") + what_ + " has been disposed");
    return found->second;
  }
  void remove(double handle) {
    std::lock_guard<std::mutex> lock(mutex_);
    if (handle > 0 && handle < 9e15) items_.erase((int64_t)handle);
  }

 private:
  const char* what_;
  std::mutex mutex_;
  std::map<int64_t, std::shared_ptr<T>> items_;
  int64_t last_ = 0;
};

}  // namespace hk
