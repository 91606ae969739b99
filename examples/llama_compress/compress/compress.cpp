#include "compress/compress.hpp"

#include "compress/compress_cuda.hpp"
#include "compress/compression.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/factor/rank_budget.hpp>

namespace llama {

std::vector<index> choose_ranks(const model_config& config, const compress_options& options) {
    if (is_rabit(options)) return std::vector<index>(layer_count, 0);
    // Shares relative to an even spending, found on SmolLM2 at 1.0 bit (docs/numerics.md).
    constexpr std::array<double, layer_count> uneven = {0.765, 0.75, 1.25, 1.0, 1.0, 1.0, 1.08};
    const subbit::rank_rule rule{
        .granularity = options.granularity, .scales = options.scales, .minimum = options.minimum_rank};
    const subbit::bits_per_weight target{options.bits};
    std::vector<layer_shape> shapes;
    std::vector<double> profile;
    std::vector<index> ranks;
    const bool is_uneven = uneven_ranks(options);
    for (std::size_t k = 0; k < layer_count; ++k) {
        const auto shape = shape_of(config, k);
        const index rank = subbit::rank_for(target, shape.rows, shape.cols, rule);
        shapes.push_back(shape);
        ranks.push_back(rank);
        profile.push_back(uneven[k] * static_cast<double>(rank));
    }
    return is_uneven ? subbit::distribute_ranks(shapes, profile, target, rule) : ranks;
}

nlohmann::json compress(const compress_job& job, subbit::progress& watcher) {
    if (job.on_cuda) return compress_on_cuda(job, watcher);
    const auto products = bf16_products(job.options) ? subbit::precision::bf16 : subbit::precision::f32;
    return run_compression(job, watcher, subbit::cpu({.threads = job.threads, .products = products}),
                           subbit::cpu({.threads = job.threads}));
}

}  // namespace llama
