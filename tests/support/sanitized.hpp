// Whether the address sanitizer watches this program.
#pragma once

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define SUBBIT_TEST_SANITIZED 1
#endif
#endif

namespace subbit::testing {

#if defined(SUBBIT_TEST_SANITIZED) || defined(__SANITIZE_ADDRESS__)
inline constexpr bool is_sanitized = true;
#else
inline constexpr bool is_sanitized = false;
#endif

}  // namespace subbit::testing
