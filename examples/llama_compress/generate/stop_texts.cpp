#include "generate/stop_texts.hpp"

#include <subbit/core/error.hpp>

#include <algorithm>
#include <string_view>
#include <utility>

namespace llama {

stop_texts::stop_texts(std::vector<std::string> texts) : texts_(std::move(texts)) {
    for (const auto& text : texts_)
        if (text.empty()) throw subbit::value_error("a text to stop at is empty, expected at least one character");
}

std::string stop_texts::add(const std::string& piece) {
    if (found_) return {};
    waiting_ += piece;
    // The text that ends first, so that it does not matter in which pieces they come.
    std::size_t first = 0, end = std::string::npos;
    for (const auto& text : texts_)
        if (const std::size_t at = waiting_.find(text); at != std::string::npos && at + text.size() < end) {
            first = at;
            end = at + text.size();
        }
    if (end != std::string::npos) {
        found_ = true;
        return std::exchange(waiting_, {}).substr(0, first);
    }
    // The longest end that one of the texts begins with.
    std::size_t kept = 0;
    const std::string_view all = waiting_;
    for (const std::string_view text : texts_)
        for (std::size_t size = std::min(text.size() - 1, all.size()); size > kept; --size)
            if (all.ends_with(text.substr(0, size))) kept = size;
    const std::string certain = waiting_.substr(0, waiting_.size() - kept);
    waiting_.erase(0, certain.size());
    return certain;
}

std::string stop_texts::finish() {
    return std::exchange(waiting_, {});
}

}  // namespace llama
