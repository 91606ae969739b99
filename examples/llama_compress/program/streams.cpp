#include "program/streams.hpp"

#include <subbit/core/error.hpp>

#include <fcntl.h>
#include <unistd.h>
#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <csignal>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <exception>
#include <new>
#include <string>
#include <system_error>

namespace llama {

namespace {

[[noreturn]] void fail_to_write() {
    throw subbit::io_error("cannot write the output: " + std::generic_category().message(errno));
}

constexpr std::string_view out_of_memory = "llama_compress: not enough memory\n";

// What follows runs in a signal handler or without memory, so it calls the system alone and takes none.

void write_error(std::string_view text) {
    [[maybe_unused]] const auto written = ::write(STDERR_FILENO, text.data(), text.size());
}

/// Whether a line of /proc/self/maps, "BEGIN-END ...", has an address.
bool line_has(std::string_view line, std::uintptr_t address) {
    std::uintptr_t begin = 0, end = 0;
    const char* const last = line.data() + line.size();
    const auto first = std::from_chars(line.data(), last, begin, 16);
    if (first.ec != std::errc() || first.ptr == last) return false;
    std::from_chars(first.ptr + 1, last, end, 16);
    return begin <= address && address < end;
}

/// Writes the path of the file that is mapped at an address, or "a file".
void write_file_at(std::uintptr_t address) {
    static std::array<char, 8192> line;  // of one line of the map of this process's memory
    std::size_t size = 0;
    const int map = ::open("/proc/self/maps", O_RDONLY | O_CLOEXEC);
    for (char c; map >= 0 && ::read(map, &c, 1) == 1;) {
        if (c != '\n') {
            if (size < line.size()) line[size++] = c;
            continue;
        }
        const std::string_view text(line.data(), size);
        size = 0;
        const std::size_t path = text.find('/');
        if (path != std::string_view::npos && line_has(text, address)) return write_error(text.substr(path));
    }
    write_error("a file");
}

void on_bus_error(int, siginfo_t* info, void*) {
    write_error("llama_compress: ");
    write_file_at(reinterpret_cast<std::uintptr_t>(info->si_addr));
    write_error(" was shortened, or cannot be read any more, while it was in use\n");
    ::_exit(1);
}

/// An exception that nobody can catch any more: one of a destructor, or a second one while the first is on its way.
[[noreturn]] void on_terminate() {
    try {
        if (const auto last = std::current_exception()) std::rethrow_exception(last);
    } catch (const std::bad_alloc&) {
        write_error(out_of_memory);
        ::_exit(1);
    } catch (...) {  // a fault of the program's, which ends as such
    }
    std::abort();
}

}  // namespace

void guard_streams() {
    std::set_terminate(on_terminate);
    // A descriptor that reads from nowhere cannot be written to, and one that writes to nowhere cannot be read.
    for (const int stream : {STDIN_FILENO, STDOUT_FILENO, STDERR_FILENO})
        if (::fcntl(stream, F_GETFD) < 0 && errno == EBADF)
            ::open("/dev/null", stream == STDIN_FILENO ? O_WRONLY : O_RDONLY);  // takes the lowest that is free
    std::signal(SIGXFSZ, SIG_IGN);
    struct sigaction action {};
    action.sa_sigaction = on_bus_error;
    action.sa_flags = SA_SIGINFO;
    ::sigaction(SIGBUS, &action, nullptr);
}

void print_now(std::string_view text) {
    errno = 0;
    if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size()) fail_to_write();
    flush_output();
}

void flush_output() {
    if (std::fflush(stdout) != 0 || std::ferror(stdout) != 0) fail_to_write();
}

void print_error(std::string_view text) {
    std::string line = "llama_compress: " + std::string(text);
    std::replace_if(
        line.begin(), line.end(), [](char c) { return c == '\n' || c == '\r'; }, ' ');
    std::fputs((line + "\n").c_str(), stderr);
}

void print_out_of_memory() {
    write_error(out_of_memory);
}

void print_note(std::string_view text) {
    print_error("note: " + std::string(text));
}

}  // namespace llama
