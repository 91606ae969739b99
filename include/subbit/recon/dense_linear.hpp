// A linear layer as the original model has it.
#pragma once

#include <subbit/backend/operations.hpp>
#include <subbit/recon/linear_tape.hpp>
#include <subbit/recon/row_operations.hpp>
#include <subbit/train/adamw.hpp>

#include <string>
#include <vector>

namespace subbit {

/// A full-precision layer: weight (m,n), bias m or empty.
template <class S>
struct dense_linear {
    matrix<S> weight;
    vector<S> bias;
    matrix<S> d_weight;
    vector<S> d_bias;

    index rows() const { return weight.rows(); }
    index cols() const { return weight.cols(); }

    template <host_backend B>
    void forward(const B& b, matrix_view<const S> X, matrix_view<S> Y, linear_tape<S>& /*tape*/,
                 linear_workspace<S>& /*work*/) const {
        gemm(b, X, view(weight).t(), Y);
        if (bias.size() != 0) add_to_rows(b, Y, const_span(bias));
    }

    template <host_backend B>
    void infer(const B& b, matrix_view<const S> X, matrix_view<S> Y) const {
        constexpr index few = 4;
        if (X.rows <= few)
            multiply_rows(b, X, const_view(weight), Y);
        else
            gemm(b, X, view(weight).t(), Y);
        if (bias.size() != 0) add_to_rows(b, Y, const_span(bias));
    }

    template <host_backend B>
    void backward(const B& b, const trainable& train, matrix_view<const S> X, matrix_view<S> dY, matrix_view<S> dX,
                  bool accumulate, const linear_tape<S>& /*tape*/, linear_workspace<S>& /*work*/) {
        if (train.weights) {
            d_weight.resize(rows(), cols());
            gemm(b, dY.t(), X, d_weight);
        }
        if (train.biases && bias.size() != 0) {
            d_bias.resize(bias.size());
            token_sums(b, const_view(dY), span_of(d_bias));
        }
        if (dX.size() != 0) gemm(b, dY, weight, dX, 1, accumulate ? 1 : 0);
    }

    void parameters(const std::string& name, const trainable& train, std::vector<parameter<S>>& list) {
        if (train.weights) {
            if (d_weight.size() == 0) d_weight.setZero(rows(), cols());
            list.push_back(matrix_parameter(name + ".weight", parameter_kind::weight, weight, d_weight));
        }
        if (train.biases && bias.size() != 0) {
            if (d_bias.size() == 0) d_bias.setZero(bias.size());
            list.push_back({name + ".bias", parameter_kind::bias, span_of(bias), span_of(d_bias)});
        }
    }

    template <host_backend B>
    void after_update(const B&) {}
};

}  // namespace subbit
