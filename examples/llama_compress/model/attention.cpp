#include "model/attention.hpp"

namespace llama {

template void attention<subbit::cpu, float>(const subbit::cpu&, const attention_shape&, matrix_view<const float>,
                                            matrix_view<const float>, matrix_view<const float>, matrix_view<float>);
template void attention_backward<subbit::cpu, float>(const subbit::cpu&, const attention_shape&,
                                                     const attention_values<float>&, matrix_view<const float>,
                                                     const attention_gradients<float>&);

}  // namespace llama
