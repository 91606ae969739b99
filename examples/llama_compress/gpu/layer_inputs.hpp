// What a block's linear layers read: a norm, attention, the gate of an MLP. Of one token the kernel of the layers'
// first product makes it itself, as a source (subbit/backend/gpu/packed/vector_sources.hpp), which saves a kernel
// before it; every block of the product makes the whole vector then, a few numbers a thread. Else it is a matrix that a
// kernel has made.
//
// An input has source(pre), the vector diag(pre) times the input's only row, and make(b), all rows as a matrix;
// has_source() says where the first takes less time.
#pragma once

#include "gpu/decode_attention.hpp"
#include "gpu/gate.hpp"
#include "model/norm.hpp"

#include <subbit/backend/gpu.hpp>
#include <subbit/backend/gpu/packed/vector_sources.hpp>

#include <cmath>
#include <span>

namespace llama {

namespace gpu_decode {

using subbit::gpu::entry_scale;
using subbit::gpu::float_entries;
using subbit::gpu::four;
using subbit::gpu::warp_planes;

/// diag(pre) (x / rms(x) o (offset + weight)): the product is linear, and takes the root mean square out of the sums.
struct norm_vector {
    static constexpr int tiles = subbit::gpu::read_tiles;

    float_entries x, weight, pre;
    float eps, offset;

    template <int Halves>
    struct factors {
        four<float> weight[Halves], pre[Halves];
    };
    template <int Halves, class At>
    SUBBIT_KERNEL factors<Halves> load_factors(At at) const {
        factors<Halves> f;
        weight.read(f.weight, at);
        pre.read(f.pre, at);
        return f;
    }
    template <int Halves, class Block, class At>
    SUBBIT_KERNEL warp_planes<tiles, Halves> load(Block& block, int, const factors<Halves>& f, At at) const {
        four<float> v[Halves];
        x.read(v, at);
        float squares = 0;
        SUBBIT_UNROLL
        for (int e = 0; e < Halves * 4; ++e) {
            float& number = v[e / 4].at[e % 4];
            squares += number * number;
            number *= (offset + f.weight[e / 4].at[e % 4]) * f.pre[e / 4].at[e % 4];
        }
        auto planes = planes_of_numbers(block, v, x.size, at);
        planes.share = block.warp_sum(squares);
        return planes;
    }
    SUBBIT_KERNEL float factor(float squares) const { return inverse_root(squares / static_cast<float>(x.size), eps); }
};

/// diag(scale) (act(gate) o up).
struct gated_vector : entry_scale {
    static constexpr int tiles = subbit::gpu::read_tiles;

    float_entries gate, up;
    activation kind;

    template <int Halves, class Block, class At>
    SUBBIT_KERNEL warp_planes<tiles, Halves> load(Block& block, int, const factors<Halves>& f, At at) const {
        four<float> v[Halves], u[Halves];
        gate.read(v, at);
        up.read(u, at);
        SUBBIT_UNROLL
        for (int e = 0; e < Halves * 4; ++e) {
            const float g = v[e / 4].at[e % 4];
            v[e / 4].at[e % 4] =
                g / (1 + std::exp(-gate_exponent(kind, g))) * u[e / 4].at[e % 4] * f.of[e / 4].at[e % 4];
        }
        return planes_of_numbers(block, v, gate.size, at);
    }
};

/// diag(scale) times what the parts of one row's attention give together, for heads of whole fours.
struct attention_vector : entry_scale {
    static constexpr int tiles = subbit::gpu::read_tiles, usual_halves = 1;

    attention_parts parts;

    template <int Halves, class Block, class At>
    SUBBIT_KERNEL warp_planes<tiles, Halves> load(Block& block, int, const factors<Halves>& f, At at) const {
        four<float> v[Halves];
        SUBBIT_UNROLL
        for (int h = 0; h < Halves; ++h) {
            v[h] = at(h) < scale.size ? merged(at(h)) : four<float>{};
            SUBBIT_UNROLL
            for (int e = 0; e < 4; ++e)
                v[h].at[e] *= f.of[h].at[e];
        }
        return planes_of_numbers(block, v, scale.size, at);
    }

