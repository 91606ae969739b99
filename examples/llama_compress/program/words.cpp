#include "program/words.hpp"

#include "model/nearest_word.hpp"

#include <fmt/format.h>
#include <algorithm>
#include <charconv>
#include <cmath>
#include <functional>
#include <string_view>

namespace llama {

namespace {

bool is_option(std::string_view word) {
    return word.size() > 2 && word.starts_with("--");
}

/// Fails for an option that the command does not have; returns whether the next word is the option's value.
bool check_option(const CLI::App& command, const std::string& word) {
    const std::size_t end = word.find('=');
    const std::string name = word.substr(0, end);
    if (const auto* option = command.get_option_no_throw(name))
        return end == std::string::npos && option->get_items_expected_max() > 0;
    std::vector<std::string> known;
    for (const auto* option : command.get_options())
        for (const auto& long_name : option->get_lnames())
            known.push_back("--" + long_name);
    const std::string owner = command.get_parent() ? command.get_name() : "llama_compress";
    throw CLI::ParseError(name + " is not an option of " + owner + nearest_remark(name, known),
                          CLI::ExitCodes::ExtrasError);
}

const CLI::App& command_of(const CLI::App& app, const std::string& word) {
    std::vector<std::string> names;
    for (const auto* command : app.get_subcommands([](const CLI::App*) { return true; })) {
        if (command->get_name() == word) return *command;
        names.push_back(command->get_name());
    }
    throw CLI::ParseError(fmt::format("{} is not a command{}; the commands are {}", word, nearest_remark(word, names),
                                      fmt::join(names, ", ")),
                          CLI::ExitCodes::ExtrasError);
}

/// A number from text, all of it.
template <class T>
bool parsed(const std::string& text, T& value) {
    const char* const end = text.data() + text.size();
    const char* const begin = text.data() + (text.starts_with('+') ? 1 : 0);
    const auto [stop, failure] = std::from_chars(begin, end, value);
    return failure == std::errc() && stop == end;
}

/// A test of a value, and the words for what it accepts.
CLI::Validator accepting(std::string expected, std::function<bool(const std::string&)> accepts) {
    return CLI::Validator(
        [expected = std::move(expected), accepts = std::move(accepts)](std::string& value) {
            return accepts(value) ? std::string() : fmt::format("{} is not {}", value, expected);
        },
        "");
}

}  // namespace

void require_known_words(const CLI::App& app, int argc, const char* const* argv) {
    const CLI::App* command = &app;
    for (int i = 1; i < argc; ++i) {
        const std::string word = argv[i];
        if (word == "--") return;
        if (is_option(word))
            i += check_option(*command, word) ? 1 : 0;
        else if (command == &app && !word.starts_with('-'))
            command = &command_of(app, word);
    }
}

CLI::Validator one_of(const std::vector<std::string>& words) {
    return CLI::Validator(
        [words](std::string& value) {
            if (std::find(words.begin(), words.end(), value) != words.end()) return std::string();
            return fmt::format("{} is not one of {}{}", value, fmt::join(words, ", "), nearest_remark(value, words));
        },
        "");
}

CLI::Validator whole_number(std::int64_t least, std::int64_t most) {
    const bool open = most == std::numeric_limits<std::int64_t>::max();
    return accepting(open ? fmt::format("a whole number from {} on", least)
                          : fmt::format("a whole number from {} to {}", least, most),
                     [=](const std::string& text) {
                         std::int64_t value = 0;
                         return parsed(text, value) && value >= least && value <= most;
                     });
}

CLI::Validator number(double least, double most) {
    return accepting(std::isinf(most) ? fmt::format("a finite number from {} on", least)
                                      : fmt::format("a number from {} to {}", least, most),
                     [=](const std::string& text) {
                         double value = 0;
                         if (!parsed(text, value)) return false;
                         return std::isfinite(value) && value >= least && value <= most;
                     });
}

CLI::Validator seed_number() {
    return accepting(fmt::format("a whole number from 0 to {}", std::numeric_limits<std::uint64_t>::max()),
                     [](const std::string& text) {
                         std::uint64_t value = 0;
                         return parsed(text, value);
                     });
}

}  // namespace llama
