// The typed errors. The library never prints, exits or aborts: every failure is one of these exceptions, whose message
// names the tensor or file, its shape, and what was expected.
#pragma once

#include <cstddef>
#include <stdexcept>
#include <string>

namespace subbit {

/// The base of every exception that the library throws.
struct error : std::runtime_error {
    using std::runtime_error::runtime_error;
};

/// Shapes that do not fit together.
struct shape_error : error {
    using error::error;
};

/// A value outside its domain: a rank of zero, a NaN weight, a negative moment.
struct value_error : error {
    using error::error;
};

/// A file that cannot be opened, mapped, written or renamed.
struct io_error : error {
    using error::error;
};

/// A file whose contents are not what its format promises.
struct format_error : error {
    using error::error;
};

/// A training whose numbers stopped being finite.
struct divergence_error : error {
    using error::error;
};

/// Work that was stopped on request (progress::cancelled).
struct cancelled_error : error {
    using error::error;
};

/// A GPU that is missing, has too old a driver, ran out of memory or was lost; the message says what to do.
struct device_error : error {
    using error::error;
};

/// Messages between the ranks of a job that do not arrive.
struct communication_error : error {
    using error::error;
};

/// A shape as every message writes it: "3x5".
inline std::string shape_text(std::ptrdiff_t rows, std::ptrdiff_t cols) {
    return std::to_string(rows) + "x" + std::to_string(cols);
}

/// Throws shape_error "NAME is RxC, expected R'xC'" unless the shapes agree.
inline void require_shape(const char* name, std::ptrdiff_t rows, std::ptrdiff_t cols, std::ptrdiff_t want_rows,
                          std::ptrdiff_t want_cols) {
    if (rows != want_rows || cols != want_cols)
        throw shape_error(std::string(name) + " is " + shape_text(rows, cols) + ", expected " +
                          shape_text(want_rows, want_cols));
}

/// Throws shape_error "NAME has N entries, expected M" unless they agree.
inline void require_size(const char* name, std::ptrdiff_t size, std::ptrdiff_t want) {
    if (size != want)
        throw shape_error(std::string(name) + " has " + std::to_string(size) + " entries, expected " +
                          std::to_string(want));
}

}  // namespace subbit
