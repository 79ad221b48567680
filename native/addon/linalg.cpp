// Linear algebra for JavaScript: matrices are copied in on the JavaScript thread, the work runs on a libuv worker.
#include <cmath>
#include <vector>

#include "addon/addon.h"
#include "linalg/linalg.h"

namespace hk {
namespace {

constexpr double kMostRows = 1 << 20;  // of one side; what the memory does not hold is HK_MEMORY

int64_t size_argument(const Napi::CallbackInfo& info, size_t i, const char* name) {
  const double x = info[i].IsNumber() ? info[i].As<Napi::Number>().DoubleValue() : NAN;
  if (!(x >= 1 && x <= kMostRows && x == std::floor(x)))
    throw Error("HK_ARGUMENT", std::string(name) + ": expected a whole number from 1 to " + std::to_string((int64_t)kMostRows));
  return (int64_t)x;
}

std::vector<double> matrix_argument(const Napi::CallbackInfo& info, size_t i, const char* name, int64_t rows, int64_t columns) {
  if (!info[i].IsTypedArray() || info[i].As<Napi::TypedArray>().TypedArrayType() != napi_float64_array)
    throw Error("HK_ARGUMENT", std::string(name) + ": expected a Float64Array");
  const auto array = info[i].As<Napi::Float64Array>();
  if ((int64_t)array.ElementLength() != rows * columns)
    throw Error("HK_SHAPE", std::string(name) + ": expected " + std::to_string(rows) + " x " + std::to_string(columns) + " values, got " +
                                std::to_string(array.ElementLength()));
  std::vector<double> copy(array.Data(), array.Data() + array.ElementLength());
  for (const double value : copy)
    if (!std::isfinite(value)) throw Error("HK_ARGUMENT", std::string(name) + ": it holds a value that is not finite");
  return copy;
}

Napi::Float64Array to_js(Napi::Env env, const std::vector<double>& values) {
  auto copy = Napi::Float64Array::New(env, values.size());
  std::copy(values.begin(), values.end(), copy.Data());
  return copy;
}

struct Decomposition { std::vector<double> matrix, u, values, vectors; };

Napi::Value symmetric_eigen(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const int64_t n = size_argument(info, 1, "n");
    auto d = std::make_shared<Decomposition>();
    d->matrix = matrix_argument(info, 0, "matrix", n, n);
    const auto work = [d, n] {
      d->values.resize((size_t)n);
      d->vectors.resize((size_t)(n * n));
      linalg::symmetric_eigen(d->matrix.data(), n, d->values.data(), d->vectors.data());
    };
    return run_async(info.Env(), Where::worker, Napi::Object(), work, [d](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("values", to_js(env, d->values));
      object.Set("vectors", to_js(env, d->vectors));
      return object;
    });
  });
}

Napi::Value thin_svd(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const int64_t rows = size_argument(info, 1, "rows"), columns = size_argument(info, 2, "columns");
    auto d = std::make_shared<Decomposition>();
    d->matrix = matrix_argument(info, 0, "matrix", rows, columns);
    const auto work = [d, rows, columns] {
      const int64_t k = std::min(rows, columns);
      d->u.resize((size_t)(rows * k));
      d->values.resize((size_t)k);
      d->vectors.resize((size_t)(k * columns));
      linalg::thin_svd(d->matrix.data(), rows, columns, d->u.data(), d->values.data(), d->vectors.data());
    };
    return run_async(info.Env(), Where::worker, Napi::Object(), work, [d](Napi::Env env) -> Napi::Value {
      Napi::Object object = Napi::Object::New(env);
      object.Set("u", to_js(env, d->u));
      object.Set("s", to_js(env, d->values));
      object.Set("vt", to_js(env, d->vectors));
      return object;
    });
  });
}

struct Factors { std::vector<double> a, b, c; };

Napi::Value product(const Napi::CallbackInfo& info) {
  return guarded(info, [&]() -> Napi::Value {
    const int64_t rows = size_argument(info, 2, "rows"), inner = size_argument(info, 3, "inner"), columns = size_argument(info, 4, "columns");
    auto f = std::make_shared<Factors>();
    f->a = matrix_argument(info, 0, "a", rows, inner);
    f->b = matrix_argument(info, 1, "b", inner, columns);
    const auto work = [f, rows, inner, columns] {
      f->c.resize((size_t)(rows * columns));
      linalg::product(f->a.data(), f->b.data(), rows, inner, columns, f->c.data());
    };
    return run_async(info.Env(), Where::worker, Napi::Object(), work, [f](Napi::Env env) -> Napi::Value { return to_js(env, f->c); });
  });
}

}  // namespace

void init_linalg(Napi::Env env, Napi::Object exports) {
  exports.Set("symmetricEigen", Napi::Function::New(env, symmetric_eigen, "symmetricEigen"));
  exports.Set("thinSvd", Napi::Function::New(env, thin_svd, "thinSvd"));
  exports.Set("matrixProduct", Napi::Function::New(env, product, "matrixProduct"));
}

}  // namespace hk
