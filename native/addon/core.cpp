// Parameter stores and programs for JavaScript. Both are known to it by number: a wrong or stale number is an error, never a
// dangling pointer.
#include <oneapi/dnnl/dnnl.h>
#include <omp.h>

#include <chrono>
#include <cmath>
#include <cstring>

#include "addon/addon.h"
#include "addon/registry.h"
#include "core/backends.h"
#include "core/program.h"
#include "cpu/cpu.h"
#include "cpu/gemm.h"

namespace hk {
namespace {

Registry<Store>& stores() {
  static Registry<Store>* r = new Registry<Store>("parameter store");
  return *r;
}
Registry<Program>& programs() {
  static Registry<Program>* r = new Registry<Program>("program");
  return *r;
}

[[noreturn]] void bad(const std::string& what) { throw Error("HK_ARGUMENT", what); }

double number(const Napi::Value& v, const char* what) {
  if (!v.IsNumber()) bad(std::string(what) + " must be a number");
  const double x = v.As<Napi::Number>().DoubleValue();
  if (!std::isfinite(x)) bad(std::string(what) + " must be finite");
  return x;
}
int64_t integer(const Napi::Value& v, const char* what, int64_t low, int64_t high) {
  const double x = number(v, what);
  if (x != std::floor(x) || x < (double)low || x > (double)high)
    bad(std::string(what) + " must be a whole number from " + std::to_string(low) + " to " + std::to_string(high) + ", got " +
        std::to_string(x));
  return (int64_t)x;
}
std::string text(const Napi::Value& v, const char* what) {
  if (!v.IsString()) bad(std::string(what) + " must be a string");
  return v.As<Napi::String>().Utf8Value();
}
Napi::Array array(const Napi::Value& v, const char* what) {
  if (!v.IsArray()) bad(std::string(what) + " must be an array");
  return v.As<Napi::Array>();
}
Napi::Object object(const Napi::Value& v, const char* what) {
  if (!v.IsObject()) bad(std::string(what) + " must be an object");
  return v.As<Napi::Object>();
}
uint64_t word64(const Napi::Value& v, const char* what) {
  if (!v.IsBigInt()) bad(std::string(what) + " must be a bigint");
  bool lossless = false;
  return v.As<Napi::BigInt>().Uint64Value(&lossless);
}
std::vector<int64_t> shape_of(const Napi::Value& v, const char* what) {
  const Napi::Array a = array(v, what);
  if (a.Length() > HK_MAX_RANK) throw Error("HK_SHAPE", std::string(what) + " has more than 6 dimensions");
  std::vector<int64_t> shape;
  double total = 1;
  for (uint32_t i = 0; i < a.Length(); i++) {
    shape.push_back(integer(a.Get(i), what, 1, (int64_t)1 << 40));
    total *= (double)shape.back();
  }
  if (total > 1e11) throw Error("HK_SHAPE", std::string(what) + " is too large");
  return shape;
}

Napi::Value create_store(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const hk_backend* backend = backend_of(text(info[0], "device"));
    const Napi::Array list = array(info[1], "parameters");
    std::vector<Parameter> parameters;
    for (uint32_t i = 0; i < list.Length(); i++) {
      const Napi::Object o = object(list.Get(i), "a parameter");
      Parameter p;
      p.name = text(o.Get("name"), "a parameter's name");
      p.shape = shape_of(o.Get("shape"), p.name.c_str());
      parameters.push_back(std::move(p));
    }
    auto store = std::make_shared<Store>(backend, std::move(parameters));
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("size", (double)store->size());
    result.Set("handle", stores().add(std::move(store)));
    return result;
  });
}

void refuse_while_running(const Store& store) {
  if (store.running > 0) throw Error("HK_BUSY", "a program of this store is running: await it before touching its parameters");
}

Napi::Value store_read(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto store = stores().get(number(info[0], "store"));
    const Which which = which_from(text(info[1], "which"));
    const Parameter& p = store->at(text(info[2], "name"));
    refuse_while_running(*store);
    Napi::Float32Array out = Napi::Float32Array::New(info.Env(), (size_t)p.count);
    store->read(which, p, out.Data());
    return out;
  });
}

