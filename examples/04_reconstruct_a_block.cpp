// A block of your own, compressed to one bit per weight and tuned: Y = X + relu(X W1') W2', two linear layers with an
// activation between them. The members of `mlp` are all that the library requires of a block (recon/block_concept.hpp).
#include <subbit/subbit.hpp>

#include <array>
#include <cmath>
#include <cstdio>

namespace sb = subbit;

class mlp {
  public:
    using scalar = float;

    /// What a forward pass keeps for the backward pass.
    struct tape {
        sb::matrix<float> inputs, hidden;
        std::array<sb::linear_tape<float>, 2> layers;
    };

    mlp(sb::matrix<float> W1, sb::matrix<float> W2) {
        layers_[0] = sb::dense_linear<float>{std::move(W1), {}, {}, {}};
        layers_[1] = sb::dense_linear<float>{std::move(W2), {}, {}, {}};
    }

    sb::index layer_total() const { return 2; }
    sb::linear_layer<float>& layer(sb::index l) { return layers_[static_cast<std::size_t>(l)]; }
    std::string layer_name(sb::index l) const { return l == 0 ? "up" : "down"; }

    /// X, Y (tokens, d). The tokens of a window do not see each other here, so the window's length has no effect.
    void forward(const sb::cpu& b, sb::matrix_view<const float> X, sb::index /*window*/, sb::matrix_view<float> Y,
                 tape& t) const {
        t.inputs = sb::as_eigen(X);
        t.hidden.resize(X.rows, layers_[0].rows());
        layers_[0].forward(b, X, sb::view(t.hidden), t.layers[0], buffers_);
        t.hidden = t.hidden.cwiseMax(0).eval();
        layers_[1].forward(b, sb::const_view(t.hidden), Y, t.layers[1], buffers_);
        sb::as_eigen(Y) += t.inputs;
    }

    /// The layers write the gradients of their parameters; dX (tokens, d) is the block's. `observe` sees each layer's
    /// inputs and the gradients of its outputs.
    template <class Observe = void (*)(sb::index, sb::matrix_view<const float>, sb::matrix_view<const float>)>
    void backward(
        const sb::cpu& b, const sb::trainable& train, const tape& t, sb::index /*window*/,
        sb::matrix_view<const float> dY, sb::matrix_view<float> dX, Observe observe = [](auto...) {}) {
        sb::matrix<float> d_out = sb::as_eigen(dY), d_hidden(t.hidden.rows(), t.hidden.cols());
        observe(1, sb::const_view(t.hidden), sb::const_view(d_out));
        layers_[1].backward(b, train, sb::const_view(t.hidden), sb::view(d_out), sb::view(d_hidden), false, t.layers[1],
                            buffers_);
        d_hidden = (t.hidden.array() > 0).select(d_hidden, 0.0F).eval();
        observe(0, sb::const_view(t.inputs), sb::const_view(d_hidden));
        sb::as_eigen(dX) = sb::as_eigen(dY);  // the gradient past the layers; that through them is added below
        layers_[0].backward(b, train, sb::const_view(t.inputs), sb::view(d_hidden), dX, true, t.layers[0], buffers_);
    }

    void parameters(const sb::cpu& b, const std::string& prefix, const sb::trainable& train,
                    std::vector<sb::parameter<float>>& list) {
        for (sb::index l = 0; l < 2; ++l)
            layer(l).parameters(b, prefix + layer_name(l), train, list);
    }
    void after_update(const sb::cpu& b) {
        for (auto& layer : layers_)
            layer.after_update(b);
    }

  private:
    std::array<sb::linear_layer<float>, 2> layers_;
    mutable sb::linear_workspace<float> buffers_;
};
static_assert(sb::reconstruction_block<mlp, sb::cpu>);

/// A rows x cols matrix of normally distributed numbers.
sb::matrix<float> normal(const sb::cpu& b, std::uint64_t stream, sb::index rows, sb::index cols) {
    sb::matrix<float> X(rows, cols);
    sb::fill_normal(b, sb::random_stream(1, stream), X);
    return X;
}

