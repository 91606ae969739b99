// Residual binarization: paths as arguments of a kernel, and what is done to them.
#pragma once

#include <subbit/backend/gpu/backend.hpp>
#include <subbit/backend/gpu/kernels/bits.hpp>
#include <subbit/backend/ops/paths.hpp>
#include <subbit/bits/layer_view.hpp>

#include <cstdint>
#include <span>
#include <utility>
#include <vector>

namespace subbit {

namespace gpu {

/// Host paths' scales, and words where they are wanted, on the device.
template <class Device, class S>
class device_paths {
  public:
    device_paths(const gpu_backend<Device>& b, std::span<const binary_path<S>> paths, bool with_words) {
        require_path_count("paths", std::ssize(paths));
        for (const auto& path : paths) {
            const bit_view host = path.B.view();
            words_.push_back(b.template scratch<std::uint32_t>(host.word_count()));
            if (with_words)
                b.device().copy_to_device(words_.back().data(), host.words(), words_.back().bytes());
            else
                b.device().clear(words_.back().data(), words_.back().bytes());
            post_.push_back(do_upload(gpu_tag{}, b, span_of(path.s_post)));
            pre_.push_back(do_upload(gpu_tag{}, b, span_of(path.s_pre)));
            parts_.paths[parts_.count++] = {{words_.back().data(), host.rows(), host.cols()},
                                            span_of(std::as_const(post_.back())).data(),
                                            span_of(std::as_const(pre_.back())).data()};
        }
    }
    const residual_view<S>& parts() const { return parts_; }
    std::uint32_t* words(std::size_t p) { return words_[p].data(); }

  private:
    std::vector<buffer<Device, std::uint32_t>> words_;
    std::vector<device_vector<Device, S>> post_, pre_;
    residual_view<S> parts_;
};

/// All paths' signs from one weight, in one pass: a warp for each 32 columns of a row, what is left in a register.
template <class S>
struct couple_words {
    matrix_view<const S> W;
    residual_view<S> paths;
    std::uint32_t* words[max_paths];

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        const index groups = bit_layout::col_groups(W.cols);
        for_each_warp(block, W.rows * groups, [&](index item) {
            const auto [i, g] = place_of(item, groups);
            const index j = g * bit_layout::tile_cols + block.lane();
            const bool inside = j < W.cols;
            S left = inside ? W(i, j) : S(-1);
            for (int p = 0; p < paths.count; ++p) {
                const bool positive = inside && left >= S(0);
                const std::uint32_t word = block.ballot(positive);
                if (block.lane() == 0) words[p][bit_layout::word_index(i, g, groups)] = word;
                if (inside) left -= (positive ? S(1) : S(-1)) * paths.paths[p].s_post[i] * paths.paths[p].s_pre[j];
            }
        });
    }
};

template <class S>
struct expand_entry {
    matrix_view<S> W;
    residual_view<S> paths;

    SUBBIT_KERNEL void operator()(index i, index j) const {
        S sum = 0;
        for (int p = 0; p < paths.count; ++p)
            sum += paths.paths[p].s_post[i] * static_cast<S>(paths.paths[p].B.get(i, j)) * paths.paths[p].s_pre[j];
        W(i, j) = sum;
    }
};

/// G(i,j) B(i,j) factor_j summed over j; `turned` where G is the transpose of what B belongs to.
template <class S>
struct signed_sum {
    matrix_view<const S> G;
    bit_view B;
    bool turned;
    const S* factor;
    S* sums;

    SUBBIT_KERNEL double operator()(index i, index j) const {
        const int s = turned ? B.get(j, i) : B.get(i, j);
        return static_cast<double>(G(i, j)) * s * static_cast<double>(factor[j]);
    }
    SUBBIT_KERNEL void store(index i, double sum) const { sums[i] = static_cast<S>(sum); }
};

/// One path's signs and scales where the rows' are fitted.
template <class S>
struct fitted_path {
    matrix_view<const S> signs;
    S* rows;
    const S* cols;
};

/// The refit of all paths' scales of a row: a warp sums the normal equations, and every lane solves them.
template <class S>
struct fit_rows_of_paths {
    matrix_view<const S> T;
    int count;
    fitted_path<S> paths[max_paths];

    template <class Block>
    SUBBIT_KERNEL void operator()(Block& block) const {
        for_each_warp(block, T.rows, [&](index i) {
            double gram[max_paths][max_paths] = {}, overlap[max_paths] = {}, x[max_paths] = {};
            for (index j = block.lane(); j < T.cols; j += warp_size) {
                double term[max_paths] = {};
                for (int p = 0; p < count; ++p) {
                    term[p] = static_cast<double>(paths[p].signs(i, j) * paths[p].cols[j]);
                    overlap[p] += term[p] * static_cast<double>(T(i, j));
                }
                for (int p = 0; p < count; ++p)
                    for (int q = 0; q < count; ++q)
                        gram[p][q] += term[p] * term[q];
            }
            for (int p = 0; p < count; ++p) {
                overlap[p] = block.warp_sum(overlap[p]);
                x[p] = static_cast<double>(paths[p].rows[i]);
                for (int q = 0; q < count; ++q)
                    gram[p][q] = block.warp_sum(gram[p][q]);
            }
            for (int sweep = 0; sweep < path_fit_sweeps; ++sweep)
                for (int p = 0; p < count; ++p) {
                    if (gram[p][p] <= 0) continue;
                    double rest = overlap[p];
                    for (int q = 0; q < count; ++q)
                        if (q != p) rest -= gram[p][q] * x[q];
                    const double best = rest / gram[p][p];
                    x[p] = static_cast<double>(static_cast<S>(best < 0 ? 0.0 : best));
                }
            if (block.lane() != 0) return;
            for (int p = 0; p < count; ++p)
                paths[p].rows[i] = static_cast<S>(x[p]);
        });
    }
};

}  // namespace gpu

}  // namespace subbit
