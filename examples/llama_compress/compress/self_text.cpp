#include "compress/self_text.hpp"

#include "compress/training_cpu.hpp"
#include "sample/batch_sampler.hpp"

#include <algorithm>

namespace llama {

window_list sample_windows(const compress_job& job, const model_directory& model,
                           std::span<const std::vector<std::int32_t>> calibration, subbit::progress& watcher) {
    const auto& o = job.options;
    const auto words = model.load_tokenizer();
    const auto first = job.reading.first_tokens(words);
    window_list texts;
    for (std::int64_t i = 0; i < o.distillation_windows(); ++i) {
        // Where all windows have been used, the next tokens of them follow.
        const auto count = std::ssize(calibration);
        const auto& window = calibration[static_cast<std::size_t>(i % count)];
        const auto given = std::span(window).subspan(first.size());
        const auto places = std::max<index>(1, std::ssize(given) / given_tokens);
        const auto at = static_cast<std::size_t>(i / count % places * given_tokens);
        auto& text = texts.emplace_back(first.begin(), first.end());
        const auto some = given.subspan(at, std::min<std::size_t>(given_tokens, given.size() - at));
        text.insert(text.end(), some.begin(), some.end());
    }
    const auto b = training_cpu(o, job.threads);
    return batch_sampler<subbit::cpu>(b, model, o.distillation_length(), ids_not_to_sample(model, words))
        .run(std::move(texts), {.temperature = 1}, o.seed * 1000003U + 15485863U, watcher);
}

}  // namespace llama
