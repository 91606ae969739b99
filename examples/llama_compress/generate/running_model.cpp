#include "generate/running_model.hpp"

namespace llama {

template class running_model<subbit::cpu>;

}  // namespace llama