Napi::Value store_write(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto store = stores().get(number(info[0], "store"));
    const Which which = which_from(text(info[1], "which"));
    const Parameter& p = store->at(text(info[2], "name"));
    refuse_while_running(*store);
    if (!info[3].IsTypedArray() || info[3].As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
      throw Error("HK_DTYPE", "'" + p.name + "' takes a Float32Array");
    const Napi::Float32Array in = info[3].As<Napi::Float32Array>();
    if ((int64_t)in.ElementLength() != p.count)
      throw Error("HK_SHAPE", "'" + p.name + "' has " + std::to_string(p.count) + " elements, got " +
                                  std::to_string(in.ElementLength()));
    store->write(which, p, in.Data());
    return info.Env().Undefined();
  });
}

Napi::Value store_initialise(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto store = stores().get(number(info[0], "store"));
    refuse_while_running(*store);
    const int64_t most = (int64_t)1 << 40;
    store->initialise(text(info[1], "name"), integer(info[2], "begin", 0, most), integer(info[3], "count", 0, most),
                      text(info[4], "kind"), number(info[5], "a"), number(info[6], "b"), word64(info[7], "seed"),
                      (uint32_t)integer(info[8], "stream", 0, UINT32_MAX));
    return info.Env().Undefined();
  });
}

ValueSpec value_spec(const Napi::Object& o) {
  static const std::map<std::string, ValueKind> kinds = {
      {"feed", ValueKind::feed}, {"temporary", ValueKind::temporary}, {"parameter", ValueKind::parameter},
      {"gradient", ValueKind::gradient}, {"flat-values", ValueKind::flat_values},
      {"flat-gradients", ValueKind::flat_gradients}, {"flat-m", ValueKind::flat_m}, {"flat-v", ValueKind::flat_v}};
  ValueSpec v;
  const std::string kind = text(o.Get("kind"), "a value's kind");
  const auto found = kinds.find(kind);
  if (found == kinds.end()) bad("a value's kind cannot be '" + kind + "'");
  v.kind = found->second;
  v.tensor.dtype = (int32_t)integer(o.Get("dtype"), "a value's dtype", 0, 3);
  const std::vector<int64_t> shape = shape_of(o.Get("shape"), "a value's shape");
  v.tensor.rank = (int32_t)shape.size();
  std::copy(shape.begin(), shape.end(), v.tensor.shape);
  if (o.Get("name").IsString()) v.name = text(o.Get("name"), "name");
  v.accumulates = o.Get("accumulates").ToBoolean();
  v.fetch = o.Get("fetch").ToBoolean();
  return v;
}

std::vector<int> ids(const Napi::Value& v, const char* what) {
  const Napi::Array a = array(v, what);
  if (a.Length() > 32) bad(std::string(what) + ": an op has at most 32");
  std::vector<int> out;
  for (uint32_t i = 0; i < a.Length(); i++) out.push_back((int)integer(a.Get(i), what, -1, INT32_MAX));
  return out;
}

OpSpec op_spec(const Napi::Object& o) {
  OpSpec op;
  op.kind = text(o.Get("kind"), "an op's kind");
  op.label = text(o.Get("label"), "an op's label");
  op.inputs = ids(o.Get("inputs"), "an op's inputs");
  op.outputs = ids(o.Get("outputs"), "an op's outputs");
  op.gate = (int)integer(o.Get("gate"), "an op's gate", -1, INT32_MAX);
  const Napi::Object attributes = object(o.Get("attributes"), "an op's attributes");
  const Napi::Array names = attributes.GetPropertyNames();
  for (uint32_t i = 0; i < names.Length(); i++) {
    const std::string name = text(names.Get(i), "an attribute's name");
    op.attributes.push_back({name, number(attributes.Get(name), name.c_str())});
  }
  return op;
}

