// Which version of an operation runs? A version with a slip in its name or its arguments is none, and the base's runs
// in its place without a word. These checks are where it is noticed.
#pragma once

#include <utility>

namespace subbit::testing {

/// Turns into a tag as well as into the one it extends. So a call with it is ambiguous exactly where both have a
/// version for its arguments.
template <class Tag, class Base>
struct either_tag {
    operator Tag() const;
    operator Base() const;
};

}  // namespace subbit::testing

/// In a template: the tag has its own version of an operation for arguments of these types, which depend on the
/// template's, and the base has one, too. BASE and EITHER (an either_tag) are types that depend on the template's.
#define SUBBIT_CHECK_OWN(BASE, EITHER, operation, ...)                                                 \
    static_assert(                                                                                     \
        requires(BASE tag) { operation(tag, __VA_ARGS__); }, #operation ": not the base's arguments"); \
    static_assert(                                                                                     \
        !requires(EITHER tag) { operation(tag, __VA_ARGS__); }, #operation ": the base's version runs")

/// The other way round: the base's version runs.
#define SUBBIT_CHECK_INHERITED(BASE, EITHER, operation, ...)                                           \
    static_assert(                                                                                     \
        requires(BASE tag) { operation(tag, __VA_ARGS__); }, #operation ": not the base's arguments"); \
    static_assert(                                                                                     \
        requires(EITHER tag) { operation(tag, __VA_ARGS__); }, #operation ": the base's version is hidden")
