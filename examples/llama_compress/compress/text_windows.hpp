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
    const auto other = o.distills_on_other_text() ? words.encode_file(o.distill_text, job.reading.specials)
                                                  : std::vector<std::int32_t>();
    const auto rest = o.distills_on_other_text()
                          ? std::span(other)
                          : std::span(tokens).subspan(static_cast<std::size_t>(o.windows * o.window_tokens));
    result.distillation = split_windows(rest, o.distillation_length(), o.distillation_windows(), first);
    if (std::ssize(result.distillation) < o.distillation_windows())
        throw subbit::value_error(o.distill_text + ": " + std::to_string(other.size()) + " tokens, expected " +
                                  std::to_string(o.distillation_windows()) + " windows of " +
                                  std::to_string(o.distillation_length()) + " to distill on");
    return result;
}

}  // namespace llama
