#include "model/evaluation.hpp"

namespace llama {

template perplexity_result perplexity<float>(const subbit::cpu&, const model_directory&,
                                             std::span<const std::vector<std::int32_t>>, subbit::progress&,
                                             const model_rounding&, const subbit::communicator&);

}  // namespace llama
