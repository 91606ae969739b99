#!/usr/bin/env bash
# From a bare machine to a compressed model: installs what is needed, builds llama_compress, and runs its demo.
#
#   examples/demo.sh [options of `llama_compress demo`]
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

bash cmake/install_packages.sh program
cmake --preset release
cmake --build --preset release --target llama_compress
exec build/release/examples/llama_compress/llama_compress demo --out build/demo "$@"
