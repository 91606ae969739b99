// Whole binary layers on the device: uploaded once, then one launch for all V of a job and one for all U.
#pragma once

#include <subbit/backend/gpu/packed_products.hpp>
#include <subbit/bits/low_rank_binary_linear.hpp>
#include <subbit/bits/residual_binary_linear.hpp>
#include <subbit/core/half.hpp>

#include <initializer_list>
#include <span>
#include <type_traits>
#include <vector>

namespace subbit {

namespace gpu {

template <class Device, class Real>
buffer<Device, Real> upload_scales(const gpu_backend<Device>& b, const subbit::vector<Real>& scales) {
    buffer<Device, Real> copy(b.device(), scales.size());
    b.device().copy_to_device(copy.data(), scales.data(), copy.bytes());
    return copy;
}

}  // namespace gpu

/// A low_rank_binary_linear whose parts are in the device's memory.
template <class Device, class Real = float>
class device_low_rank_linear {
  public:
    /// Throws shape_error unless the layer's parts fit together.
    device_low_rank_linear(const gpu_backend<Device>& b, const low_rank_binary_linear<Real>& layer)
        : U_((layer.validate(), gpu::upload_bits(b, layer.U))),
          V_(gpu::upload_bits(b, layer.V)),
          s_post_(gpu::upload_scales(b, layer.s_post)),
          s_pre_(gpu::upload_scales(b, layer.s_pre)),
          s_mid_(gpu::upload_scales(b, layer.s_mid)),
          bias_(gpu::upload_scales(b, layer.bias)) {}

    index rows() const { return U_.rows(); }
    index cols() const { return V_.cols(); }
    index rank() const { return U_.cols(); }
    bit_view U() const { return U_.view(); }
    bit_view V() const { return V_.view(); }
    const Real* s_post() const { return s_post_.data(); }
    const Real* s_pre() const { return s_pre_.data(); }
    const Real* s_mid() const { return s_mid_.data(); }  ///< or null: ones
    const Real* bias() const { return bias_.data(); }    ///< or null: zeros

  private:
    gpu::device_bit_matrix<Device> U_, V_;
    gpu::buffer<Device, Real> s_post_, s_pre_, s_mid_, bias_;
};

/// A residual_binary_linear whose parts are in the device's memory.
template <class Device, class Real = float>
class device_residual_linear {
  public:
    /// Throws shape_error or value_error unless the layer's parts fit together.
    device_residual_linear(const gpu_backend<Device>& b, const residual_binary_linear<Real>& layer)
        : rows_(layer.rows()), cols_(layer.cols()), bias_(gpu::upload_scales(b, layer.bias)) {
        layer.validate();
        for (const auto& path : layer.paths)
            paths_.push_back(
                {gpu::upload_bits(b, path.B), gpu::upload_scales(b, path.s_post), gpu::upload_scales(b, path.s_pre)});
    }

    index rows() const { return rows_; }
    index cols() const { return cols_; }

    /// What a launch makes of it: Y (T,m) for X (T,n).
    template <class In, class Out>
    gpu::packed_output<In, Out, Real> output(matrix_view<const In> X, matrix_view<Out> Y) const {
        gpu::packed_output<In, Out, Real> out;
        out.part_count = static_cast<int>(paths_.size());
        for (std::size_t p = 0; p < paths_.size(); ++p)
            out.parts[p] = {paths_[p].B.view(), X, paths_[p].s_pre.data(), paths_[p].s_post.data(), {}};
        out.bias = bias_.data();
        out.Y = Y;
        return out;
    }

  private:
    struct device_path {
        gpu::device_bit_matrix<Device> B;
        gpu::buffer<Device, Real> s_post, s_pre;
    };
    index rows_, cols_;
    std::vector<device_path> paths_;
    gpu::buffer<Device, Real> bias_;
};

/// A device's layer and where its outputs go: one part of apply_layers.
template <class Device, class Out, class Real = float>
struct device_layer_output {
    const device_low_rank_linear<Device, Real>& layer;
    matrix_view<Out> Y;  ///< (T,m)
    Real beta = 0;       ///< of the old Y that is added: a residual connection is 1
};

/// Several layers on the device that read the same X (T,n), as one job; In and Out are Real, or f16 or bf16 for float
/// layers, whose sums are made as if in float. Throws shape_error.
template <class Device, class In, class Out, class Real>
void apply_layers(const gpu_backend<Device>& b, matrix_view<const In> X,
                  std::span<const device_layer_output<Device, Out, Real>> layers,
                  gpu::packed_workspace<Device, Real>& work) {
    index ranks = 0;
    for (const auto& part : layers) {
        require_shape("apply: X", X.rows, X.cols, X.rows, part.layer.cols());
        require_shape("apply: Y", part.Y.rows, part.Y.cols, X.rows, part.layer.rows());
        ranks += part.layer.rank();
    }
    std::vector<gpu::packed_output<In, Real, Real>> inner(layers.size());
    std::vector<gpu::packed_output<Real, Out, Real>> outer(layers.size());
    Real* next = work.hidden(X.rows * ranks);
    for (std::size_t l = 0; l < layers.size(); ++l) {
        const auto& layer = layers[l].layer;
        const matrix_view<Real> hidden(next, X.rows, layer.rank());
        inner[l].parts[0] = {layer.V(), X, layer.s_pre(), nullptr, {}};
        inner[l].Y = hidden;
        outer[l].parts[0] = {layer.U(), hidden, layer.s_mid(), layer.s_post(), {}};
        outer[l].bias = layer.bias();
        outer[l].Y = layers[l].Y;
        outer[l].beta = layers[l].beta;
        next += hidden.size();
    }
    gpu::packed_products(b, std::span<const gpu::packed_output<In, Real, Real>>(inner), work);
    gpu::packed_products(b, std::span<const gpu::packed_output<Real, Out, Real>>(outer), work);
}
/// The same for a list: apply_layers(b, X, {{q, Q}, {k, K}, {v, V}}, work).
template <class Device, class In, class Real>
void apply_layers(const gpu_backend<Device>& b, matrix_view<const In> X,
                  std::initializer_list<device_layer_output<Device, In, std::type_identity_t<Real>>> layers,
                  gpu::packed_workspace<Device, Real>& work) {
    apply_layers(b, X, std::span<const device_layer_output<Device, In, Real>>(layers.begin(), layers.size()), work);
}

/// The layers' parts are the host's here, and are uploaded for the call: device_low_rank_linear is for those that stay.
template <class Device, class S>
void do_apply_layers(gpu_tag, const gpu_backend<Device>& b, std::span<const layer_output<S>> layers,
                     matrix_view<const S> X, apply_options) {
    std::vector<device_low_rank_linear<Device, S>> uploaded;
    uploaded.reserve(layers.size());
    std::vector<device_layer_output<Device, S, S>> outputs;
    for (const auto& part : layers) {
        uploaded.emplace_back(b, part.layer);
        outputs.push_back({uploaded.back(), part.Y});
    }
    gpu::packed_workspace<Device, S> work(b);
    apply_layers(b, X, std::span<const device_layer_output<Device, S, S>>(outputs), work);
}

template <class Device, class S>
void do_apply_layer(gpu_tag, const gpu_backend<Device>& b, const residual_binary_linear<S>& layer,
                    matrix_view<const S> X, matrix_view<S> Y) {
    const device_residual_linear<Device, S> uploaded(b, layer);
    gpu::packed_workspace<Device, S> work(b);
    const auto output = uploaded.output(X, Y);
    gpu::packed_products(b, std::span<const gpu::packed_output<S, S, S>>(&output, 1), work);
}

}  // namespace subbit
