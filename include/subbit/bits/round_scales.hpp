// Scales as they are stored in files (docs/format.md).
#pragma once

#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/bits/scale_grid.hpp>
#include <subbit/core/error.hpp>
#include <subbit/core/finite.hpp>
#include <subbit/core/half.hpp>

#include <initializer_list>
#include <string>

namespace subbit {

namespace detail {

template <class S>
void round_each(std::initializer_list<vector<S>*> all, const std::string& layer_name, scale_format format) {
    for (vector<S>* scales : all) {
        for (S& s : *scales) {
            if (format == scale_format::f16) s = static_cast<S>(from_f16(to_f16(static_cast<float>(s))));
            if (!is_finite(static_cast<float>(s)))
                throw value_error(layer_name + ": a scale is not a finite " +
                                  (format == scale_format::f16 ? "16-bit" : "32-bit") + " float");
        }
        if (format == scale_format::f16) continue;
        const auto grid = scale_grid::fitted(const_span(*scales));
        for (S& s : *scales)
            s = static_cast<S>(grid.value(grid.code(s)));
    }
}

}  // namespace detail

/// Rounds the scales to those of files; value_error naming `layer_name` if one is out of range.
template <class S>
void round_scales(low_rank_binary_linear<S>& layer, const std::string& layer_name,
                  scale_format format = scale_format::f16) {
    detail::round_each({&layer.s_post, &layer.s_mid, &layer.s_pre}, layer_name, format);
}
template <class S>
void round_scales(residual_binary_linear<S>& layer, const std::string& layer_name,
                  scale_format format = scale_format::f16) {
    for (auto& path : layer.paths)
        detail::round_each({&path.s_post, &path.s_pre}, layer_name, format);
}

}  // namespace subbit