/// A weight like a trained one: low rank and noise, rows of about unit length.
sb::matrix<float> make_weight(const sb::cpu& b, std::uint64_t stream, sb::index m, sb::index n) {
    const sb::matrix<float> left = normal(b, stream, m, 16), right = normal(b, stream + 1, 16, n);
    const sb::matrix<float> W = left * right / 4.0F + 0.3F * normal(b, stream + 2, m, n);
    return W / std::sqrt(static_cast<float>(n));
}

/// The second moments of every layer's inputs and output gradients, dY being the gradient of some loss.
std::vector<sb::layer_moments<float>> calibrate(const sb::cpu& b, mlp& block, const sb::matrix<float>& X,
                                                const sb::matrix<float>& dY, sb::index window) {
    std::vector<sb::clipped_moments<float>> inputs, outputs;
    for (sb::index l = 0; l < block.layer_total(); ++l) {
        inputs.emplace_back(block.layer(l).cols());
        outputs.emplace_back(block.layer(l).rows());
    }
    mlp::tape tape;
    sb::matrix<float> Y(X.rows(), X.cols()), dX(X.rows(), X.cols());
    block.forward(b, sb::const_view(X), window, sb::view(Y), tape);
    for (const bool adds : {false, true})  // the first pass finds the norms beyond which a token is clipped
        block.backward(b, {}, tape, window, sb::const_view(dY), sb::view(dX), [&](sb::index l, auto in, auto d_out) {
            auto& i = inputs[static_cast<std::size_t>(l)];
            auto& o = outputs[static_cast<std::size_t>(l)];
            adds ? i.add_batch(b, in) : i.observe(b, in);
            adds ? o.add_batch(b, d_out) : o.observe(b, d_out);
        });
    std::vector<sb::layer_moments<float>> moments;
    for (std::size_t l = 0; l < inputs.size(); ++l)
        moments.push_back({sb::shrink(inputs[l].finish(), 0.4), sb::shrink(outputs[l].finish(), 0.4)});
    return moments;
}

int main() {
    const sb::index d = 96, inner = 192, window = 32, tokens = 16 * window;
    const sb::cpu b;
    mlp block(make_weight(b, 10, inner, d), make_weight(b, 20, d, inner));

    // Some channels are larger than others. The targets are the dense block's outputs.
    const sb::matrix<float> X = normal(b, 1, tokens, d) * sb::vector<float>::LinSpaced(d, 0.2F, 2.0F).asDiagonal();
    sb::matrix<float> targets(tokens, d);
    mlp::tape tape;
    block.forward(b, sb::const_view(X), window, sb::view(targets), tape);

    const auto moments = calibrate(b, block, X, normal(b, 2, tokens, d), window);
    const std::array<sb::layer_shape, 2> shapes{{{inner, d}, {d, inner}}};
    const auto ranks = sb::distribute_ranks(shapes, {}, sb::bits_per_weight{1.0});
    const sb::block_data<float> data{sb::const_view(X), sb::const_view(targets), {}, window};
    const auto report = sb::reconstruct_block(b, block, data, {.compressor = sb::lb_compressor(ranks, moments)});

    for (const auto& layer : report.layers)
        std::printf("%-5s %td x %td at rank %td: %.3f bits per weight, error %.4f, %.1f %% of the signs flipped\n",
                    layer.name.c_str(), layer.rows, layer.cols, layer.rank, layer.bits_per_weight, layer.factor_error,
                    100 * layer.flipped);
    std::printf("the block's error: %.4f factorized, %.4f tuned\n", report.factor_error, report.tuned_error);

    const bool helped = report.tuned_error < 0.9 * report.factor_error;
    const bool consistent = sb::block_error(b, block, data) == report.tuned_error && block.layer(0).is_binary();
    if (!helped) std::fprintf(stderr, "check failed: tuning did not lower the error by a tenth\n");
    if (!consistent) std::fprintf(stderr, "check failed: the block's error is not the one reported\n");
    return helped && consistent ? 0 : 1;
}
