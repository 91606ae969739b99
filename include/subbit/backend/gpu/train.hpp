// The operations of optimizers, estimators and losses (ops/train.hpp).
#pragma once

#include <subbit/backend/gpu/kernels/train.hpp>
#include <subbit/backend/ops/train.hpp>

#include <algorithm>
#include <cstdint>
#include <span>

namespace subbit {

template <class B, class S>
void do_apply_straight_through(gpu_tag, const B& b, straight_through kind, matrix_view<const S> latent,
                               matrix_view<S> gradient) {
    gpu::for_row_entries(b, latent.rows, latent.cols, gpu::straight_through_entry<S>{kind, latent, gradient});
}

template <class B, class S>
double do_sum_magnitudes(gpu_tag, const B& b, std::span<const S> values) {
    return gpu::sum_all(b, 1, std::ssize(values), gpu::magnitude<S>{values.data()});
}

template <class B, class S>
void do_widen_margin(gpu_tag, const B& b, std::span<S> latent, S margin) {
    gpu::for_row_entries(b, 1, std::ssize(latent), gpu::widen_number<S>{latent.data(), margin});
}

template <class B, class S>
void do_adamw_update(gpu_tag, const B& b, const adamw_options& options, std::span<const adamw_slot<S>> slots,
                     std::span<const double> step) {
    using kernel = gpu::adamw_kernel<S>;
    for (std::size_t first = 0; first < slots.size(); first += kernel::slots_at_once) {
        kernel k{options, {}, {}, 0, step.data()};
        index blocks = 0;
        for (const auto& slot :
             slots.subspan(first, std::min<std::size_t>(kernel::slots_at_once, slots.size() - first))) {
            if (slot.size == 0) continue;
            k.first_block[k.count] = blocks;
            k.slots[k.count++] = slot;
            blocks += (slot.size + kernel::numbers_per_block - 1) / kernel::numbers_per_block;
        }
        if (blocks > 0) b.launch({blocks}, k);
    }
}

template <class B>
void do_add_to_total(gpu_tag, const B& b, std::span<const double> numbers, double factor, std::span<double> total) {
    if (!numbers.empty())
        b.launch(gpu::one_block(std::ssize(numbers)),
                 gpu::add_total{numbers.data(), std::ssize(numbers), factor, total.data()});
}

template <class B, class S>
void do_weighted_squared_error(gpu_tag, const B& b, matrix_view<const S> Y, matrix_view<const S> target,
                               std::span<const S> importance, matrix_view<S> gradient, std::span<double> total) {
    gpu::add_sum(b, Y.rows, Y.cols, gpu::weighted_error<S>{Y, target, importance.data(), gradient}, total.data());
}

template <class B, class S>
double do_weighted_square(gpu_tag, const B& b, matrix_view<const S> X, std::span<const S> importance) {
    return gpu::sum_all(b, X.rows, X.cols, gpu::weighted_square_entry<S>{X, importance.data()});
}

template <class B, class S>
void do_relative_squared_error(gpu_tag, const B& b, matrix_view<const S> Y, matrix_view<const S> target,
                               double per_token, matrix_view<S> d_Y, std::span<double> total) {
    auto losses = b.template scratch<double>(Y.rows);
    b.launch(gpu::cover_by_warps(Y.rows), gpu::relative_error_rows<S>{Y, target, per_token, d_Y, losses.data()});
    do_add_to_total(gpu_tag{}, b, {losses.data(), static_cast<std::size_t>(losses.size())}, 1, total);
}

template <class B, class S>
void do_cross_entropy_rows(gpu_tag, const B& b, matrix_view<S> logits, std::span<const std::int32_t> labels, S weight,
                           bool gradient, std::span<double> losses) {
    b.launch(gpu::cover_by_blocks(logits.rows),
             gpu::cross_entropy_row<S>{logits, labels.data(), weight, gradient, losses.data()});
}

template <class B, class S>
void do_forward_kl_rows(gpu_tag, const B& b, matrix_view<const S> teacher, matrix_view<S> student,
                        const hard_labels& labels, S weight, std::span<double> losses) {
    b.launch(gpu::cover_by_blocks(teacher.rows),
             gpu::forward_kl_row<S>{teacher, student, labels.ids.data(), std::ssize(labels.ids), labels.share, weight,
                                    losses.data()});
}

}  // namespace subbit
