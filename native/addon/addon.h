// Shared by the files of native/addon. Each file NAME.cpp registers its functions in `void init_NAME(Napi::Env, Napi::Object)`;
// addon.cpp calls them all (CMake makes the list).
#pragma once
#include <napi.h>

#include <functional>
#include <memory>
#include <string>

#include "core/compute_thread.h"
#include "core/error.h"

namespace hk {

// The JavaScript error of a native one: an Error with `code`.
inline Napi::Error to_js(Napi::Env env, const std::string& code, const std::string& message) {
  Napi::Error error = Napi::Error::New(env, message);
  error.Set("code", Napi::String::New(env, code));
  return error;
}

// Runs a synchronous binding function, turning every C++ exception into a JavaScript error with a code.
template <class Body>
Napi::Value guarded(const Napi::CallbackInfo& info, Body body) {
  try {
    return body();
  } catch (const Napi::Error&) {
    throw;
  } catch (const Error& e) {
    throw to_js(info.Env(), e.code(), e.what());
  } catch (const std::bad_alloc&) {
    throw to_js(info.Env(), "HK_MEMORY", "out of memory");
  } catch (const std::exception& e) {
    throw to_js(info.Env(), "HK_INTERNAL", e.what());
  }
}

enum class Where { compute, worker };  // the compute thread (OpenMP work), or a libuv worker (decoding: single-threaded)

// Runs `work` on another thread; resolves with `result(env)`, called on the JavaScript thread. `keep` is a JavaScript object that
// must live until then (may be empty). Errors thrown by `work` reject the promise with their code.
Napi::Promise run_async(Napi::Env env, Where where, Napi::Object keep, std::function<void()> work,
                        std::function<Napi::Value(Napi::Env)> result);

}  // namespace hk
