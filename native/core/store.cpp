#include "core/store.h"

#include <cmath>

#include "core/error.h"
#include "hubertkit/philox.h"

namespace hk {

Which which_from(const std::string& name) {
  if (name == "values") return Which::values;
  if (name == "gradients") return Which::gradients;
  if (name == "m") return Which::m;
  if (name == "v") return Which::v;
  throw Error("HK_ARGUMENT", "expected 'values', 'gradients', 'm' or 'v', got '" + name + "'");
}

Block::~Block() {
  if (data_) backend_->deallocate(data_, bytes_);
}

void Block::reserve(const hk_backend* backend, size_t bytes, const char* what) {
  if (bytes <= bytes_) return;
  if (data_) backend_->deallocate(data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
  backend_ = backend;
  data_ = backend->allocate(bytes);
  if (!data_)
    throw Error("HK_MEMORY", std::string(what) + " needs " + std::to_string(bytes >> 20) +
                                 " MiB, which this machine does not have free. Use smaller batches or a smaller model.");
  bytes_ = bytes;
}

Store::Store(const hk_backend* backend, std::vector<Parameter> parameters)
    : backend_(backend), parameters_(std::move(parameters)) {
  for (size_t i = 0; i < parameters_.size(); i++) {
    Parameter& p = parameters_[i];
    if (!index_.emplace(p.name, i).second) throw Error("HK_NAME", "parameter '" + p.name + "' is declared twice");
    p.count = 1;
    for (int64_t d : p.shape) p.count *= d;
    p.offset = size_;
    size_ += (p.count + 15) / 16 * 16;
  }
  if (size_ > INT32_MAX) throw Error("HK_ARGUMENT", "a store holds at most 2^31-1 floats");
  buffers_[(int)Which::values].reserve(backend_, (size_t)size_ * sizeof(float), "the parameters");
}

const Parameter& Store::at(const std::string& name) const {
  const auto found = index_.find(name);
  if (found == index_.end()) throw Error("HK_NAME", "no parameter is named '" + name + "'");
  return parameters_[found->second];
}

float* Store::flat(Which which) {
  static const char* what[] = {"the parameters", "the gradients", "the optimiser state", "the optimiser state"};
  Block& block = buffers_[(int)which];
  block.reserve(backend_, (size_t)size_ * sizeof(float), what[(int)which]);
  return (float*)block.data();
}

void Store::initialise(const std::string& name, int64_t begin, int64_t count, const std::string& kind, double a,
                       double b, uint64_t seed, uint32_t stream) {
  const Parameter& p = at(name);
  if (begin < 0 || count < 0 || begin + count > p.count)
    throw Error("HK_SHAPE", "initialise: elements " + std::to_string(begin) + ".." + std::to_string(begin + count) +
                                " are outside of '" + name + "' with " + std::to_string(p.count));
  float* out = flat(Which::values) + p.offset + begin;
  if (kind == "zeros" || kind == "constant") {
    for (int64_t i = 0; i < count; i++) out[i] = kind == "zeros" ? 0.f : (float)a;
    return;
  }
  if (kind != "normal" && kind != "uniform")
    throw Error("HK_ARGUMENT", "initialise: kind must be zeros, constant, normal or uniform, got '" + kind + "'");
  const bool normal = kind == "normal";
  for (int64_t i = 0; i < count; i += 4) {
    const Philox4 r = philox(seed, 0, stream, (uint32_t)(i / 4));
    for (int64_t j = 0; j < 4 && i + j < count; j++) {
      if (normal) {  // Box-Muller, one pair of words for two numbers
        const double u = philox_uniform(r.word[j & 2]), w = philox_uniform(r.word[(j & 2) + 1]);
        const double radius = std::sqrt(-2.0 * std::log(u)), angle = 6.283185307179586 * w;
        out[i + j] = (float)(a + b * radius * ((j & 1) ? std::sin(angle) : std::cos(angle)));
      } else {
        out[i + j] = (float)(a + (b - a) * philox_uniform(r.word[j]));
      }
    }
  }
}

}  // namespace hk
