#include "commands.hpp"
#include "console.hpp"

#include <memory>

namespace llama {

void add_demo(CLI::App& app) {
    (void)app;
}

}  // namespace llama
