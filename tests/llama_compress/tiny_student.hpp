// A tiny student: blocks of 32 channels, factorized without calibration, and windows for them.
#pragma once

#include "tiny_block.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/core/progress.hpp>
#include <subbit/factor/dual_svid.hpp>
#include <subbit/recon/compressed_layer.hpp>

#include <cstddef>
#include <string_view>

namespace llama::testing {

inline constexpr index student_window = 12, student_windows = 5, student_tokens = student_window * student_windows;

inline model_config config_of_student() {
    return small_config("llama", {{"hidden_size", 32}, {"head_dim", 8}, {"intermediate_size", 40}});
}

/// Cancels the work after so many steps.
struct stopping_progress : subbit::progress {
    std::size_t left = 1000000;
    void step(std::string_view, std::size_t, std::size_t, double) override { --left; }
    bool cancelled() const override { return left == 0; }
};

inline subbit::binary_linear<float> factorize(const subbit::cpu& b, subbit::matrix_view<const float> weight, index rank,
                                              double* error = nullptr) {
    auto f = subbit::dual_svid(b, weight, {.rank = rank});
    if (error) *error = f.error;
    return subbit::trainable_layer(std::move(f));
}

inline bool same_layer(const subbit::low_rank_binary_linear<float>& a, const subbit::low_rank_binary_linear<float>& b) {
    return a.U == b.U && a.V == b.V && a.s_post == b.s_post && a.s_mid == b.s_mid && a.s_pre == b.s_pre;
}
inline bool same_block(const block<float>& a, const block<float>& b) {
    bool same = a.norms == b.norms;
    for (index l = 0; l < a.layer_total(); ++l)
        same = same && same_layer(a.layer(l).binary().layer, b.layer(l).binary().layer);
    return same;
}

}  // namespace llama::testing
