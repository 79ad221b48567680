#include "core/backends.h"

#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

#include "core/error.h"
#include "cpu/cpu.h"

namespace hk {
namespace {

typedef const hk_backend* (*OpenDevice)(int device, char* error, size_t error_bytes);

[[noreturn]] void no_device(const std::string& device, const std::string& why) { throw Error("HK_NO_DEVICE", "device '" + device + "': " + why + "."); }

// The folder of hubertkit.node, where libhubertkit_cuda.so lies too.
std::string own_folder() {
  Dl_info here = {};
  if (!dladdr((void*)&own_folder, &here) || !here.dli_fname) return "";
  const std::string file = here.dli_fname;
  const size_t slash = file.rfind('/');
  return slash == std::string::npos ? "" : file.substr(0, slash + 1);
}

OpenDevice load(const std::string& device) {
  static OpenDevice open = nullptr;
  if (open) return open;
  const std::string file = own_folder() + "libhubertkit_cuda.so";
  if (access(file.c_str(), R_OK) != 0) no_device(device, "the CUDA back-end is not built (" + file + " is missing). Build it: npm run build:cuda");
  void* library = dlopen(file.c_str(), RTLD_NOW | RTLD_LOCAL);
  if (!library) no_device(device, "the CUDA back-end does not load: " + std::string(dlerror()));
  open = (OpenDevice)dlsym(library, "hubertkit_cuda_backend");
  if (!open) no_device(device, file + " is not a back-end of hubertkit");
  return open;
}

int number_of(const std::string& device) {
  if (device == "cuda") return 0;
  const std::string digits = device.compare(0, 5, "cuda:") == 0 ? device.substr(5) : "";
  if (digits.empty() || digits.size() > 3 || digits.find_first_not_of("0123456789") != std::string::npos)
    throw Error("HK_NO_DEVICE", "a device is 'cpu', 'cuda' or 'cuda:N', got '" + device + "'");
  return atoi(digits.c_str());
}

}  // namespace

const hk_backend* backend_of(const std::string& device) {
  if (device == "cpu") return cpu_backend();
  const int number = number_of(device);
  char error[HK_ERROR_BYTES] = "";
  const hk_backend* backend = load(device)(number, error, sizeof error);
  if (!backend) no_device(device, error);
  if (backend->api_version != HK_BACKEND_API)
    no_device(device, "libhubertkit_cuda.so and hubertkit.node were not built together. Run npm run build:cuda again");
  return backend;
}

}  // namespace hk
