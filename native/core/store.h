// Named parameters in flat buffers: values, and, once a program trains them, gradients and the two moments of AdamW, all
// with the same offsets. Also owns the arena that the programs of one model share: they run one after the other.
#pragma once
#include <atomic>
#include <string>
#include <unordered_map>
#include <vector>

#include "hubertkit/backend.h"

namespace hk {

struct Parameter {
  std::string name;
  std::vector<int64_t> shape;
  int64_t offset = 0, count = 0;  // in floats
};

enum class Which { values, gradients, m, v };
Which which_from(const std::string& name);  // "values" | "gradients" | "m" | "v"

// Throws HK_DEVICE with what the back-end says about its last error, unless `result` is 0.
void require(const hk_backend* backend, int result, const char* what);

// Of a dense tensor.
size_t bytes_of(const hk_tensor& t);

// A block of zero-filled memory of a back-end.
class Block {
 public:
  Block() = default;
  Block(const Block&) = delete;
  Block& operator=(const Block&) = delete;
  ~Block();
  void reserve(const hk_backend* backend, size_t bytes, const char* what);  // grows; contents are lost when it does
  void* data() const { return data_; }
  size_t bytes() const { return bytes_; }

 private:
  const hk_backend* backend_ = nullptr;
  void* data_ = nullptr;
  size_t bytes_ = 0;
};

// Memory of the device and its image on the host: one and the same where the device works in the host's memory.
class Buffer {
 public:
  Buffer(const hk_backend* backend, size_t bytes, const char* what);
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer();
  void* data() const { return block_.data(); }
  void* host() const { return host_; }
  void upload(void* stream) const;
  void download(void* stream) const;

 private:
  const hk_backend* backend_;
  size_t bytes_;
  Block block_;
  void* host_ = nullptr;
};

class Store {
 public:
  // Parameters in the order given; each begins at a multiple of 16 floats.
  Store(const hk_backend* backend, std::vector<Parameter> parameters);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  const hk_backend* backend() const { return backend_; }
  int64_t size() const { return size_; }  // floats, padding included
  const std::vector<Parameter>& parameters() const { return parameters_; }
  const Parameter& at(const std::string& name) const;  // throws HK_NAME
  float* flat(Which which);  // device memory; allocates gradients and moments when first asked for
  void* stream() const { return stream_; }  // where the programs of this store run

  // Copies between a parameter and the host; zeros where nothing was trained yet.
  void read(Which which, const Parameter& p, float* to) const;
  void write(Which which, const Parameter& p, const float* from);

  Block arena;
  std::atomic<int> running{0};  // programs queued or running

  // Fills `count` floats from `begin` of a parameter: "zeros"; "normal" (mean a, deviation b); "uniform" in [a, b); "constant" a.
  void initialise(const std::string& name, int64_t begin, int64_t count, const std::string& kind, double a, double b,
                  uint64_t seed, uint32_t stream);

 private:
  void upload(float* to, const float* from, int64_t count);

  const hk_backend* backend_;
  void* stream_ = nullptr;
  std::vector<Parameter> parameters_;
  std::unordered_map<std::string, size_t> index_;
  int64_t size_ = 0;
  Block buffers_[4];
};

}  // namespace hk
