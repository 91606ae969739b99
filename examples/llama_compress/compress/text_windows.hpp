// The windows of a job's text.
#pragma once

#include "compress/compress.hpp"

#include <nlohmann/json.hpp>

namespace llama {

/// The windows that calibrate and tune the blocks, and those that distill, unless the original is to write them.
struct text_windows {
    window_list calibration, distillation;
    index tokens = 0;
    nlohmann::json bos;  // what begins each of them
};

/// The windows of --distill-text; value_error naming the file if they are too few.
inline window_list other_windows(const compress_job& job, const tokenizer& words) {
    const auto& o = job.options;
    const auto tokens = words.encode_file(o.distill_text, job.reading.specials);
    auto windows =
        split_windows(tokens, o.distillation_length(), o.distillation_windows(), job.reading.first_tokens(words));
    if (std::ssize(windows) < o.distillation_windows())
        throw subbit::value_error(o.distill_text + ": " + std::to_string(tokens.size()) + " tokens, expected " +
                                  std::to_string(o.distillation_windows()) + " windows of " +
                                  std::to_string(o.distillation_length()) + " to distill on");
    return windows;
}

inline text_windows take_windows(const compress_job& job, const model_directory& model) {
    const auto& o = job.options;
    const auto words = model.load_tokenizer();
    const auto tokens = words.encode_file(job.text, job.reading.specials);
    const auto first = job.reading.first_tokens(words);
    text_windows result;
    result.tokens = std::ssize(tokens);
    require_tokens(job, result.tokens);
    result.bos = job.reading.bos_of(words);
    result.calibration = split_windows(tokens, o.window_tokens, o.windows, first);
    if (o.samples_text() || !o.distills_on_more()) return result;
    result.distillation =
        o.distills_on_other_text()
            ? other_windows(job, words)
            : split_windows(std::span(tokens).subspan(static_cast<std::size_t>(o.first_to_distill_on(result.tokens))),
                            o.distillation_length(), o.distill_windows, first);
    return result;
}

}  // namespace llama
