// Back-ends by the name of a device: "cpu", "cuda" (the first GPU), "cuda:1".
#pragma once
#include <string>

#include "hubertkit/backend.h"

namespace hk {

// Throws HK_NO_DEVICE, with what is missing, when the device cannot be used here. A back-end lives as long as the process.
const hk_backend* backend_of(const std::string& device);

}  // namespace hk
