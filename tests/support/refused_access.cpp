#include "support/refused_access.hpp"

#include <sys/wait.h>
#include <unistd.h>
#include <csignal>

namespace subbit::testing {

bool is_refused(const std::function<void()>& action) {
    constexpr int refused = 42;
    const pid_t child = fork();
    if (child == 0) {
        std::signal(SIGSEGV, [](int) { _exit(refused); });
        action();
        _exit(0);
    }
    int status = 0;
    waitpid(child, &status, 0);
    return WIFEXITED(status) && WEXITSTATUS(status) == refused;
}

}  // namespace subbit::testing
