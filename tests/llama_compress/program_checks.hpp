// What tests ask of the program's ends.
#pragma once

#include "program.hpp"

#include "../support/temporary_directory.hpp"

#include <doctest/doctest.h>
#include <algorithm>

namespace llama::testing {

/// The program has ended with `status` and one line on its error stream that contains each of `parts`.
inline void check_failed(const outcome& result, int status, const std::vector<std::string>& parts) {
    CAPTURE(result.err);
    CHECK(result.status == status);
    CHECK(result.err.starts_with("llama_compress: "));
    CHECK(std::count(result.err.begin(), result.err.end(), '\n') == 1);
    CHECK(result.err.ends_with('\n'));
    for (const auto& part : parts) {
        CAPTURE(part);
        CHECK(result.err.find(part) != std::string::npos);
    }
}

/// Runs the program, which must fail so.
inline void check_fails(const std::vector<std::string>& arguments, int status, const std::vector<std::string>& parts) {
    const subbit::testing::temporary_directory streams;
    check_failed(run_program(streams.path(), arguments), status, parts);
}

/// No file of a result and none that is half-written, whatever the depth.
inline void check_nothing_written(const std::filesystem::path& out) {
    if (!std::filesystem::is_directory(out)) return;
    for (const auto& entry : std::filesystem::recursive_directory_iterator(out)) {
        CAPTURE(entry.path().string());
        CHECK(entry.path().filename() != "model.safetensors");
        CHECK(entry.path().string().find(".tmp-") == std::string::npos);
    }
}

}  // namespace llama::testing
