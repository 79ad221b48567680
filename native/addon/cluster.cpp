// k-means for JavaScript: fitters are known to it by number; rows are copied in on the JavaScript thread and the work runs on
// the compute thread.
#include <algorithm>
#include <cmath>
#include <vector>

#include "addon/addon.h"
#include "addon/registry.h"
#include "cluster/kmeans.h"
#include "core/backends.h"
#include "cpu/cpu.h"

namespace hk {
namespace {

using cluster::KMeans;

Registry<KMeans>& fitters() {
  static Registry<KMeans>* r = new Registry<KMeans>("k-means fit");
  return *r;
}

double number(const Napi::Value& value, const std::string& name, double least, double most) {
  const double x = value.IsNumber() ? value.As<Napi::Number>().DoubleValue() : NAN;
  if (!(x >= least && x <= most)) throw Error("HK_ARGUMENT", name + ": expected a number from " + std::to_string(least) + " to " + std::to_string(most));
  return x;
}

int64_t whole(const Napi::Value& value, const std::string& name, double least, double most) {
  const double x = number(value, name, least, most);
  if (x != std::floor(x)) throw Error("HK_ARGUMENT", name + ": expected a whole number, got " + std::to_string(x));
  return (int64_t)x;
}

Napi::Float32Array floats(const Napi::Value& value, const char* name) {
  if (!value.IsTypedArray() || value.As<Napi::TypedArray>().TypedArrayType() != napi_float32_array)
    throw Error("HK_ARGUMENT", std::string(name) + ": expected a Float32Array");
  return value.As<Napi::Float32Array>();
}

int64_t rows_of(const Napi::Float32Array& array, int64_t dim, const char* name) {
  if (array.ElementLength() % (size_t)dim != 0)
    throw Error("HK_SHAPE", std::string(name) + ": " + std::to_string(array.ElementLength()) + " values are not whole rows of " + std::to_string(dim));
  return (int64_t)(array.ElementLength() / (size_t)dim);
}

// Takes the fitter for one call; a second call meanwhile is refused.
class Turn {
 public:
  explicit Turn(std::shared_ptr<KMeans> fit) : fit_(std::move(fit)) {
    if (fit_->busy.exchange(true)) throw Error("HK_BUSY", "this k-means fit is at work: await the last call first");
  }
  ~Turn() { fit_->busy = false; }
  KMeans* operator->() const { return fit_.get(); }

 private:
  std::shared_ptr<KMeans> fit_;
};

std::shared_ptr<KMeans> fitter(const Napi::CallbackInfo& info) { return fitters().get(number(info[0], "fit", 0, 9e15)); }

Napi::Value create(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    if (!info[0].IsObject()) throw Error("HK_ARGUMENT", "options: expected an object");
    const Napi::Object given = info[0].As<Napi::Object>();
    const auto option = [&](const char* name, double least, double most) { return whole(given.Get(name), name, least, most); };
    cluster::KMeansOptions o;
    o.clusters = option("clusters", 1, 1 << 24);
    o.dim = option("dim", 1, 1 << 24);
    o.seed = (uint64_t)option("seed", 0, 9007199254740991.0);
    o.n_init = option("nInit", 1, 1000);
    o.max_iterations = option("maxIterations", 1, 1e9);
    o.batch = option("batch", 1, 1 << 24);
    o.patience = option("patience", 0, 1e9);
    o.tolerance = number(given.Get("tolerance"), "tolerance", 0, 1e9);
    o.memory_bytes = number(given.Get("memoryBytes"), "memoryBytes", 1, 9e15);
    o.backend = backend_of(given.Get("device").ToString());
    o.method = given.Get("lloyd").ToBoolean() ? cluster::Method::lloyd : cluster::Method::minibatch;
    return Napi::Number::New(info.Env(), fitters().add(std::make_shared<KMeans>(o)));
  });
}

Napi::Value append(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Turn fit(fitter(info));
    const auto rows = floats(info[1], "rows");
    fit->append(rows.Data(), rows_of(rows, fit->options().dim, "rows"));
    return Napi::Number::New(info.Env(), (double)fit->rows_seen());
  });
}

