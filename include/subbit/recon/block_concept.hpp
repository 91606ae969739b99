// What reconstruction requires of a transformer block, and of a model made of such blocks. It is independent of any
// model family.
#pragma once

#include <subbit/recon/linear_layer.hpp>

#include <concepts>
#include <string>
#include <vector>

namespace subbit {

/// A differentiable block with named linear layers over stacked windows of tokens.
///
/// forward(b, X, window, Y, tape): X, Y (T, d), T a multiple of `window`, windows independent of each other.
/// backward(b, train, tape, window, dY, dX[, observe]): writes the gradients that `train` selects, and dX;
/// observe(layer, inputs (T, n), d_outputs (T, m)) is called once for each linear layer. parameters(b, prefix, train,
/// list): appends the trainable tensors in a fixed order. after_update(b): called after each optimizer step, to derive
/// what the passes read; with several ranks, of latents that a parameter gives signs of, it may pack the signs alone.
template <class Block, class B>
concept reconstruction_block = requires(Block& block, const Block& fixed, const B& b, index i,
                                        matrix_view<const typename Block::scalar> in,
                                        matrix_view<typename Block::scalar> out, typename Block::tape& tape,
                                        const trainable& train, std::vector<parameter<typename Block::scalar>>& list,
                                        const std::string& prefix) {
    { fixed.layer_total() } -> std::convertible_to<index>;
    { block.layer(i) } -> std::same_as<linear_layer<typename Block::scalar, memory_of<B>>&>;
    { fixed.layer_name(i) } -> std::convertible_to<std::string>;
    fixed.forward(b, in, i, out, tape);
    block.backward(b, train, tape, i, in, out);
    block.parameters(b, prefix, train, list);
    block.after_update(b);
};

/// A model of an embedding, blocks, and a loss that compares its last hidden states with a teacher's.
///
/// embed(b, tokens, X): X (T, d) from T token ids in the backend's memory. distillation_loss(b, teacher, hidden,
/// labels, d_hidden, total): adds the mean loss per token to total[0], a number of the backend's memory, and writes its
/// gradient (T, d). Both can be recorded.
template <class Model, class B>
concept distillable_model = requires(Model& model, const B& b, index i, std::span<const std::int32_t> tokens,
                                     matrix_view<const typename Model::scalar> in,
                                     matrix_view<typename Model::scalar> out, std::span<double> total,
                                     const hard_labels& labels) {
    requires reconstruction_block<typename Model::block_type, B>;
    { model.block_total() } -> std::convertible_to<index>;
    { model.block_at(i) } -> std::same_as<typename Model::block_type&>;
    { model.hidden_size() } -> std::convertible_to<index>;
    model.embed(b, tokens, out);
    model.distillation_loss(b, in, in, labels, out, total);
};

/// The teacher of a student, window by window: begin(w) makes the hidden states of window w available, and
/// states_after(l) has those after block l, before the final norm, (T, d), in the same memory for every window.
template <class Teacher, class S>
concept distilling_teacher = requires(Teacher& teacher, index i) {
    teacher.begin(i);
    { teacher.states_after(i) } -> std::convertible_to<matrix_view<const S>>;
};

}  // namespace subbit
