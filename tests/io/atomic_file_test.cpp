#include <subbit/io/atomic_file.hpp>
#include <subbit/io/mapped_file.hpp>

#include "../support/temporary_directory.hpp"
#include "../support/throws.hpp"

#include <doctest/doctest.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <csignal>
#include <string>

using namespace subbit;
using subbit::testing::check_throws;
using subbit::testing::temporary_directory;

namespace {

std::string contents_of(const std::filesystem::path& path) {
    const mapped_file file(path);
    return {reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size()};
}

std::ptrdiff_t files_in(const temporary_directory& dir) {
    return std::distance(std::filesystem::directory_iterator(dir.path()), std::filesystem::directory_iterator());
}

/// Lets this process write files of `bytes` at most: what a full disk looks like from inside.
class file_size_limit {
  public:
    explicit file_size_limit(rlim_t bytes) : handler_(std::signal(SIGXFSZ, SIG_IGN)) {
        ::getrlimit(RLIMIT_FSIZE, &before_);
        const rlimit limit{bytes, before_.rlim_max};
        ::setrlimit(RLIMIT_FSIZE, &limit);
    }
    ~file_size_limit() {
        ::setrlimit(RLIMIT_FSIZE, &before_);
        std::signal(SIGXFSZ, handler_);
    }

  private:
    rlimit before_{};
    void (*handler_)(int);
};

}  // namespace

TEST_CASE("a file replaces the one before it and leaves nothing beside it") {
    const temporary_directory dir;
    write_file_atomically(dir / "a.json", "first");
    write_file_atomically(dir / "a.json", "second");
    write_file_atomically(dir / "empty", "");
    CHECK(contents_of(dir / "a.json") == "second");
    CHECK(contents_of(dir / "empty").empty());
    CHECK(files_in(dir) == 2);
}

TEST_CASE("a file that is not committed never appears") {
    const temporary_directory dir;
    {
        atomic_file file(dir / "a");
        file.write("half of it");
    }
    CHECK(files_in(dir) == 0);
}

TEST_CASE("a full disk is an io_error, the temporary file is removed and the old file is kept") {
    const temporary_directory dir;
    write_file_atomically(dir / "a", "old");
    {
        const file_size_limit limit(1000);
        check_throws<io_error>([&] { write_file_atomically(dir / "a", std::string(2000, 'x')); }, {"write", dir / "a"});
    }
    CHECK(contents_of(dir / "a") == "old");
    CHECK(files_in(dir) == 1);
}

TEST_CASE("where no file can be, writing is an io_error that names it") {
    const temporary_directory dir;
    check_throws<io_error>([&] { write_file_atomically(dir / "no/such/a", "x"); }, {"create", dir / "no/such/a"});
    std::filesystem::create_directory(dir / "taken");
    check_throws<io_error>([&] { write_file_atomically(dir / "taken", "x"); }, {"create", dir / "taken"});
    CHECK(files_in(dir) == 1);
}

TEST_CASE("what is not a readable regular file cannot be mapped") {
    const temporary_directory dir;
    check_throws<io_error>([&] { mapped_file(dir / "missing"); }, {"missing"});
    check_throws<io_error>([&] { mapped_file(dir.path()); }, {dir.path()});
    REQUIRE(::mkfifo((dir / "pipe").c_str(), 0600) == 0);
    check_throws<io_error>([&] { mapped_file(dir / "pipe"); }, {"pipe"});
}

TEST_CASE("a mapping survives moves of its owner") {
    const temporary_directory dir;
    mapped_file first(dir.write("a", "abc"));
    const auto bytes = first.bytes();
    mapped_file second(std::move(first));
    mapped_file third(dir.write("b", "xy"));
    third = std::move(second);
    CHECK(third.bytes().data() == bytes.data());
    CHECK(third.bytes().size() == 3);
}
