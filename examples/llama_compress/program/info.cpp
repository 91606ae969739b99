#include "program/commands.hpp"
#include "program/console.hpp"

#include <subbit/version.hpp>

#include <fmt/format.h>
#include <memory>

namespace llama {

namespace {

std::string compiler() {
#if defined(__clang__)
    return fmt::format("clang {}.{}.{}", __clang_major__, __clang_minor__, __clang_patchlevel__);
#else
    return fmt::format("gcc {}.{}.{}", __GNUC__, __GNUC_MINOR__, __GNUC_PATCHLEVEL__);
#endif
}

/// The kernels that `--packed-products int8` uses.
const char* int8_kernels(const subbit::cpu& backend) {
    switch (backend.instructions()) {
        case subbit::isa::avx2:
            return "avx2";
        case subbit::isa::avx512:
            return subbit::detect_byte_tables() ? "avx512 vbmi" : "avx2";
        case subbit::isa::neon:
        case subbit::isa::dotprod:
            return "neon";
        case subbit::isa::portable:
            break;
    }
    return "none";
}

void print_info(const machine_options& machine, bool json) {
    const auto backend = machine.make();
    const auto version = version_text();
    const char* asked = std::getenv("SUBBIT_ISA");
    if (json) {
        fmt::print("{}\n", nlohmann::json{{"version", version},
                                          {"backend", machine.backend},
                                          {"instructions", subbit::isa_name(backend.instructions())},
                                          {"widest_instructions", subbit::isa_name(subbit::detect_isa())},
                                          {"bf16_products", subbit::bf16_method_name(backend.bf16())},
                                          {"int8_kernels", int8_kernels(backend)},
                                          {"threads", backend.threads()},
                                          {"compiler", compiler()}}
                               .dump(2));
        return;
    }
    fmt::print("{:<14}{}\n", "version", version);
    fmt::print("{:<14}{}\n", "backend", machine.backend);
    fmt::print("{:<14}{} (SUBBIT_ISA {}; widest here {})\n", "instructions", subbit::isa_name(backend.instructions()),
               asked != nullptr && *asked != '\0' ? asked : "not set", subbit::isa_name(subbit::detect_isa()));
    fmt::print("{:<14}{}\n", "bf16 products", subbit::bf16_method_name(backend.bf16()));
    fmt::print("{:<14}{}\n", "int8 products", int8_kernels(backend));
    fmt::print("{:<14}{}\n", "threads", backend.threads());
    fmt::print("{:<14}{}\n", "compiler", compiler());
}

}  // namespace

std::string version_text() {
    return fmt::format("{}.{}.{}", SUBBIT_VERSION_MAJOR, SUBBIT_VERSION_MINOR, SUBBIT_VERSION_PATCH);
}

void add_info(CLI::App& app) {
    struct info_command {
        machine_options machine;
        bool json = false;
    };
    auto command = std::make_shared<info_command>();
    auto* c = app.add_subcommand("info", "The version, and the implementation that runs on this machine");
    command->machine.add_to(*c);
    c->add_flag("--json", command->json, "Print JSON");
    c->callback([command] { print_info(command->machine, command->json); });
}

}  // namespace llama
