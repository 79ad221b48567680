// The CUDA back-end: libhubertkit_cuda.so, opened by native/core/backends.cpp. One symbol is exported, hubertkit_cuda_backend. The CUDA
// runtime is linked in, so that the file loads where there is no driver and can say what is missing.
#include <cuda_runtime.h>
#include <stdio.h>
#include <string.h>

#include <map>
#include <mutex>
#include <string>

#include "cuda/architecture.h"
#include "hubertkit/backend.h"

namespace hk {
namespace cuda {

const hk_op* find_op(const char* kind);

namespace {

thread_local std::string last_message;

// 0, or 1 with the error kept for last_error.
int checked(cudaError_t error) {
  if (error == cudaSuccess) return 0;
  last_message = std::string(cudaGetErrorString(error)) + " (" + cudaGetErrorName(error) + ")";
  cudaGetLastError();  // an error that only one call had does not come up again at the next launch
  return 1;
}

// The same of an allocation: that there is too little memory is no error to speak of.
int allocated(cudaError_t error) {
  if (error != cudaErrorMemoryAllocation) return checked(error);
  last_message.clear();
  cudaGetLastError();
  return 1;
}

const char* last_error(const hk_backend*) { return last_message.c_str(); }
int enter(const hk_backend* self) { return checked(cudaSetDevice(self->device)); }

void* allocate(const hk_backend* self, size_t bytes) {
  void* data = nullptr;
  if (enter(self) || allocated(cudaMalloc(&data, bytes ? bytes : 1))) return nullptr;
  // The zeros come on the default stream, which the programs' streams do not wait for.
  if (checked(cudaMemset(data, 0, bytes)) || checked(cudaStreamSynchronize(nullptr))) {
    cudaFree(data);
    return nullptr;
  }
  return data;
}
void deallocate(const hk_backend* self, void* data, size_t) {
  if (data && enter(self) == 0) checked(cudaFree(data));
}

void* allocate_staging(const hk_backend* self, size_t bytes) {
  void* data = nullptr;
  if (enter(self) || allocated(cudaMallocHost(&data, bytes))) return nullptr;
  memset(data, 0, bytes);
  return data;
}
void deallocate_staging(const hk_backend* self, void* data, size_t) {
  if (data && enter(self) == 0) checked(cudaFreeHost(data));
}

void memory(const hk_backend* self, size_t* free, size_t* total) {
  *free = *total = 0;
  if (enter(self) == 0) checked(cudaMemGetInfo(free, total));
}
void set_threads(int) {}

int create_stream(const hk_backend* self, void** stream) {
  return enter(self) || checked(cudaStreamCreateWithFlags((cudaStream_t*)stream, cudaStreamNonBlocking));
}
void destroy_stream(const hk_backend* self, void* stream) {
  if (stream && enter(self) == 0) checked(cudaStreamDestroy((cudaStream_t)stream));
}
int upload(const hk_backend* self, void* stream, void* to, const void* from, size_t bytes) {
  return enter(self) || checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyHostToDevice, (cudaStream_t)stream));
}
int download(const hk_backend* self, void* stream, void* to, const void* from, size_t bytes) {
  return enter(self) || checked(cudaMemcpyAsync(to, from, bytes, cudaMemcpyDeviceToHost, (cudaStream_t)stream));
}
int fill_zero(const hk_backend* self, void* stream, void* data, size_t bytes) {
  return enter(self) || checked(cudaMemsetAsync(data, 0, bytes, (cudaStream_t)stream));
}
int synchronize(const hk_backend* self, void* stream) { return enter(self) || checked(cudaStreamSynchronize((cudaStream_t)stream)); }

int begin_recording(const hk_backend* self, void* stream) {
  return enter(self) || checked(cudaStreamBeginCapture((cudaStream_t)stream, cudaStreamCaptureModeThreadLocal));
}
int end_recording(const hk_backend* self, void* stream, void** recording) {
  cudaGraph_t graph = nullptr;
  if (enter(self) || checked(cudaStreamEndCapture((cudaStream_t)stream, &graph))) return 1;
  const int failed = checked(cudaGraphInstantiate((cudaGraphExec_t*)recording, graph, 0));
  cudaGraphDestroy(graph);
  return failed;
}
int replay(const hk_backend* self, void* stream, void* recording) {
  return enter(self) || checked(cudaGraphLaunch((cudaGraphExec_t)recording, (cudaStream_t)stream));
}
void destroy_recording(const hk_backend* self, void* recording) {
  if (recording && enter(self) == 0) checked(cudaGraphExecDestroy((cudaGraphExec_t)recording));
}

__global__ void probe() {}

std::string version_text(int version) { return std::to_string(version / 1000) + "." + std::to_string(version % 1000 / 10); }

// "" where device number `device` can be used, else the half that is missing. Each sentence names another remedy.
std::string missing(int device) {
  int driver = 0, runtime = 0, count = 0;
  cudaRuntimeGetVersion(&runtime);
  if (cudaDriverGetVersion(&driver) != cudaSuccess || driver == 0)
    return "no NVIDIA driver is installed here. Install one that supports CUDA " + version_text(runtime) + ", or use device 'cpu'";
  const cudaError_t error = cudaGetDeviceCount(&count);
  if (error == cudaErrorInsufficientDriver || error == cudaErrorSystemDriverMismatch)
    return "the NVIDIA driver is too old: it supports CUDA " + version_text(driver) + ", and this build needs " + version_text(runtime) + ". Update the driver";
  if (error == cudaErrorNoDevice || (error == cudaSuccess && count == 0))
    return "the NVIDIA driver finds no GPU. In a container, pass the devices in; check CUDA_VISIBLE_DEVICES";
  if (error != cudaSuccess) return std::string("the NVIDIA driver does not start: ") + cudaGetErrorString(error);
  if (device >= count)
    return "there is no GPU number " + std::to_string(device) + ": this machine has " + std::to_string(count) + ", numbered from 0";
  cudaFuncAttributes attributes;
  if (checked(cudaSetDevice(device))) return "GPU " + std::to_string(device) + " cannot be used: " + last_message;
  if (checked(cudaFuncGetAttributes(&attributes, probe))) {
    cudaDeviceProp p;
    if (checked(cudaGetDeviceProperties(&p, device))) return "GPU " + std::to_string(device) + " cannot be used: " + last_message;
    return std::string("this build has no code for the ") + p.name + " (compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor) +
           "), only for " HK_CUDA_ARCHITECTURES ". Build again with HK_CUDA_ARCHITECTURES=" + architecture_of(p.major, p.minor) +
           " npm run build:cuda";
  }
  return "";
}

struct Device {
  hk_backend backend;
  std::string variant;
};

void describe(int device, Device* made) {
  cudaDeviceProp p;
  made->variant = "unknown";
  if (checked(cudaGetDeviceProperties(&p, device)) == 0)
    made->variant = std::string(p.name) + ", compute capability " + std::to_string(p.major) + "." + std::to_string(p.minor);
  hk_backend& b = made->backend;
  b = {};
  b.api_version = HK_BACKEND_API;
  b.name = "cuda";
  b.variant = made->variant.c_str();
  b.device = device;
  b.find = find_op;
  b.allocate = allocate;
  b.deallocate = deallocate;
  b.memory = memory;
  b.set_threads = set_threads;
  b.last_error = last_error;
  b.allocate_staging = allocate_staging;
  b.deallocate_staging = deallocate_staging;
  b.create_stream = create_stream;
  b.destroy_stream = destroy_stream;
  b.enter = enter;
  b.upload = upload;
  b.download = download;
  b.fill_zero = fill_zero;
  b.synchronize = synchronize;
  b.begin_recording = begin_recording;
  b.end_recording = end_recording;
  b.replay = replay;
  b.destroy_recording = destroy_recording;
}

}  // namespace
}  // namespace cuda
}  // namespace hk

// The back-end of one GPU; NULL, with the reason in `error`, when it cannot be used.
extern "C" __attribute__((visibility("default"))) const hk_backend* hubertkit_cuda_backend(int device, char* error, size_t error_bytes) {
  static std::mutex mutex;
  static std::map<int, hk::cuda::Device>* devices = new std::map<int, hk::cuda::Device>;
  std::lock_guard<std::mutex> lock(mutex);
  const auto found = devices->find(device);
  if (found != devices->end()) return &found->second.backend;
  const std::string reason = hk::cuda::missing(device);
  if (!reason.empty()) {
    snprintf(error, error_bytes, "%s", reason.c_str());
    return nullptr;
  }
  hk::cuda::Device& made = (*devices)[device];
  hk::cuda::describe(device, &made);
  return &made.backend;
}
