// The one thread that computes: every program, k-means fit and other parallel (OpenMP) work runs here, one job after the
// other, so that two parallel regions never compete for the cores. Decoding and other single-threaded work does not belong here.
#pragma once
#include <functional>

namespace hk {

void submit_compute(std::function<void()> job);

}  // namespace hk
