// Scales as they are stored in files (docs/format.md).
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/half.hpp>

#include <initializer_list>
#include <string>

namespace subbit {

namespace detail {

template <class S>
void round_to_f16(std::initializer_list<vector<S>*> all, const std::string& layer_name) {
    for (vector<S>* scales : all)
        for (S& s : *scales) {
            s = static_cast<S>(from_f16(to_f16(static_cast<float>(s))));
            if (!is_finite(s)) throw value_error(layer_name + ": a scale is not a finite 16-bit float");
        }
}

}  // namespace detail

/// Rounds the scales to the 16-bit floats of files; value_error naming `layer_name` if one is out of range.
template <class S>
void round_scales(low_rank_binary_linear<S>& layer, const std::string& layer_name) {
    detail::round_to_f16({&layer.s_post, &layer.s_mid, &layer.s_pre}, layer_name);
}
template <class S>
void round_scales(residual_binary_linear<S>& layer, const std::string& layer_name) {
    for (auto& path : layer.paths)
        detail::round_to_f16({&path.s_post, &path.s_pre}, layer_name);
}

}  // namespace subbit
