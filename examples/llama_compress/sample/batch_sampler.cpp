#include "sample/batch_sampler.hpp"

namespace llama {

template class batch_sampler<subbit::cpu>;

}  // namespace llama