Napi::Value compile_program(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto store = stores().get(number(info[0], "store"));
    const Napi::Array values = array(info[1], "values"), ops = array(info[2], "ops");
    const int gates = (int)integer(info[3], "gates", 0, 4096);
    auto v = std::make_shared<std::vector<ValueSpec>>();
    auto o = std::make_shared<std::vector<OpSpec>>();
    for (uint32_t i = 0; i < values.Length(); i++) v->push_back(value_spec(object(values.Get(i), "a value")));
    for (uint32_t i = 0; i < ops.Length(); i++) o->push_back(op_spec(object(ops.Get(i), "an op")));
    auto made = std::make_shared<std::shared_ptr<Program>>();
    return run_async(
        info.Env(), Where::compute, Napi::Object(),
        [=] { *made = std::make_shared<Program>(store, std::move(*v), std::move(*o), gates); },
        [=](Napi::Env env) -> Napi::Value {
          const std::shared_ptr<Program> program = *made;
          const MemoryUse& m = program->memory();
          Napi::Object memory = Napi::Object::New(env), result = Napi::Object::New(env);
          memory.Set("arena", (double)m.arena);
          memory.Set("scratch", (double)m.scratch);
          memory.Set("buffers", (double)m.buffers);
          const std::vector<hk_cost> costs = program->costs();
          Napi::Array list = Napi::Array::New(env, costs.size());
          for (size_t i = 0; i < costs.size(); i++) {
            Napi::Object c = Napi::Object::New(env);
            c.Set("flops", costs[i].flops);
            c.Set("bytes", costs[i].bytes);
            list.Set((uint32_t)i, c);
          }
          result.Set("memory", memory);
          result.Set("costs", list);
          result.Set("handle", programs().add(program));
          return result;
        });
  });
}

napi_typedarray_type array_type(int dtype) {
  return dtype == HK_I32 ? napi_int32_array : dtype == HK_U8 ? napi_uint8_array : napi_float32_array;
}

void copy_feeds(const Program& program, const Napi::Array& feeds) {
  const std::vector<int>& ids = program.feeds();
  if (feeds.Length() != ids.size()) bad("the program takes " + std::to_string(ids.size()) + " feeds, got " + std::to_string(feeds.Length()));
  for (uint32_t i = 0; i < feeds.Length(); i++) {
    const Napi::Value v = feeds.Get(i);
    const std::string which = "feed " + std::to_string(i);
    if (!v.IsTypedArray()) throw Error("HK_DTYPE", which + " must be a typed array");
    const Napi::TypedArray a = v.As<Napi::TypedArray>();
    if (a.TypedArrayType() != array_type(program.tensor(ids[i]).dtype)) throw Error("HK_DTYPE", which + " has the wrong type of array");
    if (a.ByteLength() != program.bytes(ids[i]))
      throw Error("HK_SHAPE", which + " must have " + std::to_string(program.bytes(ids[i])) + " bytes, got " + std::to_string(a.ByteLength()));
    memcpy(program.buffer(ids[i]), (const char*)a.ArrayBuffer().Data() + a.ByteOffset(), a.ByteLength());
  }
}

Napi::Value fetch(Napi::Env env, const Program& program, int id) {
  const size_t bytes = program.bytes(id);
  Napi::ArrayBuffer buffer = Napi::ArrayBuffer::New(env, bytes);
  memcpy(buffer.Data(), program.buffer(id), bytes);
  switch (program.tensor(id).dtype) {
    case HK_I32: return Napi::Int32Array::New(env, bytes / 4, buffer, 0);
    case HK_U8: return Napi::Uint8Array::New(env, bytes, buffer, 0);
    default: return Napi::Float32Array::New(env, bytes / 4, buffer, 0);
  }
}

// Marks a program (and its store) as running for as long as it lives.
struct Running {
  explicit Running(std::shared_ptr<Program> p) : program(std::move(p)) {
    if (program->busy.exchange(true)) {
      program = nullptr;
      throw Error("HK_BUSY", "this program is running: await the run before starting the next");
    }
    program->store().running++;
  }
  ~Running() {
    if (!program) return;
    program->store().running--;
    program->busy = false;
  }
  std::shared_ptr<Program> program;
};

