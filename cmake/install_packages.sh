#!/usr/bin/env bash
# Installs what is needed, with apt-get and as root; otherwise says which packages are missing, and goes on if none is.
#
#   cmake/install_packages.sh program   to build and run llama_compress and the examples
#   cmake/install_packages.sh tests     and everything that tests/run.sh uses
#   cmake/install_packages.sh aarch64   to build for 64-bit ARM and run its tests by qemu: makes arm64 an architecture of
#                                       this system's packages
set -euo pipefail

program=(g++ cmake ninja-build ca-certificates libeigen3-dev libxsimd-dev nlohmann-json3-dev libcli11-dev
         libfmt-dev libpcre2-dev libutf8proc-dev)
tests=(git ccache clang-16 libclang-rt-16-dev clang-format-14 doxygen doctest-dev librapidcheck-dev
       libbenchmark-dev libopenblas-dev libopenmpi-dev openmpi-bin python3-venv)
aarch64=(g++-aarch64-linux-gnu qemu-user librapidcheck-dev:arm64 libfmt-dev:arm64 libpcre2-dev:arm64 libutf8proc-dev:arm64)

case ${1:-} in
    program) packages=("${program[@]}") ;;
    tests) packages=("${program[@]}" "${tests[@]}") ;;
    aarch64) packages=("${aarch64[@]}") ;;
    *)
        echo "usage: install_packages.sh program|tests|aarch64" >&2
        exit 2
        ;;
esac

missing=()
for package in "${packages[@]}"; do
    # A line for each architecture that the package is there for.
    if ! command -v dpkg-query >/dev/null ||
        ! dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed; then
        missing+=("$package")
    fi
done
[ ${#missing[@]} -gt 0 ] || exit 0

if [ "$(id -u)" -eq 0 ] && command -v apt-get >/dev/null; then
    echo "installing ${missing[*]}"
    export DEBIAN_FRONTEND=noninteractive
    [ "$1" != aarch64 ] || dpkg --add-architecture arm64
    apt-get update -qq
    apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
    exit 0
fi

cat >&2 <<TEXT
Not installed, or not by apt (names are Debian 12's):
    ${missing[*]}
With root on Debian or Ubuntu:   apt-get install ${missing[*]}
Without: install the same by other means (conda, spack, Homebrew, from source). CMake finds them by CMAKE_PREFIX_PATH,
and downloads the libraries that it does not find where the network allows.
Going on with what is there.
TEXT