Napi::Value advance(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    auto fit = std::make_shared<Turn>(fitter(info));
    auto progress = std::make_shared<cluster::Progress>();
    auto work = [fit, progress] { *progress = (*fit)->advance(); };
    return run_async(info.Env(), Where::compute, Napi::Object(), work, [fit, progress](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("phase", progress->phase);
      object.Set("iteration", Napi::Number::New(env, (double)progress->iteration));
      object.Set("total", Napi::Number::New(env, (double)progress->total));
      object.Set("inertia", Napi::Number::New(env, progress->inertia));
      object.Set("done", Napi::Boolean::New(env, progress->done));
      return object;
    });
  });
}

Napi::Value result(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    Turn fit(fitter(info));
    const auto& centroids = fit->centroids();
    auto copy = Napi::Float32Array::New(info.Env(), centroids.size());
    std::copy(centroids.begin(), centroids.end(), copy.Data());
    Napi::Object object = Napi::Object::New(info.Env());
    object.Set("centroids", copy);
    object.Set("inertia", Napi::Number::New(info.Env(), fit->inertia()));
    object.Set("iterations", Napi::Number::New(info.Env(), (double)fit->iterations()));
    object.Set("rowsSeen", Napi::Number::New(info.Env(), (double)fit->rows_seen()));
    object.Set("rowsUsed", Napi::Number::New(info.Env(), (double)fit->rows_used()));
    object.Set("capacity", Napi::Number::New(info.Env(), (double)fit->capacity()));
    return object;
  });
}

Napi::Value dispose(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    fitters().remove(number(info[0], "fit", 0, 9e15));
    return info.Env().Undefined();
  });
}

struct Assignment {
  std::vector<float> rows, centroids, distances;
  std::vector<int32_t> labels;
};

Napi::Value assign(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const auto rows = floats(info[0], "rows"), centroids = floats(info[1], "centroids");
    const int64_t dim = whole(info[2], "dim", 1, 1 << 24);
    const int64_t count = rows_of(rows, dim, "rows"), clusters = rows_of(centroids, dim, "centroids");
    if (clusters < 1) throw Error("HK_SHAPE", "centroids: at least one is needed");
    auto a = std::make_shared<Assignment>();
    a->rows.assign(rows.Data(), rows.Data() + rows.ElementLength());
    a->centroids.assign(centroids.Data(), centroids.Data() + centroids.ElementLength());
    const auto work = [a, count, clusters, dim] {
      a->labels.resize((size_t)count);
      a->distances.resize((size_t)count);
      OpCaller ops(cpu_backend());
      if (count > 0) cluster::assign_clusters(ops, a->rows.data(), count, a->centroids.data(), clusters, dim, a->labels.data(), a->distances.data());
    };
    return run_async(info.Env(), Where::compute, Napi::Object(), work, [a](Napi::Env env) -> Napi::Value {
      auto labels = Napi::Int32Array::New(env, a->labels.size());
      auto distances = Napi::Float32Array::New(env, a->distances.size());
      std::copy(a->labels.begin(), a->labels.end(), labels.Data());
      std::copy(a->distances.begin(), a->distances.end(), distances.Data());
      Napi::Object object = Napi::Object::New(env);
      object.Set("labels", labels);
      object.Set("distances", distances);
      return object;
    });
  });
}

}  // namespace

void init_cluster(Napi::Env env, Napi::Object exports) {
  exports.Set("kmeansCreate", Napi::Function::New(env, create, "kmeansCreate"));
  exports.Set("kmeansAppend", Napi::Function::New(env, append, "kmeansAppend"));
  exports.Set("kmeansAdvance", Napi::Function::New(env, advance, "kmeansAdvance"));
  exports.Set("kmeansResult", Napi::Function::New(env, result, "kmeansResult"));
  exports.Set("kmeansDispose", Napi::Function::New(env, dispose, "kmeansDispose"));
  exports.Set("kmeansAssign", Napi::Function::New(env, assign, "kmeansAssign"));
}

}  // namespace hk