Napi::Value run_program(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto running = std::make_shared<Running>(programs().get(number(info[0], "program")));
    Program& program = *running->program;
    copy_feeds(program, array(info[1], "feeds"));
    if (!info[2].IsTypedArray() || info[2].As<Napi::TypedArray>().TypedArrayType() != napi_uint8_array ||
        (int)info[2].As<Napi::TypedArray>().ElementLength() != program.n_gates())
      bad("gates must be a Uint8Array with " + std::to_string(program.n_gates()) + " elements");
    const Napi::Uint8Array g = info[2].As<Napi::Uint8Array>();
    auto gates = std::make_shared<std::vector<uint8_t>>(g.Data(), g.Data() + g.ElementLength());
    gates->push_back(0);
    const uint64_t seed = word64(info[3], "seed"), draw = word64(info[4], "draw");
    auto op_seconds = std::make_shared<std::vector<double>>(info[5].ToBoolean() ? program.costs().size() : 0);
    auto seconds = std::make_shared<double>(0), began = std::make_shared<double>(0);
    return run_async(
        info.Env(), Where::compute, Napi::Object(),
        [=] {
          const auto begin = std::chrono::steady_clock::now();
          *began = std::chrono::duration<double>(begin.time_since_epoch()).count();
          running->program->run(gates->data(), seed, draw, op_seconds->empty() ? nullptr : op_seconds->data());
          *seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
        },
        [=](Napi::Env env) mutable -> Napi::Value {
          Napi::Object result = Napi::Object::New(env);
          const Program& done = *running->program;
          Napi::Array fetches = Napi::Array::New(env, done.fetches().size());
          for (size_t i = 0; i < done.fetches().size(); i++) fetches.Set((uint32_t)i, fetch(env, done, done.fetches()[i]));
          result.Set("fetches", fetches);
          result.Set("began", *began);
          result.Set("seconds", *seconds);
          if (!op_seconds->empty()) {
            Napi::Float64Array out = Napi::Float64Array::New(env, op_seconds->size());
            memcpy(out.Data(), op_seconds->data(), op_seconds->size() * sizeof(double));
            result.Set("opSeconds", out);
          }
          return result;
        });
  });
}

Napi::Value dispose_store(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    stores().remove(number(info[0], "store"));
    return info.Env().Undefined();
  });
}
Napi::Value dispose_program(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    programs().remove(number(info[0], "program"));
    return info.Env().Undefined();
  });
}

Napi::Value set_threads(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const int threads = (int)integer(info[0], "threads", 1, 1024);
    return run_async(
        info.Env(), Where::compute, Napi::Object(), [threads] { cpu_backend()->set_threads(threads); },
        [](Napi::Env env) { return env.Undefined(); });
  });
}

Napi::Value backend_info(const Napi::CallbackInfo& info) {
  const Napi::Env env = info.Env();
  const dnnl_version_t* v = dnnl_version();
  Napi::Object result = Napi::Object::New(env);
  result.Set("name", cpu_backend()->name);
  result.Set("variant", cpu_backend()->variant);
  result.Set("dnnl", std::to_string(v->major) + "." + std::to_string(v->minor) + "." + std::to_string(v->patch));
  result.Set("bf16", has_bf16());
  result.Set("threads", omp_get_max_threads());
  return result;
}

Napi::Value device_info(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const hk_backend* backend = backend_of(text(info[0], "device"));
    size_t free = 0, total = 0;
    backend->memory(backend, &free, &total);
    Napi::Object result = Napi::Object::New(info.Env());
    result.Set("variant", backend->variant);
    result.Set("free", (double)free);
    result.Set("total", (double)total);
    return result;
  });
}

}  // namespace

void init_core(Napi::Env env, Napi::Object exports) {
  exports.Set("createStore", Napi::Function::New(env, create_store));
  exports.Set("storeRead", Napi::Function::New(env, store_read));
  exports.Set("storeWrite", Napi::Function::New(env, store_write));
  exports.Set("storeInitialise", Napi::Function::New(env, store_initialise));
  exports.Set("disposeStore", Napi::Function::New(env, dispose_store));
  exports.Set("compileProgram", Napi::Function::New(env, compile_program));
  exports.Set("runProgram", Napi::Function::New(env, run_program));
  exports.Set("disposeProgram", Napi::Function::New(env, dispose_program));
  exports.Set("setThreads", Napi::Function::New(env, set_threads));
  exports.Set("backendInfo", Napi::Function::New(env, backend_info));
  exports.Set("deviceInfo", Napi::Function::New(env, device_info));
}

}  // namespace hk
