#include "core/compute_thread.h"

#include <condition_variable>
#include <deque>
#include <mutex>
#include <thread>

namespace hk {
namespace {

struct Queue {
  std::mutex mutex;
  std::condition_variable wake;
  std::deque<std::function<void()>> jobs;
};

// Never destroyed: the thread may still wait on it while the process exits.
Queue& queue() {
  static Queue* q = [] {
    Queue* made = new Queue;
    std::thread([made] {
      for (;;) {
        std::function<void()> job;
        {
          std::unique_lock<std::mutex> lock(made->mutex);
          made->wake.wait(lock, [made] { return !made->jobs.empty(); });
          job = std::move(made->jobs.front());
          made->jobs.pop_front();
        }
        job();
      }
    }).detach();
    return made;
  }();
  return *q;
}

}  // namespace

void submit_compute(std::function<void()> job) {
  Queue& q = queue();
  {
    std::lock_guard<std::mutex> lock(q.mutex);
    q.jobs.push_back(std::move(job));
  }
  q.wake.notify_one();
}

}  // namespace hk
