#include "compress/compress.hpp"

#include "compress/compress_cuda.hpp"
#include "compress/compression.hpp"
#include "compress/training_cpu.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <charconv>

namespace llama {

subbit::unit_range blocks_to_compress(const model_directory& model, const compress_options& options) {
    const index total = model.config().num_hidden_layers;
    subbit::unit_range range{0, total};
    if (!options.blocks.empty()) {
        const char* end = options.blocks.data() + options.blocks.size();
        const auto first = std::from_chars(options.blocks.data(), end, range.first);
        const bool colon = first.ec == std::errc() && first.ptr != end && *first.ptr == ':';
        const auto last = std::from_chars(first.ptr + (colon ? 1 : 0), end, range.last);
        if (!colon || last.ec != std::errc() || last.ptr != end || range.first < 0 || range.count() < 1 ||
            range.last > total)
            throw subbit::value_error(fmt::format("--blocks is \"{}\", expected FIRST:END with 0 <= FIRST < END <= {}",
                                                  options.blocks, total));
    }
    for (index l = range.first; l < range.last; ++l)
        if (model.is_packed(l))
            throw subbit::value_error(fmt::format("{} is compressed already{}", model.path().string(),
                                                  options.blocks.empty() ? "" : fmt::format(": block {}", l)));
    return range;
}

nlohmann::json compress(const compress_job& job, subbit::progress& watcher, const subbit::communicator& ranks) {
    if (job.on_cuda) return compress_on_cuda(job, watcher, ranks);
    return run_compression(job, watcher, training_cpu(job.options, job.threads), subbit::cpu({.threads = job.threads}),
                           ranks);
}

}  // namespace llama
