// The message of the error that an action must end with: checks its type, that it is one line, and what it names.
#pragma once

#include <doctest/doctest.h>
#include <initializer_list>
#include <string>

namespace subbit::testing {

/// Runs `action`, which must throw exactly an `Error` whose message is one line and contains each of `parts`.
template <class Error, class Action>
void check_throws(Action action, std::initializer_list<std::string> parts) {
    std::string message;
    try {
        action();
        FAIL_CHECK("nothing was thrown");
        return;
    } catch (const Error& e) {
        message = e.what();
    } catch (const std::exception& e) {
        FAIL_CHECK("another type of error was thrown: " << e.what());
        return;
    }
    CAPTURE(message);
    CHECK(message.find('\n') == std::string::npos);
    for (const std::string& part : parts) {
        CAPTURE(part);
        CHECK(message.find(part) != std::string::npos);
    }
}

}  // namespace subbit::testing
