#include "core/store.h"

#include <algorithm>
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

void require(const hk_backend* backend, int result, const char* what) {
  if (result == 0) return;
  throw Error("HK_DEVICE", std::string(what) + " failed on " + backend->name + ":" + std::to_string(backend->device) + " (" + backend->variant +
                               "): " + backend->last_error(backend));
}

namespace {

std::string mebibytes(size_t bytes) { return std::to_string(bytes >> 20) + " MiB"; }

// After an allocation that gave nothing: throws what the device reports, unless there simply is too little memory.
void require_sound(const hk_backend* backend, const char* what) {
  require(backend, *backend->last_error(backend) != 0, ("making room for " + std::string(what)).c_str());
}

}  // namespace

size_t bytes_of(const hk_tensor& t) {
  static const size_t size[] = {4, 2, 4, 1};
  size_t n = size[t.dtype];
  for (int i = 0; i < t.rank; i++) n *= (size_t)t.shape[i];
  return n;
}

Block::~Block() {
  if (data_) backend_->deallocate(backend_, data_, bytes_);
}

void Block::reserve(const hk_backend* backend, size_t bytes, const char* what) {
  if (bytes <= bytes_) return;
  if (data_) backend_->deallocate(backend_, data_, bytes_);
  data_ = nullptr;
  bytes_ = 0;
  backend_ = backend;
  data_ = backend->allocate(backend, bytes);
  if (!data_) {
    require_sound(backend, what);
    size_t free = 0, total = 0;
    backend->memory(backend, &free, &total);
    throw Error("HK_MEMORY", std::string(what) + " needs " + mebibytes(bytes) + ", which " + (backend->allocate_staging ? "the device" : "this machine") +
                                 " does not have (" + std::to_string(free >> 20) + " of " + mebibytes(total) +
                                 " are free). Use smaller batches or a smaller model.");
  }
  bytes_ = bytes;
}

Buffer::Buffer(const hk_backend* backend, size_t bytes, const char* what) : backend_(backend), bytes_(bytes) {
  block_.reserve(backend, bytes, what);
  host_ = backend->allocate_staging ? backend->allocate_staging(backend, bytes) : block_.data();
  if (host_) return;
  require_sound(backend, what);
  throw Error("HK_MEMORY", std::string(what) + " needs " + mebibytes(bytes) + " of pinned host memory. Use smaller batches.");
}
Buffer::~Buffer() {
  if (host_ != block_.data()) backend_->deallocate_staging(backend_, host_, bytes_);
}
void Buffer::upload(void* stream) const {
  if (host_ != block_.data()) require(backend_, backend_->upload(backend_, stream, block_.data(), host_, bytes_), "copying to the device");
}
void Buffer::download(void* stream) const {
  if (host_ != block_.data()) require(backend_, backend_->download(backend_, stream, host_, block_.data(), bytes_), "copying from the device");
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
  require(backend_, backend_->create_stream(backend_, &stream_), "making a stream");
}

Store::~Store() { backend_->destroy_stream(backend_, stream_); }

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

void Store::upload(float* to, const float* from, int64_t count) {
  require(backend_, backend_->upload(backend_, stream_, to, from, (size_t)count * sizeof(float)), "writing parameters");
  require(backend_, backend_->synchronize(backend_, stream_), "writing parameters");
}

void Store::write(Which which, const Parameter& p, const float* from) { upload(flat(which) + p.offset, from, p.count); }

void Store::read(Which which, const Parameter& p, float* to) const {
  const float* from = (const float*)buffers_[(int)which].data();
  if (!from) {
    std::fill(to, to + p.count, 0.f);
    return;
  }
  require(backend_, backend_->download(backend_, stream_, to, from + p.offset, (size_t)p.count * sizeof(float)), "reading parameters");
  require(backend_, backend_->synchronize(backend_, stream_), "reading parameters");
}

void Store::initialise(const std::string& name, int64_t begin, int64_t count, const std::string& kind, double a,
                       double b, uint64_t seed, uint32_t stream) {
  const Parameter& p = at(name);
  if (begin < 0 || count < 0 || begin + count > p.count)
    throw Error("HK_SHAPE", "initialise: elements " + std::to_string(begin) + ".." + std::to_string(begin + count) +
                                " are outside of '" + name + "' with " + std::to_string(p.count));
  float* place = flat(Which::values) + p.offset + begin;
  if (kind == "zeros" || kind == "constant") return upload(place, std::vector<float>((size_t)count, kind == "zeros" ? 0.f : (float)a).data(), count);
  if (kind != "normal" && kind != "uniform")
    throw Error("HK_ARGUMENT", "initialise: kind must be zeros, constant, normal or uniform, got '" + kind + "'");
  const bool normal = kind == "normal";
  std::vector<float> out((size_t)count);
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
  upload(place, out.data(), count);
}

}  // namespace hk
