// Names from files in messages.
#pragma once

#include <string>
#include <string_view>

namespace subbit {

/// `text` in quotes with control characters escaped, as JSON writes it.
std::string in_quotes(std::string_view text);

}  // namespace subbit
