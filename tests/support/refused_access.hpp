// Whether an access to memory is refused by the system.
#pragma once

#include <functional>

namespace subbit::testing {

/// True where `action`, in a process of its own, ends by a signal for forbidden memory.
bool is_refused(const std::function<void()>& action);

}  // namespace subbit::testing
