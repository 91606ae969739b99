#include "program_checks.hpp"

#include <doctest/doctest.h>
#include <cstdlib>

namespace llama::testing {

TEST_CASE("several processes of a program without MPI say so instead of doing the same job each") {
#if LLAMA_COMPRESS_HAS_MPI
    // This build has MPI: tests/ranks runs it with several processes.
    const subbit::testing::temporary_directory streams;
    CHECK(run_program(streams.path(), {"info"}).status == 0);
#else
    ::setenv("OMPI_COMM_WORLD_SIZE", "2", 1);
    ::setenv("OMPI_COMM_WORLD_RANK", "0", 1);
    check_fails({"info"}, 1, {"2 processes", "without MPI"});
    ::setenv("OMPI_COMM_WORLD_RANK", "1", 1);
    const subbit::testing::temporary_directory streams;
    const auto second = run_program(streams.path(), {"info"});
    CHECK(second.status == 1);
    CHECK(second.err.empty());
    ::unsetenv("OMPI_COMM_WORLD_SIZE");
    ::unsetenv("OMPI_COMM_WORLD_RANK");
#endif
}

}  // namespace llama::testing
