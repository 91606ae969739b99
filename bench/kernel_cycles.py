#!/usr/bin/env python3
"""Cycles a weight of the cpu's kernels, from a model of a processor: the instructions of the inner loops, as a compiler
makes them for any processor of the family, through llvm-mca.

    bench/kernel_cycles.py [--clang clang++-16] [--arm-compiler aarch64-linux-gnu-g++] [--mca llvm-mca-16]

prints a table for 64-bit ARM and, on x86, one for x86, where it also builds and runs kernel_cycles.cpp, which measures the
same functions on this machine: so the model's error shows. ARM's code is Clang's too, unless another compiler is named.

A model knows how long an instruction takes and which units run it. It knows no caches, no memory and no branches, and
LLVM takes the model of an older processor where it has none: apple-m1 is Apple's Cyclone, and in LLVM 16 neoverse-n1 is
Cortex-A57 and neoverse-v1 is Neoverse N2, both of which have fewer or slower units; LLVM 17 and later have their own.
"""
import argparse
import platform
import re
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
INCLUDES = [f"-I{HERE.parent / 'include'}", "-isystem", "/usr/include/eigen3"]

# What is printed; a part of the function's name; the instruction that is counted to see how much of a run a loop's body is;
# how many of them, and how many weights times vectors, a run of columns has (a run: what the innermost loop covers).
TILE = 16 * 32
ARM = {
    "portable": ("packed_kernel<subbit::compiled_arch", "fadd", TILE // 4, TILE),
    "exact, one vector": ("neon_arch, 3, 8l, 2l>::sweep<2l, 1l>", "tbl", 8 * 48, 8 * 2 * TILE),
    "exact, two vectors": ("neon_arch, 3, 8l, 2l>::sweep<1l, 2l>", "tbl", 8 * 48, 8 * 2 * TILE),
    "8-bit, one vector": ("neon_arch, 1, 4l, 4l>::sweep<2l, 1l>", "tbl", 4 * 16, 4 * 2 * TILE),
    "8-bit, four vectors": ("neon_arch, 1, 4l, 4l>::sweep<1l, 4l>", "tbl", 4 * 32, 4 * 4 * TILE),
    "transposing signs": ("neon_transpose<subbit::neon_arch>::groups", "st4", 8, 2 * TILE),
    "rows of bytes, portable": ("byte_kernel<subbit::compiled_arch", r"smlal2?", 8, 32),
    "rows of bytes, NEON": ("byte_kernel<subbit::neon_arch>::dot", r"smlal2?", 8, 32),
    "rows of bytes, dot products": ("byte_kernel<subbit::dotprod_arch>::dot", "sdot", 8, 64),
}
X86 = {
    "portable": ("packed_kernel<subbit::compiled_arch", "addps", TILE // 4, TILE),
    "AVX-512, exact, one vector": ("avx512_arch, float, xsimd::sse2>::sweep<8l, 1l>", r"vperm\w*(?:ps|d)", 56, 8 * TILE),
    "AVX-512, exact, four vectors": ("avx512_arch, float, xsimd::sse2>::sweep<4l, 4l>", r"vperm\w*(?:ps|d)", 112, 16 * TILE),
    "AVX-512, 8-bit, one vector": ("int8_kernel<subbit::avx512_arch>::sweep<8l, 1l>", "vpermb", 4 * 16, 4 * 8 * TILE),
    "AVX2, exact, one vector": ("avx2_packed_kernel<subbit::cpu_kernels::avx2_triples>::sweep<4l, 1l>", r"vperm(?:ps|d)", 44, 2 * TILE),
    "AVX2, 8-bit, one vector": ("int8_kernel<subbit::avx2_arch>::sweep<2l>", "vpmaddubsw", 4 * 8, 4 * 2 * TILE),
}
ARM_MODELS = ["neoverse-n1", "neoverse-v1", "apple-m1"]
X86_MODELS = ["icelake-server"]  # no LLVM before 17 has a later one of Intel's servers


def run(*command, text=None):
    done = subprocess.run(command, input=text, capture_output=True, text=True)
    if done.returncode != 0 or "error:" in done.stderr:
        sys.exit(f"{command[0]}: {done.stderr[:2000]}")
    return done.stdout


def functions(assembly, comment):
    """The lines of each function, by its name in C++, without comments."""
    found, name = {}, None
    for line in assembly.splitlines():
        label = re.match(r"([A-Za-z_]\w*):", line)
        if label:
            name = label[1]
            found[name] = []
        elif name and not line.startswith("\t."):
            found[name].append(line.split(comment)[0].rstrip())
    readable = run("c++filt", text="\n".join(found)).splitlines()
    return dict(zip(readable, found.values()))


def loops(lines):
    """First and last line of every loop: a label, and a branch back to it."""
    labels = {line[:-1]: at for at, line in enumerate(lines) if line.endswith(":")}
    found = []
    for at, line in enumerate(lines):
        target = re.match(r"\t(?:b\.?\w*|cbn?z|tbn?z|j\w+)\t.*?(\.\w+)$", line)
        if target and labels.get(target[1], at) < at:
            found.append((labels[target[1]], at))
    return found


def instructions(lines, marker, wanted):
    """The instructions of one run: the innermost loop that has most of the markers, as often as it takes, and what the
    loop around it adds."""
    count = lambda some: sum(re.match(rf"\t{marker}\b", line) is not None for line in some)
    every = loops(lines)
    inner = [l for l in every if not any(o != l and l[0] <= o[0] and o[1] <= l[1] for o in every)]
    first, last = max(inner, key=lambda l: (count(lines[l[0] : l[1]]), l[0] - l[1]))
    body = lines[first : last + 1]
    passes, rest = divmod(wanted, count(body))
    assert rest == 0, f"{wanted} {marker} in a run, {count(body)} in the loop"
    around = [l for l in every if l[0] <= first and last <= l[1] and l != (first, last)]
    if passes > 1 and not around:
        body = passes * body
    elif passes > 1:
        begin, end = min(around, key=lambda l: l[1] - l[0])
        body = lines[begin:first] + passes * body + lines[last + 1 : end + 1]
    return [line for line in body if line.startswith("\t")]


def cycles(mca, triple, cpu, body):
    rounds = 100
    report = run(mca, f"-mtriple={triple}", f"-mcpu={cpu}", "-mattr=+dotprod" if "aarch64" in triple else "-mattr=", f"-iterations={rounds}", text="\n".join(body) + "\n")
    return int(re.search(r"Total Cycles:\s*(\d+)", report)[1]) / rounds


def table(title, compile_command, kernels, models, triple, mca, measured=None):
    assembly = run(*compile_command, "-S", "-o", "-", str(HERE / "kernel_cycles.cpp"))
    code = functions(assembly, "#" if triple == "x86_64" else "//")
    heads = models + (["measured here"] if measured else [])
    print(f"\n{title}\n\n| kernel | " + " | ".join(heads) + " |\n|" + " --- |" * (len(heads) + 1))
    first = {}
    for label, (name, marker, markers, weights) in kernels.items():
        body = instructions(next(lines for readable, lines in code.items() if name in readable), marker, markers)
        cells = []
        for cpu in models:
            each = cycles(mca, triple, cpu, body) / weights
            ratio = first.setdefault((cpu, "bytes" in label), each) / each
            cells.append(f"{each:.4f}" if "transposing" in label else f"{each:.4f} ({ratio:.1f})")
        if measured:
            cells.append(measured.get(label, ""))
        print(f"| {label} | " + " | ".join(cells) + " |")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clang", default="clang++-16")
    parser.add_argument("--arm-compiler")
    parser.add_argument("--mca", default="llvm-mca-16")
    options = parser.parse_args()
    flags = ["-std=c++20", "-O3", "-DNDEBUG", "-fopenmp-simd", *INCLUDES]
    unit = "cycles a weight (times fewer than portable)"
    print(re.search(r"LLVM version [\d.]+", run(options.mca, "--version"))[0])
    if platform.machine() == "x86_64":
        with tempfile.TemporaryDirectory() as folder:
            program = f"{folder}/kernel_cycles"
            run(options.clang, *flags, str(HERE / "kernel_cycles.cpp"), "-o", program, "-pthread")
            measured = dict(line.split("\t") for line in run(program).splitlines())
        title = f"x86-64, {options.clang}: {unit}; measured at {measured['GHz']} GHz"
        table(title, [options.clang, *flags], X86, X86_MODELS, "x86_64", options.mca, measured)
    target = "aarch64-linux-gnu"
    compiler = [options.arm_compiler] if options.arm_compiler else [options.clang, f"--target={target}"]
    table(f"64-bit ARM, {compiler[0]}: {unit}", [*compiler, *flags], ARM, ARM_MODELS, target, options.mca)


if __name__ == "__main__":
    main()
