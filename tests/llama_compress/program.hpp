// Runs the program itself, as a user would, and looks at what it says.
#pragma once

#include <fcntl.h>
#include <spawn.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>
#include <chrono>
#include <csignal>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace llama::testing {

inline std::filesystem::path program() {
    if (const char* path = std::getenv("LLAMA_COMPRESS_PROGRAM"); path && *path) return path;
    return LLAMA_COMPRESS_PROGRAM;
}

inline std::string contents_of(const std::filesystem::path& path) {
    std::ifstream file(path, std::ios::binary);
    std::ostringstream text;
    text << file.rdbuf();
    return std::move(text).str();
}

struct outcome {
    int status = 0;  // exit status, or 128 + the signal that ended it
    std::string out, err;
};

/// The program while it runs; its streams go to files in `folder`.
class running_program {
  public:
    running_program(const std::filesystem::path& folder, const std::vector<std::string>& arguments)
        : out_(folder / "stdout"), err_(folder / "stderr") {
        posix_spawn_file_actions_t actions;
        ::posix_spawn_file_actions_init(&actions);
        ::posix_spawn_file_actions_addopen(&actions, 1, out_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        ::posix_spawn_file_actions_addopen(&actions, 2, err_.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
        std::vector<std::string> words = {program().string()};
        words.insert(words.end(), arguments.begin(), arguments.end());
        std::vector<char*> pointers;
        for (auto& word : words)
            pointers.push_back(word.data());
        pointers.push_back(nullptr);
        const int code = ::posix_spawn(&id_, words[0].c_str(), &actions, nullptr, pointers.data(), environ);
        ::posix_spawn_file_actions_destroy(&actions);
        if (code != 0) throw std::runtime_error("cannot start " + words[0]);
    }

    void signal(int number) const { ::kill(id_, number); }
    /// Waits until it has written a file, or has ended; wait() is still to be called.
    void wait_for(const std::filesystem::path& file) const {
        const auto ended = [&] {
            siginfo_t about{};
            return ::waitid(P_PID, static_cast<id_t>(id_), &about, WEXITED | WNOHANG | WNOWAIT) != 0 ||
                   about.si_pid != 0;
        };
        while (!std::filesystem::exists(file) && !ended())
            std::this_thread::sleep_for(std::chrono::milliseconds(1));
    }
    outcome wait() const {
        int status = 0;
        ::waitpid(id_, &status, 0);
        const int code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
        return {code, contents_of(out_), contents_of(err_)};
    }

  private:
    std::filesystem::path out_, err_;
    pid_t id_ = 0;
};

inline outcome run_program(const std::filesystem::path& folder, const std::vector<std::string>& arguments) {
    return running_program(folder, arguments).wait();
}

}  // namespace llama::testing
