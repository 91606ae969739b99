// The description of a block's tensors, which a family fills in, and from which loading, calibration, compression,
// resuming, reports and export work.
#pragma once

#include <subbit/factor/rank_budget.hpp>

#include <array>
#include <cstddef>
#include <optional>
#include <string>
#include <vector>

namespace llama {

using subbit::index;
using subbit::layer_shape;

/// The linear layers of a block in the order of its pass; families give them names. `output` is the last of the
/// attention, `down` of the MLP.
enum class linear_id : std::size_t { query, key, value, output, gate, up, down };
inline constexpr std::size_t layer_count = 7;

/// The norms that a block may have: before attention and MLP, of every head of queries and keys, and of what attention
/// and MLP add to the residual stream.
enum class norm_id : std::size_t { attention, query, key, attention_output, mlp, mlp_output };
inline constexpr std::size_t norm_count = 6;

/// One T for every linear layer, or for every norm; also by number.
template <class Id, class T, std::size_t Count>
struct slots : std::array<T, Count> {
    using std::array<T, Count>::operator[];
    T& operator[](Id id) { return (*this)[static_cast<std::size_t>(id)]; }
    const T& operator[](Id id) const { return (*this)[static_cast<std::size_t>(id)]; }
};
template <class T>
using per_linear = slots<linear_id, T, layer_count>;
template <class T>
using per_norm = slots<norm_id, T, norm_count>;

/// The layers that read the same input, in the order of a pass.
inline const std::vector<std::vector<linear_id>> layers_by_input = {
    {linear_id::query, linear_id::key, linear_id::value},
    {linear_id::output},
    {linear_id::gate, linear_id::up},
    {linear_id::down}};

/// The rows of a layer in a tensor that several layers share, such as one for q, k and v.
struct fused_rows {
    std::string name;  ///< of the shared tensors: NAME.weight, NAME.bias
    index first = 0;   ///< row
    index total = 0;   ///< rows of the tensor
};

/// One linear layer. Names are those below the block's prefix, "model.layers.3.".
struct linear_spec {
    linear_id id{};
    std::string name;   ///< NAME.weight and NAME.bias in the original; also what reports call the layer
    layer_shape shape;  ///< (outputs, inputs)
    bool bias = false;
    double rank_share = 1;  ///< its share of the bits, relative to an even division
    index turn = 0;         ///< its place in the order in which layers are factorized
    std::optional<fused_rows> fused = {};

    /// The name of the tensors that hold the dense layer.
    const std::string& stored_name() const { return fused ? fused->name : name; }
    index stored_rows() const { return fused ? fused->total : shape.rows; }
    std::size_t number() const { return static_cast<std::size_t>(id); }
};

/// One norm's weights.
struct norm_spec {
    norm_id id{};
    std::string name;  ///< of the tensor
    index size = 0;
};

/// The settings of a block's attention.
struct attention_spec {
    index span = 0;          ///< tokens, the present one included, that a token sees; 0: all
    std::size_t rotary = 0;  ///< which of the model's rotary embeddings
};

/// The tensors of a block. All blocks of a model have the same linear layers; their norms and attention may differ.
struct block_schema {
    per_linear<linear_spec> linears;
    std::vector<norm_spec> norms;  ///< those that the block has
    attention_spec attention;

    /// The numbers of the linear layers in the order of their turns.
    std::vector<index> turns() const {
        std::vector<index> order(layer_count);
        for (const auto& linear : linears)
            order[static_cast<std::size_t>(linear.turn)] = static_cast<index>(linear.id);
        return order;
    }

    /// Those of the linear layers in their order.
    std::vector<layer_shape> shapes() const {
        std::vector<layer_shape> all;
        for (const auto& linear : linears)
            all.push_back(linear.shape);
        return all;
    }

    bool has(norm_id id) const {
        for (const auto& norm : norms)
            if (norm.id == id) return true;
        return false;
    }
};

}  // namespace llama
