// A dense linear layer, as in the original model.
#pragma once

#include <subbit/backend/ops/dense.hpp>
#include <subbit/backend/ops/memory.hpp>
#include <subbit/backend/ops/rows.hpp>
#include <subbit/bits/apply_options.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/train/adamw.hpp>

#include <string>
#include <vector>

namespace subbit {

/// A full-precision layer: weight (m,n), bias m or empty.
template <class S, class Memory = host_memory>
struct dense_linear {
    matrix_in<S, Memory> weight;
    vector_in<S, Memory> bias;
    matrix_in<S, Memory> d_weight;
    vector_in<S, Memory> d_bias;

    index rows() const { return view(weight).rows; }
    index cols() const { return view(weight).cols; }

    template <class B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S, Memory>& /*tape*/,
                 linear_workspace<S, Memory>& /*work*/) const {
        gemm(b, X, view(weight).t(), Y);
        if (has_bias()) add_to_rows(b, Y, const_span(bias));
    }

    template <class B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y, apply_options = {}) const {
        constexpr index few = 4;
        if (X.rows <= few)
            multiply_rows(b, X, const_view(weight), Y);
        else
            gemm(b, X, view(weight).t(), Y);
        if (has_bias()) add_to_rows(b, Y, const_span(bias));
    }

    template <class B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S, Memory>& /*tape*/, linear_workspace<S, Memory>& /*work*/) {
        if (train.weights) {
            reshape(b, d_weight, rows(), cols());
            gemm(b, dY.t(), X, d_weight);
        }
        if (train.biases && has_bias()) {
            reshape(b, d_bias, rows());
            token_sums(b, const_view(dY), span_of(d_bias));
        }
        if (dX.size() != 0) gemm(b, dY, weight, dX, 1, accumulate ? 1 : 0);
    }

    template <class B>
    void parameters(const B& b, const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        if (train.weights) {
            if (view(d_weight).size() == 0) d_weight = allocate<S>(b, rows(), cols());
            list.push_back(matrix_parameter(name + ".weight", parameter_kind::weight, weight, d_weight));
        }
        if (train.biases && has_bias()) {
            if (const_span(d_bias).empty()) d_bias = allocate<S>(b, rows());
            list.push_back({name + ".bias", parameter_kind::bias, span_of(bias), span_of(d_bias)});
        }
    }

    template <class B>
    void after_update(const B&) {}

  private:
    bool has_bias() const { return !const_span(bias).empty(); }
};

/// A layer moved into the backend's memory.
template <class B, class S>
dense_linear<S, memory_of<B>> upload(const B& b, dense_linear<S> host) {
    return {upload(b, std::move(host.weight)), upload(b, std::move(host.bias)), {}, {}};
}

}  // namespace subbit
