// The commands of llama_compress: each function adds one, with its options and what it does when it was asked for.
#pragma once

#include "compress/options.hpp"

#include <CLI/CLI.hpp>

namespace llama {

/// `defaults` are the recipe's: what the options hold where the command line says nothing.
void add_compress(CLI::App& app, const compress_options& defaults);
void add_perplexity(CLI::App& app);
void add_generate(CLI::App& app);
void add_inspect(CLI::App& app);
void add_export(CLI::App& app);
void add_info(CLI::App& app);
void add_demo(CLI::App& app);

}  // namespace llama
