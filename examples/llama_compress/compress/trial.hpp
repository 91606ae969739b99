// Times the pieces of a job on the machine that will run it. A GPU spends as much time on launches and small kernels as
// on arithmetic, so the estimate multiplies measured times instead of counting operations.
#pragma once

#include "compress/calibration.hpp"
#include "compress/compress.hpp"
#include "compress/compressor.hpp"
#include "compress/recipe.hpp"
#include "compress/student.hpp"

#include <subbit/backend/jobs/phase_clock.hpp>
#include <subbit/recon/model_reconstruction.hpp>

#include <algorithm>
#include <limits>
#include <string>
#include <utility>
#include <vector>

namespace llama {

/// Seconds that grow with a count.
struct measured_cost {
    double fixed = 0, each = 0;

    double of(double count) const { return fixed + each * count; }
    /// From the seconds of two counts, the second the larger.
    static measured_cost between(double few, double seconds_of_few, double many, double seconds_of_many) {
        const double each = std::max(0.0, (seconds_of_many - seconds_of_few) / (many - few));
        return {std::max(0.0, seconds_of_few - each * few), each};
    }
};

/// The seconds of a job's pieces.
struct trial_seconds {
    double read = 0;          ///< a block of the original, from its file to the backend's memory
    double forward = 0;       ///< a token through a block
    double calibration = 0;   ///< a token forward and backward through a block, moments included
    double install = 0;       ///< a compressed block, beside the phases below
    measured_cost factorize;  ///< a block, by the solver's iterations
    measured_cost tune;       ///< a block, by windows
    measured_cost measure;    ///< a block, by tokens
    measured_cost learn;      ///< a window of distillation, by blocks
};

/// The seconds of every phase of a job, in the order in which it reports them.
std::vector<planned_phase> plan_of(const trial_seconds& t, const model_config& config, const compress_options& o);

/// Times the pieces with the first block of the original.
template <class B>
class trial {
  public:
    trial(const B& b, const model_directory& model, const compress_options& options, std::vector<index> ranks)
        : b_(b),
          model_(model),
          options_(options),
          ranks_(std::move(ranks)),
          context_(b, model.config(), std::max(options.window_tokens, options.distillation_length())) {}

    trial_seconds run() {
        trial_seconds t;
        t.read = warm_seconds([&] { load(); });
        pass_tokens(t);
        compress_block(t);
        if (options_.distill_epochs > 0) t.learn = learn();
        return t;
    }

  private:
    using memory = memory_of<B>;
    using block_type = block<float, memory>;
    using states = matrix_in<float, memory>;

    block_type load() { return model_.template load_block<B, float>(b_, 0, context_); }

    /// The seconds of the second call.
    template <class F>
    double warm_seconds(F&& f) {
        f();
        subbit::phase_clock clock;
        clock.skip(b_);
        f();
        clock.end(b_, "f");
        return clock.seconds().at("f");
    }
    /// The same as states of as many rows.
    hidden_states<B> normal_states(index rows) {
        hidden_states<B> X(b_, rows, model_.config().hidden_size, {{}, std::numeric_limits<std::size_t>::max()});
        subbit::fill_normal(b_, subbit::random_stream(1), X.rows());
        return X;
    }
    states normal(index rows) {
        auto X = subbit::allocate<float>(b_, rows, model_.config().hidden_size);
        subbit::fill_normal(b_, subbit::random_stream(1), X);
        return X;
    }

    void pass_tokens(trial_seconds& t) {
        const index window = options_.window_tokens;
        const index rows = std::max<index>(1, subbit::rows_at_once<B> / window) * window;
        auto blk = load();
        auto X = normal(rows), dX = normal(rows);
        typename block_type::tape tape;
        t.forward = warm_seconds([&] { run_block(b_, blk, window, X, tape); }) / static_cast<double>(rows);
        const auto both = [&] {
            blk.forward(b_, const_view(X), window, view(dX), tape);
            blk.backward(b_, subbit::trainable{}, tape, window, const_view(X), view(dX),
                         [&](index, matrix_view<const float> inputs, matrix_view<const float> d_outputs) {
                             for (const auto& seen : {inputs, d_outputs})
                                 subbit::clipped_moments<float>(seen.cols, {.mode = subbit::clipping::online})
                                     .add_batch(b_, seen, window);
                         });
        };
        t.calibration = warm_seconds(both) / static_cast<double>(rows);
    }

