#include "core/op_call.h"

#include <algorithm>

#include "core/error.h"

namespace hk {

OpCaller::OpCaller(const hk_backend* backend) : backend_(backend) { require(backend, backend->create_stream(backend, &stream_), "making a stream"); }
OpCaller::~OpCaller() { backend_->destroy_stream(backend_, stream_); }

void OpCaller::upload(void* to, const void* from, size_t bytes) {
  require(backend_, backend_->upload(backend_, stream_, to, from, bytes), "copying to the device");
  require(backend_, backend_->synchronize(backend_, stream_), "copying to the device");
}

// The array as the op takes it: where it is, or in this caller's copy number `number`.
hk_tensor OpCaller::place(const Array& array, int number) {
  hk_tensor t = {};
  t.data = array.data;
  t.dtype = array.dtype;
  t.rank = (int32_t)array.shape.size();
  std::copy(array.shape.begin(), array.shape.end(), t.shape);
  if (array.resident || !backend_->allocate_staging) return t;
  copies_[number].reserve(backend_, bytes_of(t), "an op");
  t.data = copies_[number].data();
  return t;
}

void OpCaller::run(const char* kind, const std::vector<Array>& inputs, const std::vector<Array>& outputs) {
  require(backend_, backend_->enter(backend_), "using the device");
  const hk_op* op = backend_->find(kind);
  std::vector<hk_tensor> in, out;
  for (const Array& a : inputs) in.push_back(place(a, (int)in.size()));
  for (const Array& a : outputs) out.push_back(place(a, (int)(in.size() + out.size())));
  hk_call call = {};
  call.n_inputs = (int32_t)in.size();
  call.n_outputs = (int32_t)out.size();
  call.inputs = in.data();
  call.outputs = out.data();
  call.stream = stream_;
  size_t bytes = 0;
  if (op->prepare(&call, &bytes, &call.state)) throw Error("HK_SHAPE", call.error);
  struct Release {
    const hk_op* op;
    hk_call* call;
    ~Release() {
      if (op->release && call->state) op->release(call->state);
    }
  } release = {op, &call};
  scratch_.reserve(backend_, bytes, "an op");
  call.scratch = scratch_.data();
  for (size_t i = 0; i < in.size(); i++)
    if (in[i].data != inputs[i].data) require(backend_, backend_->upload(backend_, stream_, in[i].data, inputs[i].data, bytes_of(in[i])), "copying to the device");
  if (op->run(&call)) throw Error("HK_DEVICE", call.error);
  for (size_t i = 0; i < out.size(); i++)
    if (out[i].data != outputs[i].data) require(backend_, backend_->download(backend_, stream_, outputs[i].data, out[i].data, bytes_of(out[i])), "copying from the device");
  require(backend_, backend_->synchronize(backend_, stream_), kind);
}

}  // namespace hk
