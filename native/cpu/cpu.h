#pragma once
#include "hubertkit/backend.h"
namespace hk {
const hk_backend* cpu_backend();
}
