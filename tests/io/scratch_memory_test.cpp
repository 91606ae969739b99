#include <subbit/io/scratch_memory.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>

#include <cstring>

namespace subbit::testing {

TEST_CASE("scratch memory keeps what is written when its pages are released, and leaves no file") {
    const temporary_directory folder;
    {
        const scratch_memory memory(folder.path(), 100'000);
        const auto bytes = memory.bytes();
        REQUIRE(bytes.size() == 100'000);
        CHECK(bytes[99'999] == std::byte{0});
        std::memset(bytes.data(), 7, bytes.size());
        memory.release(0, bytes.size());
        memory.release(5000, 10);
        CHECK(bytes[0] == std::byte{7});
        CHECK(bytes[99'999] == std::byte{7});
        CHECK(std::filesystem::is_empty(folder.path()));
    }
    CHECK_THROWS_AS(scratch_memory(folder.path() / "nowhere", 10), io_error);
    CHECK_THROWS_AS(scratch_memory(folder.path(), std::size_t{1} << 60), io_error);
}

}  // namespace subbit::testing
