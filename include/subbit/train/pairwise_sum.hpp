// The sum of a batch's gradients in a fixed tree, which several ranks can make together with the same result.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/core/types.hpp>
#include <subbit/train/parameter.hpp>

#include <span>
#include <vector>

namespace subbit {

/// Sums the gradients of consecutive terms pairwise, like a binary counter: parts of equal numbers of terms are joined
/// as soon as there are two (distribute/shares.hpp: left_terms). For n terms it keeps log2(n) gradients, and its
/// rounding error grows with log2(n).
template <class S, class Memory>
class pairwise_sum {
  public:
    /// Adds the parameters' present gradients as term `term` of `terms`, from 0 on. After the last one the gradients
    /// are the sums. Can be recorded for each pair of numbers.
    template <class B>
    void add(const B& b, std::span<const parameter<S>> parameters, index term, index terms) {
        const bool ends = term + 1 == terms;
        std::size_t level = 0;
        for (; term >> level != 0; ++level) {
            if (((term >> level) & 1) == 0) {
                if (!ends) break;
                continue;
            }
            for (std::size_t i = 0; i < parameters.size(); ++i)
                axpby(b, 1, in_shape(parameters[i], const_span(parts_[level][i])), 1,
                      in_shape(parameters[i], parameters[i].gradient));
        }
        if (ends) return;
        make_level(b, parameters, level);
        for (std::size_t i = 0; i < parameters.size(); ++i)
            axpby(b, 1, in_shape(parameters[i], std::span<const S>(parameters[i].gradient)), 0,
                  in_shape(parameters[i], span_of(parts_[level][i])));
    }

  private:
    template <class B>
    void make_level(const B& b, std::span<const parameter<S>> parameters, std::size_t level) {
        if (parts_.size() > level) return;
        auto& parts = parts_.emplace_back();
        for (const auto& p : parameters)
            parts.push_back(allocate<S>(b, std::ssize(p.gradient)));
    }

    std::vector<std::vector<vector_in<S, Memory>>> parts_;  // of 1, 2, 4, ... terms, for each parameter
};

}  // namespace subbit
