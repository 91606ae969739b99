// The estimate of a job: its time from its plan (plan.hpp, on a GPU trial.hpp), its memory and disk from its sizes.
#include "compress/calibration.hpp"
#include "compress/compress.hpp"
#include "compress/compress_cuda.hpp"
#include "compress/job_sizes.hpp"
#include "compress/output_folder.hpp"
#include "compress/plan.hpp"
#include "compress/rate.hpp"
#include "compress/recipe.hpp"
#include "compress/text_windows.hpp"
#include "compress/training_cpu.hpp"
#include "model/tensor_values.hpp"
#include "sample/batch_sampler.hpp"

#include <subbit/backend/cpu.hpp>
#include <subbit/factor/rank_budget.hpp>

#include <fmt/format.h>
#include <sys/resource.h>
#include <algorithm>
#include <cmath>
#include <numeric>

namespace llama {

namespace fs = std::filesystem;

namespace {

/// The bytes of one set of hidden states of the calibration's windows.
double state_set(const job_sizes& s, const compress_options& o) {
    return static_cast<double>(o.windows) * s.window * s.hidden * 4;
}

/// The same of the variants that measure the ranks.
double variant_set(const job_sizes& s, const compress_options& o) {
    return s.compressed * static_cast<double>(layer_count) * static_cast<double>(o.rank_tokens) * s.hidden * 4;
}

/// Bytes of hidden states that are in files, where more of them than `state_bytes` do not stay in memory.
double states_on_disk(const job_sizes& s, const compress_options& o, double state_bytes) {
    const double learned = static_cast<double>(o.distillation_windows()) * s.distillation_window * s.hidden * 4;
    const auto beyond = [&](double set) { return set > state_bytes / 2 ? set : 0; };
    return std::max({2 * beyond(state_set(s, o)), beyond(learned), measures_ranks(o) ? beyond(variant_set(s, o)) : 0});
}

/// Peak of resident memory, with what is mapped of the model: about a block.
double peak_memory(const job_sizes& s, const model_config& c, const compress_options& o, double model_block,
                   double state_bytes) {
    const auto in_memory = [&](double set) { return set > state_bytes / 2 ? 0 : set; };
    const double outer = s.vocabulary * s.hidden * 4 * (c.tie_word_embeddings ? 1 : 2);
    const double states = 2 * in_memory(state_set(s, o));
    const double student = o.distill_epochs > 0 ? s.blocks * s.packed / 8 : 0;
    // Of a block: originals, dense weights, latents with gradients and moments.
    const double block = 2 * s.dense * 4 + s.latents * (16 + 4 * s.ahead);
    const double tapes = 2 * s.window * static_cast<double>(o.batch) * s.tape * 4;  // and their gradients
    const double blocks_phase = states + block + tapes + student;
    const double distillation_tokens = o.distills_on_more()
                                           ? static_cast<double>(o.distillation_windows()) * s.distillation_window
                                           : static_cast<double>(o.windows) * s.window;
    const double activations = kept_tapes(s) + s.blocks * s.distillation_window * s.hidden * 4;
    const auto head_chunks =
        8 * s.vocabulary *
        static_cast<double>(subbit::logits_at_once<subbit::cpu>(subbit::vocabulary_chunk, c.vocab_size));
    const auto steps = static_cast<std::size_t>(o.windows_of_a_pass() * o.distill_epochs / o.distill_batch);
    const bool checkpoints = steps > subbit::distillation_recipe{}.checkpoint_steps;  // each copies the moments
    const double latents = o.distill_latent_rate > 0
                               ? s.blocks * s.latents * ((o.distill_batch > 1 ? 20 : 16) + (checkpoints ? 8 : 0))
                               : 0;
    const double distillation =
        o.distill_epochs > 0
            ? outer + in_memory(distillation_tokens * s.hidden * 4) + activations + student + latents + head_chunks +
                  (o.distill_hidden_weight > 0 ? s.blocks * (s.dense + s.distillation_window * s.hidden) * 4 : 0)
            : 0;
    const double calibration = outer + static_cast<double>(calibration_bytes) + s.dense * 4 + tapes + head_chunks;
    const double texts = std::min(static_cast<double>(o.distillation_windows()), s.texts_at_once);
    const double sampling =
        o.samples_text() ? outer + s.blocks * s.dense * 4 +
                               texts * (s.vocabulary * 4 + static_cast<double>(cache_bytes(c, o.distillation_length())))
                         : 0;
    const double variants = measures_ranks(o) ? outer + s.dense * 4 + head_chunks + in_memory(variant_set(s, o)) : 0;
    constexpr double program = 60e6;
    return program + model_block + std::max({calibration, variants, sampling, blocks_phase, distillation});
}

/// Bytes while a text is read: the text, and its tokens in a list that doubles when it is full. A text without words
/// takes more, which this process has seen by now.
double text_memory(const fs::path& text, index tokens) {
    constexpr double program = 60e6, bytes_of_token = 12;
    rusage so_far{};
    ::getrusage(RUSAGE_SELF, &so_far);
    return std::max(program + static_cast<double>(fs::file_size(text)) + bytes_of_token * static_cast<double>(tokens),
                    static_cast<double>(so_far.ru_maxrss) * 1024);
}

void check_numbers(const compress_options& o) {
    const auto require = [](bool good, const char* name, auto value, const char* expected) {
        if (!good) throw subbit::value_error(fmt::format("--{} is {}, expected {}", name, value, expected));
    };
    compress_options::visit(o, [&](const char* name, const auto& value, const char*) {
        using T = std::remove_cvref_t<decltype(value)>;
        if constexpr (std::is_arithmetic_v<T> && std::is_signed_v<T>)
            require(value >= 0 && std::isfinite(static_cast<double>(value)), name, value, "a number from 0 on");
    });
    require(o.bits > 0, "bits", o.bits, "a positive number");
    require(o.granularity >= 1, "granularity", o.granularity, "1 or more");
    require(o.scales == 2 || o.scales == 3, "scales", o.scales, "2 or 3");
    require(o.scale_bits == 8 || o.scale_bits == 16, "scale-bits", o.scale_bits, "8 or 16");
    require(o.windows >= 1, "windows", o.windows, "1 or more");
    require(o.window_tokens >= 2, "window-tokens", o.window_tokens, "2 or more");
    require(o.distillation_length() >= 2, "distill-window-tokens", o.distill_window_tokens, "2 or more, or 0");
    require(o.keep > 0 && o.keep <= 1, "keep", o.keep, "a fraction above 0, at most 1");
    require(o.shrinkage <= 1, "shrinkage", o.shrinkage, "0 to 1");
    require(o.distill_label_share <= 1, "distill-label-share", o.distill_label_share, "0 to 1");
    require(o.held_back < 1, "held-back", o.held_back, "0 or more, less than 1");
    require(o.rank_tokens >= 2, "rank-tokens", o.rank_tokens, "2 or more");
    require(o.iterations >= 1, "iterations", o.iterations, "1 or more");
    require(o.batch >= 1, "batch", o.batch, "1 or more");
    require(o.rounds >= 1, "rounds", o.rounds, "1 or more");
    require(o.distill_batch >= 1, "distill-batch", o.distill_batch, "1 or more");
    require(o.weight_batch >= 1, "weight-batch", o.weight_batch, "1 or more");
    require(o.final_fraction <= 1, "final-fraction", o.final_fraction, "0 to 1");
    const auto solver = solver_of(o);
    require((solver != solver_kind::dbf && solver != solver_kind::dual_svid) || o.scales == 3, "scales", o.scales,
            "3 with this solver");
}

/// value_error for the first option whose word or number is not allowed.
void check_options(const compress_options& o) {
    check_numbers(o);
    if (is_rabit(o)) paths_of(o);
    coupling_of(o);
    estimator_of(o);
    distillation_of(o);
    schedule_of(o);
    solves_of(o);
    moments_of(o);
    rank_choice_of(o);
    weighted_loss(o);
    bf16_products(o);
    is_joint(o);
}

}  // namespace

void require_tokens(const compress_job& job, index present) {
    const auto& o = job.options;
    if (present >= o.tokens_wanted()) return;
    std::string windows = fmt::format("{} windows of {}", o.windows, o.window_tokens);
    if (o.tokens_to_distill_on() > 0)
        windows += fmt::format(", or {} of {} to distill on", o.distill_windows, o.distillation_length());
    throw subbit::value_error(fmt::format("{}: {} tokens, expected at least {} for {}", job.text.string(), present,
                                          o.tokens_wanted(), windows));
}

namespace {

/// Adds what the result, the windows and the texts have that a user may not expect.
void add_remarks(compress_estimate& e, const compress_job& job, const model_config& config,
                 const std::set<std::string>& left_out) {
    const auto add = [&](std::string remark) {
        if (!remark.empty()) e.remarks.push_back(std::move(remark));
    };
    const auto& o = job.options;
    if (measures_ranks(o)) add("--ranks model measures first which layers need more rank; shown is where that begins");
    if (are_highest_ranks(config.block(0), o, e.ranks) && e.bits_per_weight < o.bits)
        add(
            fmt::format("--bits is {}, but at the highest ranks the layers have {:.3f} bits per weight, which is what "
                        "comes out",
                        o.bits, e.bits_per_weight));
    if (e.bits_per_weight > o.bits && o.minimum_rank > 0 && e.paths == 0)
        add(fmt::format("--minimum-rank {} takes {:.3f} bits per weight, more than the {} of --bits", o.minimum_rank,
                        e.bits_per_weight, o.bits));
    add(positions_remark(config, "windows", o.window_tokens));
    if (o.distillation_length() != o.window_tokens)
        add(positions_remark(config, "windows of distillation", o.distillation_length()));
    if (job.test_text) add(positions_remark(config, "windows of the test text", job.test_context));
    add(left_out_remark(job.text.string(), left_out));
}

/// Bits per weight of a block's compressed layers.
double bits_of_block(const block_schema& block, const compress_options& o, const compress_estimate& e) {
    double bits = 0, weights = 0;
    for (const auto& linear : block.linears) {
        const auto m = linear.shape.rows, n = linear.shape.cols, r = e.ranks[linear.number()];
        weights += static_cast<double>(m) * static_cast<double>(n);
        const auto format = stored_scales(o);
        const auto scales = subbit::stored_bits(format, m) + subbit::stored_bits(format, n);
        bits += static_cast<double>(e.paths > 0
                                        ? e.paths * (m * n + scales)
                                        : subbit::storage_bits(m, n, r, {.scales = o.scales, .stored_scales = format}));
    }
    return bits / weights;
}

/// Checks all that can be known before the work; fills in ranks, tokens and remarks.
void check_job(const compress_job& job, const model_directory& model, compress_estimate& e) {
    const auto& o = job.options;
    std::error_code different;
    if (fs::equivalent(job.model, job.out, different))
        throw subbit::value_error("--out is the model's own directory, " + job.out.string());
    e.ranks = choose_ranks(model.config().block(0), o);
    e.paths = is_rabit(o) ? paths_of(o) : 0;
    const tokenizer vocabulary = model.load_tokenizer();
    std::set<std::string> left_out;
    e.text_tokens = std::ssize(vocabulary.encode_file(job.text, job.reading.specials, &left_out));
    require_tokens(job, e.text_tokens);
    if (o.distills_on_other_text() && !o.samples_text()) other_windows(job, vocabulary);  // throws if they are too few
    if (job.test_text) read_windows(vocabulary, *job.test_text, job.test_context, job.test_windows, job.reading);
    require_own_output(job);
    require_usable_values(model.config(), model.tensors());
    model.end_tokens();  // generation_config.json goes with the result, which is not to fail at it
    e.bits_per_weight = bits_of_block(model.config().block(0), o, e);
    add_remarks(e, job, model.config(), left_out);
}

/// Bytes of one block's compressed layers in a file, names and offsets included.
std::size_t packed_bytes_of_block(const block_schema& block, const compress_options& o, const compress_estimate& e) {
    using layout = subbit::bit_layout;
    // Names, shapes and offsets of one layer's tensors, or of one path's; and those of a grid, with its numbers.
    const std::size_t header = 560 + (o.scale_bits == 8 ? 110 * static_cast<std::size_t>(o.scales) : 0);
    std::size_t bytes = 0;
    for (const auto& linear : block.linears) {
        const auto m = linear.shape.rows, n = linear.shape.cols, r = e.ranks[linear.number()];
        const index words =
            e.paths > 0 ? e.paths * layout::word_count(m, n) : layout::word_count(m, r) + layout::word_count(r, n);
        const index scales = e.paths > 0 ? e.paths * (m + n) : m + n + (o.scales == 3 ? r : 0);
        bytes += static_cast<std::size_t>(4 * words + o.scale_bits / 8 * scales + (linear.bias ? 4 * m : 0)) + header;
    }
    return bytes;
}

}  // namespace

compress_estimate estimate(const compress_job& job) {
    const auto& o = job.options;
    check_options(o);
    const model_directory model(job.model);
    const auto range = blocks_to_compress(model, o);
    compress_estimate e;
    for (const auto& linear : model.config().block(0).linears)
        e.layers.push_back(linear.name);
    check_job(job, model, e);
    e.calibration_windows = o.windows;
    e.distillation_windows = o.distills_on_more() ? o.distillation_windows() : 0;

    const std::size_t packed_bytes = packed_bytes_of_block(model.config().block(0), o, e);
    std::size_t norm_bytes = 0;
    for (const auto& norm : model.config().block(0).norms)
        norm_bytes += 4 * static_cast<std::size_t>(norm.size);
    double model_bytes = 0;
    for (const auto& name : model.tensors().names())
        model_bytes += static_cast<double>(model.tensors().info(name).bytes.size());
    for (const auto& name : carried_tensors(model.config(), model.tensors(), range))
        e.file_bytes += model.tensors().info(name).bytes.size();
    const auto blocks = static_cast<std::size_t>(range.count());
    e.file_bytes += blocks * (packed_bytes + norm_bytes);

    const job_sizes sizes(model.config(), o, e.ranks, range, job.ranks);
    const auto with_latents =
        o.distill_latent_rate > 0 ? static_cast<std::size_t>(static_cast<double>(blocks) * sizes.latents * 4) : 0;
    const std::size_t checkpoint = o.distill_epochs > 0 ? blocks * packed_bytes + 4 * with_latents : 0;
    e.disk_bytes = e.file_bytes + blocks * packed_bytes + with_latents + checkpoint +
                   static_cast<std::size_t>(states_on_disk(sizes, o, static_cast<double>(job.state_bytes)));
    e.memory_bytes = static_cast<std::size_t>(std::max(
        peak_memory(sizes, model.config(), o, model_bytes / sizes.blocks, static_cast<double>(job.state_bytes)),
        text_memory(job.text, e.text_tokens)));

    const double rate = job.on_cuda ? measure_rate_on_cuda(o) : measure_rate(training_cpu(o, job.threads));
    e.gflops = rate / 1e9;
    e.plan = job.on_cuda ? plan_on_cuda(job, e.ranks) : plan_of(sizes, o, rate);
    std::erase_if(e.plan, [&](const planned_phase& p) { return p.block >= 0 && !range.contains(p.block); });
    e.plan = shared_plan(std::move(e.plan), job, model.config().block(0), range.first);
    e.seconds = std::accumulate(e.plan.begin(), e.plan.end(), 0.0,
                                [](double sum, const planned_phase& phase) { return sum + phase.seconds; });
    return e;
}

}  // namespace llama
