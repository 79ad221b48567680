// The module: argument checks and promises; no arithmetic.
#include "addon/addon.h"

namespace hk {
namespace {

struct Job {
  std::function<void()> work;
  std::function<Napi::Value(Napi::Env)> result;
  std::unique_ptr<Napi::Promise::Deferred> deferred;
  Napi::ObjectReference keep;
  bool failed = false;
  std::string code, message;

  void perform() {
    try {
      work();
    } catch (const Error& e) {
      fail(e.code(), e.what());
    } catch (const std::bad_alloc&) {
      fail("HK_MEMORY", "out of memory");
    } catch (const std::exception& e) {
      fail("HK_INTERNAL", e.what());
    }
  }
  void fail(const std::string& c, const std::string& m) {
    failed = true;
    code = c;
    message = m;
  }
  void settle(Napi::Env env) {
    Napi::HandleScope scope(env);
    if (!failed) {
      try {
        deferred->Resolve(result(env));
        return;
      } catch (const Napi::Error& e) {
        deferred->Reject(e.Value());
        return;
      } catch (const std::exception& e) {
        fail("HK_INTERNAL", e.what());
      }
    }
    deferred->Reject(to_js(env, code, message).Value());
  }
};

class Worker final : public Napi::AsyncWorker {
 public:
  Worker(Napi::Env env, std::unique_ptr<Job> job) : Napi::AsyncWorker(env), job_(std::move(job)) {}
  void Execute() override { job_->perform(); }
  void OnOK() override { job_->settle(Env()); }

 private:
  std::unique_ptr<Job> job_;
};

}  // namespace

Napi::Promise run_async(Napi::Env env, Where where, Napi::Object keep, std::function<void()> work,
                        std::function<Napi::Value(Napi::Env)> result) {
  auto job = std::make_unique<Job>();
  job->work = std::move(work);
  job->result = std::move(result);
  job->deferred = std::make_unique<Napi::Promise::Deferred>(env);
  if (!keep.IsEmpty()) job->keep = Napi::Persistent(keep);
  Napi::Promise promise = job->deferred->Promise();
  if (where == Where::worker) {
    (new Worker(env, std::move(job)))->Queue();
    return promise;
  }
  auto settle = Napi::ThreadSafeFunction::New(env, Napi::Function(), "hubertkit", 0, 1);
  Job* raw = job.release();
  submit_compute([raw, settle]() mutable {
    raw->perform();
    const napi_status status = settle.BlockingCall(raw, [](Napi::Env env, Napi::Function, Job* done) {
      std::unique_ptr<Job> owned(done);
      if (env != nullptr) owned->settle(env);
    });
    (void)status;  // the environment is shutting down: nobody waits for the result any more
    settle.Release();
  });
  return promise;
}

#define HK_ADDON(name) void init_##name(Napi::Env env, Napi::Object exports);
#include "addon_files.inc"
#undef HK_ADDON

}  // namespace hk

static Napi::Object Init(Napi::Env env, Napi::Object exports) {
#define HK_ADDON(name) hk::init_##name(env, exports);
#include "addon_files.inc"
#undef HK_ADDON
  return exports;
}

NODE_API_MODULE(hubertkit, Init)
