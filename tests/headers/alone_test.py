"""Each header of the library compiles alone, as the first line of a file and twice, with all warnings.

    alone_test.py INCLUDE_FOLDER COMPILER SYSTEM_FOLDERS [HEADER...]

SYSTEM_FOLDERS are separated by semicolons; a HEADER named is left out. Half of the time would go into parsing other libraries
two hundred times, so two of them are precompiled. What these include in turn, a header could forget unnoticed; core, which
does without them for the most part, is compiled without. One line for each header that fails, with what the compiler said.
"""
import os
import pathlib
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor

FLAGS = ["-std=c++20", "-fopenmp-simd", "-O0"]
WARNINGS = ["-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Wshadow", "-Werror"]
PRECOMPILED = "#include <Eigen/Dense>\n#include <nlohmann/json.hpp>\n"


def compile_header(command, header, first):
    """What the compiler says of a file that includes the header twice; nothing if that is in order."""
    text = f"#include <{header}>\n#include <{header}>\n"
    done = subprocess.run([*command, *WARNINGS, "-fsyntax-only", *first, "-x", "c++", "-"], input=text, text=True,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return f"{header}:\n{done.stdout}" if done.returncode else ""


def main():
    include, compiler, system, *left_out = sys.argv[1:]
    headers = sorted(path.relative_to(include).as_posix() for path in pathlib.Path(include).rglob("*.hpp"))
    headers = [header for header in headers if header not in left_out]
    command = [compiler, *FLAGS, "-I", include]
    for folder in system.split(";"):
        command += ["-idirafter", folder]  # -isystem would hide the C library from C++ where a folder is the standard one
    with tempfile.TemporaryDirectory() as work, ThreadPoolExecutor(os.cpu_count()) as pool:
        source = pathlib.Path(work, "precompiled.hpp")
        source.write_text(PRECOMPILED, encoding="utf-8")
        subprocess.run([*command, "-x", "c++-header", source, "-o", f"{source}.gch"], check=True)
        with_others = ["-include", str(source)]
        errors = list(filter(None, pool.map(
            lambda header: compile_header(command, header, [] if header.startswith("subbit/core/") else with_others), headers)))
    print(*errors, f"{len(headers)} headers, {len(errors)} of them do not compile alone", sep="\n")
    return 1 if errors or len(headers) < 100 else 0


if __name__ == "__main__":
    sys.exit(main())
