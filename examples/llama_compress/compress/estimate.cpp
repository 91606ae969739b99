// The estimate of a job's time: on the processor from the number of its multiplications and a short trial product, on a
// GPU from timing its pieces (trial.hpp).
#include "compress/calibration.hpp"
#include "compress/compress.hpp"
#include "compress/compress_cuda.hpp"
#include "compress/output_folder.hpp"
#include "compress/rank_measurement.hpp"
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

/// The sizes from which everything else is computed.
struct job_sizes {
    double blocks, compressed;  // of the model, and those to compress
    double hidden, vocabulary, window, distillation_window;
    double dense = 0;    // weights of a block's linear layers
    double packed = 0;   // signs that stand for them
    double latents = 0;  // numbers whose signs they are while they are tuned
    double learned = 0;  // operations for one token that make the latents' gradients
    double muon = 0;     // operations of a step of Muon
    double attention;    // operations of a block's attention for one token, forward
    double distillation_attention;
    double factorization_step = 0;
    double tape;           // numbers of a token that a block's backward pass needs
    double texts_at_once;  // that the original writes

    job_sizes(const model_config& c, const compress_options& o, const std::vector<index>& ranks,
              subbit::unit_range range)
        : blocks(static_cast<double>(c.num_hidden_layers)),
          compressed(static_cast<double>(range.count())),
          hidden(static_cast<double>(c.hidden_size)),
          vocabulary(static_cast<double>(c.vocab_size)),
          window(static_cast<double>(o.window_tokens)),
          distillation_window(static_cast<double>(o.distillation_length())),
          attention(2 * window * static_cast<double>(c.num_attention_heads * c.head_dim)),
          distillation_attention(attention * distillation_window / window),
          tape(4 * hidden + static_cast<double>(c.intermediate_size)),
          texts_at_once(static_cast<double>(llama::texts_at_once(c, o.distillation_length()))) {
        for (const auto& linear : c.block(0).linears) {
            const auto shape = linear.shape;
            const auto m = static_cast<double>(shape.rows), n = static_cast<double>(shape.cols);
            const auto r = static_cast<double>(ranks[linear.number()]);
            dense += m * n;
            tape += m;
            if (is_rabit(o)) {
                const auto paths = static_cast<double>(paths_of(o));
                packed += paths * m * n;
                latents += (coupling_of(o) == subbit::path_coupling::coupled ? 1 : paths) * m * n;
                learned += 2 * m * n;
                // Two powers of the matrix and its product with the smaller Gram matrix, five times.
                const double s = std::min(m, n);
                if (o.matrix_optimizer == "muon") muon += 5 * (4 * m * n * s + 2 * s * s * s) * latents / dense;
                continue;
            }
            tape += r + m;
            packed += r * (m + n);
            latents += r * (m + n);
            learned += 2 * r * (m + n);
            // Two right-hand sides, two Gram matrices, two Cholesky factorizations and their substitutions.
            factorization_step += 4 * m * n * r + 3 * r * r * (m + n) + 2 * r * r * r / 3;
        }
    }
};

/// The bytes that a window of distillation leaves for the backward pass, and those of them that stay in memory.
double tapes_of_distillation(const job_sizes& s) {
    return s.blocks * s.distillation_window * s.tape * 4;
}
double kept_tapes(const job_sizes& s) {
    return std::min(static_cast<double>(subbit::distillation_recipe{}.tape_bytes), tapes_of_distillation(s));
}

