// The bandwidth with which threads read memory in order: what decode can reach at most. measure.py builds and runs it.
//
//   c++ -std=c++20 -O3 -march=native -pthread -Iinclude bench/shapes/read_rate.cpp -o read_rate
//   ./read_rate THREADS [GIGABYTES] [PASSES]
//
// Prints the best pass in bytes a second. Each thread sums its own part of one buffer in large pages.
#include <subbit/core/memory.hpp>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <thread>
#include <vector>

namespace {

using clock_type = std::chrono::steady_clock;

/// Many sums, so that no addition waits for the one before.
std::uint64_t sum_of(const std::uint64_t* words, std::size_t count) {
    constexpr std::size_t together = 64;
    std::uint64_t sums[together] = {};
    for (std::size_t i = 0; i + together <= count; i += together)
        for (std::size_t k = 0; k < together; ++k)
            sums[k] += words[i + k];
    std::uint64_t sum = 0;
    for (const std::uint64_t s : sums)
        sum += s;
    return sum;
}

}  // namespace

int main(int count, char** words) {
    const auto number = [&](int at, double otherwise) { return count > at ? std::atof(words[at]) : otherwise; };
    const int threads = static_cast<int>(number(1, 1)), passes = static_cast<int>(number(3, 8));
    const auto bytes = static_cast<std::size_t>(number(2, 2) * 1e9) / 4096 * 4096;
    if (threads < 1 || passes < 1 || bytes == 0) {
        std::fprintf(stderr, "usage: read_rate THREADS [GIGABYTES] [PASSES]\n");
        return 2;
    }
    void* const memory = subbit::streaming_memory::allocate(bytes);
    std::memset(memory, 1, bytes);  // otherwise all of it would be one page of zeros
    const auto* const data = static_cast<const std::uint64_t*>(memory);
    const std::size_t part = bytes / sizeof *data / static_cast<std::size_t>(threads);

    // The last to arrive takes the time: a thread that only waits could be late to run again where all cores are busy.
    std::vector<clock_type::time_point> times;
    times.reserve(2 * static_cast<std::size_t>(passes));
    std::barrier together(threads, [&]() noexcept { times.push_back(clock_type::now()); });
    std::vector<std::uint64_t> sums(static_cast<std::size_t>(threads));
    std::vector<std::thread> workers;
    for (std::size_t t = 0; t < sums.size(); ++t)
        workers.emplace_back([&, t] {
            for (int pass = 0; pass < passes; ++pass) {
                together.arrive_and_wait();
                sums[t] += sum_of(data + t * part, part);
                together.arrive_and_wait();
            }
        });
    for (std::thread& worker : workers)
        worker.join();
    double best = 0;
    for (std::size_t k = 0; k < times.size(); k += 2) {
        const double seconds = std::chrono::duration<double>(times[k + 1] - times[k]).count();
        best = std::max(best, static_cast<double>(part * sizeof *data) * threads / seconds);
    }
    subbit::streaming_memory::deallocate(memory, bytes);
    std::uint64_t sum = 0;
    for (const std::uint64_t s : sums)
        sum += s;
    std::printf("%.0f\n", best);
    return sum == 0;  // so that the sums are needed
}