  private:
    /// Entries c .. c + 3, of one head.
    SUBBIT_KERNEL four<float> merged(int c) const {
        const int head = c / parts.head_dim, stride = attention_parts::stride(parts.head_dim);
        const float* const first = parts.at(head, 0);
        const float* const values = first + attention_parts::sum + (c - head * parts.head_dim);
        four<float> loaded[token_shares], sum = {};
        SUBBIT_UNROLL
        for (int s = 0; s < token_shares; ++s)  // under way before the tops are waited for
            loaded[s] = *reinterpret_cast<const four<float>*>(values + s * stride);
        const part_weights<token_shares> weights(first, token_shares, stride);
        const float inverse = 1 / weights.sum(first + 1, token_shares, stride);
        SUBBIT_UNROLL
        for (int s = 0; s < token_shares; ++s)
            SUBBIT_UNROLL
        for (int e = 0; e < 4; ++e)
            sum.at[e] += weights.of[s] * loaded[s].at[e];
        SUBBIT_UNROLL
        for (int e = 0; e < 4; ++e)
            sum.at[e] *= inverse;
        return sum;
    }
};

}  // namespace gpu_decode

/// X / rms(X) o (offset + weight); `made` has room for it.
struct normed_input {
    matrix_view<const float> X;
    std::span<const float> weight;
    norm_rule rule;
    matrix_view<float> made;

    static bool has_source() { return true; }
    gpu_decode::norm_vector source(const float* pre) const {
        return {{X.data, X.cols}, {weight.data(), X.cols}, {pre, X.cols}, eps(), offset()};
    }
    template <class Backend>
    matrix_view<const float> make(const Backend& b) const {
        launch(b, made, false);
        return made;
    }
    /// Y += the normed rows, where `made` is not needed.
    template <class Backend>
    void add_to(const Backend& b, matrix_view<float> Y) const {
        launch(b, Y, true);
    }

  private:
    template <class Backend>
    void launch(const Backend& b, matrix_view<float> Y, bool add) const {
        b.launch({X.rows, gpu_decode::threads}, gpu_decode::norm_rows{X, weight.data(), eps(), offset(), Y, add});
    }
    float eps() const { return static_cast<float>(rule.eps); }
    float offset() const { return static_cast<float>(rule.offset); }
};

/// act(gate) o up; make() leaves it in gate.
struct gated_input {
    activation kind;
    matrix_view<float> gate;
    matrix_view<const float> up;

    /// Counted: some 25 instructions an entry, in every block; beyond this they take as long as a kernel before them.
    static constexpr index most = 8192;
    bool has_source() const { return gate.cols <= most; }
    gpu_decode::gated_vector source(const float* pre) const {
        return {{{pre, gate.cols}}, {gate.data, gate.cols}, {up.data, up.cols}, kind};
    }
    template <class Backend>
    matrix_view<const float> make(const Backend& b) const {
        gated(b, kind, matrix_view<const float>(gate), up, gate);
        return gate;
    }
};

/// Attention, of which there are parts; `made` has room for it.
struct attention_input {
    gpu_decode::attention_parts parts;
    matrix_view<float> made;

    /// Every block reads all parts, 8 numbers for an entry: beyond this they are megabytes.
    static constexpr index most = 2048;
    bool has_source() const { return parts.head_dim % 4 == 0 && made.cols <= most; }
    gpu_decode::attention_vector source(const float* pre) const { return {{{pre, made.cols}}, parts}; }
    template <class Backend>
    matrix_view<const float> make(const Backend& b) const {
        gpu_decode::merge(b, parts, made);
        return made;
    }
};

}  // namespace llama