/// Seconds of every phase, in the order in which the job reports them.
std::vector<planned_phase> plan_of(const job_sizes& s, const compress_options& o, double rate) {
    // Norms, activations and softmax come between the products: these shares of the products' rate were measured.
    constexpr double forward_share = 0.7, tuning_share = 0.8, solver_share = 0.8;
    constexpr double adam_bytes = 40, memory_rate = 8e9;  // a step reads and writes a latent's moments, gradient, bits
    constexpr double refine_iterations = 25;              // what refits and bit descent cost, in iterations
    const double tokens = static_cast<double>(o.windows) * s.window;
    const double forward = rate * forward_share, tuning = rate * tuning_share;
    const auto passes = [](std::int64_t epochs) { return static_cast<double>(epochs); };
    const double head = 2 * s.hidden * s.vocabulary;

    constexpr auto layers = static_cast<double>(layer_count);
    std::vector<planned_phase> plan;
    const auto measured = o.calibration_windows > 0 ? std::min(o.calibration_windows, o.windows) : o.windows;
    const double calibration_passes = subbit::needs_two_passes(moments_of(o).mode) ? 2 : 1;
    plan.push_back({"calibrate",
                    calibration_passes * static_cast<double>(measured) * s.window *
                        (s.blocks * (6 * s.dense + 4 * s.attention) / forward + 2 * head / forward),
                    -1});

    if (measures_ranks(o)) {
        // Every layer's variant passes, on average, through half of the blocks.
        const double variants = s.compressed * static_cast<double>(layer_count);
        const auto measured_tokens = static_cast<double>(std::min(o.rank_tokens, o.windows * o.window_tokens));
        plan.push_back({"measure ranks",
                        rank_iterations * s.compressed * s.factorization_step / (rate * solver_share) +
                            variants * measured_tokens *
                                (s.blocks / 2 * (2 * s.dense + s.attention) + 2 * head / rank_token_stride) / forward,
                        -1});
    }
    if (o.samples_text()) {
        // A step reads all weights for as many texts as go together.
        const double steps = std::ceil(passes(o.distillation_windows()) / s.texts_at_once) * s.distillation_window;
        const double weights = s.blocks * s.dense + s.hidden * s.vocabulary;
        plan.push_back({"sample", steps * (4 * weights / memory_rate + 2 * s.texts_at_once * weights / forward), -1});
    }
    const double iterations = o.iterations + (o.refine ? refine_iterations : 0);
    const double steps = passes(o.windows) / static_cast<double>(o.batch);
    const double adam = steps * s.latents * adam_bytes / memory_rate;
    constexpr double sweep_bytes = 80;  // a path's turn in residual SVID: mostly the passes of the power iteration
    const double sweeps = is_rabit(o) ? static_cast<double>(o.rounds) * s.packed * sweep_bytes / memory_rate : 0;
    const double solve = iterations * s.factorization_step / (rate * solver_share) + sweeps +
                         tokens * (2 * (s.dense + s.packed) + 2 * s.attention) / forward;
    const double tune = passes(o.epochs) * (tokens * (4 * s.packed + s.learned + 4 * s.attention) / tuning + adam);
    const double check = 2 * passes(o.windows_for_errors()) * s.window * (2 * s.packed + s.attention) / forward;
    for (index l = 0; l < static_cast<index>(s.blocks); ++l) {
        if (is_joint(o)) {
            plan.push_back({"factorize", solve + check, l});
            if (o.epochs > 0) plan.push_back({"tune block", tune, l});
            continue;
        }
        const double dense_steps = passes(o.windows) / static_cast<double>(o.weight_batch);
        const double dense_adam = dense_steps * s.dense * adam_bytes / memory_rate / 2;
        for (std::size_t k = 0; k < layer_count; ++k) {
            const double factorization = (solve + check) / layers;
            if (o.weight_epochs > 0)
                plan.push_back(
                    {"tune weights",
                     passes(o.weight_epochs) * (tokens * (5 * s.dense + 4 * s.attention) / tuning + dense_adam), l});
            plan.push_back({"tune layer",
                            factorization +
                                passes(o.epochs) * (tokens * (4 * s.packed + 4 * s.attention) / tuning + adam / layers),
                            l});
        }
    }
    if (o.distill_epochs == 0) return plan;
    const double windows = passes(o.windows_of_a_pass());
    if (o.distills_on_more())
        plan.push_back({"teacher",
                        passes(o.distillation_windows()) * s.distillation_window * s.blocks *
                            (2 * s.dense + s.distillation_attention) / forward,
                        -1});
    const bool latents = o.distill_latent_rate > 0;
    const double teacher = o.distill_hidden_weight > 0 ? 2 * s.dense + s.distillation_attention : 0;
    const double recomputed = 1 - kept_tapes(s) / tapes_of_distillation(s);
    const double per_token = s.blocks * (4 * s.packed + recomputed * (2 * s.packed + s.distillation_attention) +
                                         (latents ? s.learned : 0) + teacher + 4 * s.distillation_attention) +
                             3 * head;
    const double step = s.blocks * (s.muon / rate + s.latents * adam_bytes / memory_rate);
    plan.push_back({"distill",
                    passes(o.distill_epochs) * windows *
                        (s.distillation_window * per_token / tuning +
                         (latents ? step / static_cast<double>(o.distill_batch) : 0.0)),
                    -1});
    return plan;
}

/// How many ranks work on a phase side by side.
std::int64_t parts_of(const std::string& phase, const compress_job& job) {
    const auto of_batch = [&](std::int64_t windows) { return std::min<std::int64_t>(job.ranks, windows); };
    if (phase == "calibrate") return subbit::needs_two_passes(moments_of(job.options).mode) ? job.ranks : 1;
    if (phase == "factorize" || phase == "teacher") return job.ranks;
    if (phase == "tune block") return of_batch(job.options.batch);
    if (phase == "measure ranks") return job.ranks;
    return phase == "distill" ? of_batch(job.options.distill_batch) : 1;
}

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
    const double block = 2 * s.dense * 4 + s.latents * 16;
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

    const job_sizes sizes(model.config(), o, e.ranks, range);
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
    for (auto& phase : e.plan)
        phase.seconds /= static_cast<double>(parts_of(phase.what, job));
    e.seconds = std::accumulate(e.plan.begin(), e.plan.end(), 0.0,
                                [](double sum, const planned_phase& phase) { return sum + phase.seconds; });
    return e;
}

}  // namespace llama