    /// The phases of the first block's reconstruction with so many iterations of the solver, over so many windows once.
    subbit::phase_seconds reconstruct(int iterations, index windows) {
        auto options = options_;
        options.iterations = iterations;
        options.epochs = std::min<std::int64_t>(options.epochs, 1);
        options.weight_epochs = std::min<std::int64_t>(options.weight_epochs, 1);
        compressed_.assign(1, load());
        auto& blk = compressed_.front();
        std::vector<subbit::layer_moments<float>> moments;
        for (index k = 0; k < blk.layer_total(); ++k)
            moments.push_back({vector<float>::Ones(blk.layer(k).cols()), vector<float>::Ones(blk.layer(k).rows())});
        block_compressor<B> compressor(*blk.schema, options, {.moments = moments, .ranks = ranks_});
        compressor.keep_originals(blk);
        const auto inputs = normal(windows * options.window_tokens);
        const subbit::block_data<float> data{const_view(inputs), const_view(inputs), {}, options.window_tokens};
        return subbit::reconstruct_block(b_, blk, data,
                                         {.compressor = compressor, .recipe = block_recipe_of(options, *blk.schema, 0)})
            .phases;
    }

    void compress_block(trial_seconds& t) {
        constexpr int few_iterations = 4, many_iterations = 12;
        const index few = 4 * options_.batch, many = 20 * options_.batch;
        reconstruct(few_iterations, few);
        auto a = reconstruct(few_iterations, few), z = reconstruct(many_iterations, many);
        const auto cost = [&](const char* phase, auto x, auto y) {
            return measured_cost::between(static_cast<double>(x), a[phase], static_cast<double>(y), z[phase]);
        };
        t.factorize = cost("factorize", few_iterations, many_iterations);
        t.tune = cost("tune", few, many);
        t.measure = cost("measure", few * options_.window_tokens, many * options_.window_tokens);
        t.install = a["install"] + a["harden"];
    }

    /// The seconds of a window in a distillation of so many blocks.
    double window_seconds(std::size_t blocks) {
        const auto& c = model_.config();
        const index batch = options_.distill_batch, length = options_.distillation_length(), most = 9 * batch;
        outer_layers<float, memory> outer;
        outer.embedding = subbit::allocate<float>(b_, c.vocab_size, c.hidden_size);
        outer.final_norm = subbit::allocate<float>(b_, c.hidden_size);
        const window_list windows(static_cast<std::size_t>(most),
                                  std::vector<std::int32_t>(static_cast<std::size_t>(length), 0));
        student_model<B> student{c, outer, std::vector<block_type>(blocks, compressed_.front())};
        teacher_model<B> teacher(b_, outer, windows, normal_states(most * length));
        if (options_.distill_hidden_weight > 0) teacher.hold(std::vector<block_type>(blocks, load()));
        auto recipe = distillation_on<B>(options_);
        recipe.phase.epochs = 1;
        recipe.checkpoint_steps = 0;
        const auto seconds = [&](index count) {
            subbit::phase_clock clock;
            clock.skip(b_);
            const std::span<const std::vector<std::int32_t>> all(windows);
            subbit::distill(b_, student, subbit::distillation_data{all.first(static_cast<std::size_t>(count)), teacher},
                            {.recipe = recipe});
            clock.end(b_, "steps");
            return clock.seconds().at("steps");
        };
        const index few = 3 * batch;
        seconds(few);
        const double of_few = seconds(few);
        return (seconds(most) - of_few) / static_cast<double>(most - few);
    }
    measured_cost learn() { return measured_cost::between(1, window_seconds(1), 2, window_seconds(2)); }

    const B& b_;
    const model_directory& model_;
    const compress_options& options_;
    std::vector<index> ranks_;
    block_context<float, memory> context_;
    std::vector<block_type> compressed_;  // the block as the last reconstruction left it
};

}  // namespace llama
