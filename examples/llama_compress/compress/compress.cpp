#include "compress/compress.hpp"

#include "compress/compress_cuda.hpp"
#include "compress/compression.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/factor/rank_budget.hpp>

#include <fmt/format.h>
#include <algorithm>
#include <charconv>

namespace llama {

std::vector<index> choose_ranks(const block_schema& block, const compress_options& options) {
    if (is_rabit(options)) return std::vector<index>(layer_count, 0);
    const subbit::rank_rule rule{
        .granularity = options.granularity, .scales = options.scales, .minimum = options.minimum_rank};
    const subbit::bits_per_weight target{options.bits};
    std::vector<layer_shape> shapes;
    std::vector<double> profile;
    std::vector<index> ranks;
    const bool is_uneven = uneven_ranks(options);
    for (const auto& linear : block.linears) {
        const index rank = subbit::rank_for(target, linear.shape.rows, linear.shape.cols, rule);
        shapes.push_back(linear.shape);
        ranks.push_back(rank);
        profile.push_back(linear.rank_share * static_cast<double>(rank));
    }
    if (!is_uneven) return ranks;
    // Lowest ranks that take more than the bits leave nothing to distribute.
    std::vector<index> lowest;
    for (const auto& [rows, cols] : shapes)
        lowest.push_back(std::min({rows, cols, std::max<index>(options.granularity, options.minimum_rank)}));
    const bool minimum_decides = options.minimum_rank > 0 && subbit::reached(shapes, lowest, rule).value > target.value;
    return minimum_decides ? lowest : subbit::distribute_ranks(shapes, profile, target, rule);
}

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
    const auto products = bf16_products(job.options) ? subbit::precision::bf16 : subbit::precision::f32;
    return run_compression(job, watcher, subbit::cpu({.threads = job.threads, .products = products}),
                           subbit::cpu({.threads = job.threads}), ranks);
}

}  // namespace llama
