// The coupled forward of residual binarization (RaBiT, arXiv 2602.05367; rabit.md section 3).
#pragma once

#include <subbit/backend/path_operations.hpp>
#include <subbit/bits/residual_binary_linear.hpp>

namespace subbit {

/// Derives the signs of all paths from one weight W (m,n), in order: R_0 = W; B_p = sign(R_{p-1}),
/// R_p = R_{p-1} - diag(g_p) B_p diag(h_p). The layer's scales stay; R (m,n) holds what the paths leave. W and R are in
/// the backend's memory, and the backend's is the host's.
template <class B, class MW, class MR, class S>
void couple_paths(const B& b, const MW& W, residual_binary_linear<S>& layer, MR&& R) {
    axpby(b, 1, W, 0, R);
    for (auto& path : layer.paths)
        path.B = peel_signs(b, R, const_span(path.s_post), const_span(path.s_pre));
}

}  // namespace subbit
