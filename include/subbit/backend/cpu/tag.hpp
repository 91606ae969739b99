// The cpu backend's tag, in a file of its own: the kernels that are overloaded on it come before the backend itself.
#pragma once

#include <subbit/backend/concept.hpp>

namespace subbit {

struct cpu_tag : reference_tag {};

}  // namespace subbit
