"""Measures `generate` and `compress` on made-up folders of published shapes (make_model.py).

    python3 bench/shapes/measure.py generate llama-2-7b --bits 1.0 [--limit-gb 8] [--json]
    python3 bench/shapes/measure.py compress llama-2-7b [--windows 4 --window-tokens 512] [--json] [-- OPTIONS]

`generate` writes the folder, compares tokens a second with what the machine's read bandwidth allows for signs and output
head, and tells prefill, time to the first token and memory, also within a limit that the system enforces. `compress`
compresses dense folders of one and of two blocks and predicts the run of all. The folders go into a new folder under
--work, and are deleted. Run it on an idle machine, with the program of the preset `release`.
"""

import argparse
import json
import os
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from make_model import SHAPES, linear_layers, rank_for, write_model
from predict import predict_run

here = Path(__file__).resolve().parent
root = here.parents[1]


class Memory:
    """A limit on a process's memory: a control group where one can be made, else RLIMIT_DATA (what it allocates)."""

    def __init__(self, limit):
        self.limit, self.folder, self.files = limit, None, ()
        for base, files in (("/sys/fs/cgroup/memory", ("memory.limit_in_bytes", "memory.max_usage_in_bytes")),
                            ("/sys/fs/cgroup", ("memory.max", "memory.peak"))):
            folder = Path(base) / f"subbit-shapes-{os.getpid()}"
            try:
                folder.mkdir()
            except OSError:
                continue
            self.folder, self.files = folder, files
            try:
                (folder / files[0]).write_text(str(int(limit)))
                return
            except OSError:
                self.remove()

    def name(self):
        return "cgroup" if self.folder else "RLIMIT_DATA"

    def enter(self):
        """In the child, before the program starts."""
        if self.folder:
            (self.folder / "cgroup.procs").write_text(str(os.getpid()))
        else:
            resource.setrlimit(resource.RLIMIT_DATA, (int(self.limit), int(self.limit)))

    def peak(self):
        """Bytes, with what the system keeps of the file; None where the system does not say."""
        try:
            return int((self.folder / self.files[1]).read_text())
        except (OSError, TypeError):
            return None

    def remove(self):
        if self.folder:
            self.folder.rmdir()
            self.folder = None


def run(words, enter=None):
    """What the program said on standard error, its seconds until it said so, and its peak of resident bytes."""
    start = time.monotonic()
    process = subprocess.Popen([str(w) for w in words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
                               preexec_fn=enter)
    said = process.stderr.readline()
    seconds = time.monotonic() - start
    said += process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise ValueError(f"{words[1]} ended with status {process.returncode}: {said.strip()}")
    return said, seconds, usage.ru_maxrss * 1024


def generate(program, folder, prompt, tokens, threads, options=(), enter=None):
    """Tokens a second of prefill and decode, seconds to the first token (with tokens = 1), peak of resident bytes."""
    said, seconds, resident = run([program, "generate", folder, "--prompt", prompt, "--max-tokens", tokens, "--ignore-eos",
                                   "--threads", threads, *options], enter)
    found = re.search(r"prefill (\d+) tokens, ([\d.]+) tokens/s; decode (\d+) tokens, ([\d.]+) tokens/s", said)
    if not found or int(found[3]) != tokens:
        raise ValueError(f"unexpected words of the program: {said.strip()}")
    # The scores of the first token belong to the prefill, so there is one pass less than tokens.
    return {"prompt": int(found[1]), "prefill": float(found[2]), "decode": float(found[4]) * (tokens - 1) / tokens,
            "seconds": seconds, "resident": resident}


def build_read_rate(work):
    target = work / "read_rate"
    subprocess.run([os.environ.get("CXX", "c++"), "-std=c++20", "-O3", "-march=native", "-pthread", f"-I{root}/include",
                    here / "read_rate.cpp", "-o", target], check=True)
    return target


def read_rate(tool, threads, gigabytes):
    return float(subprocess.run([tool, str(threads), str(gigabytes)], check=True, capture_output=True, text=True).stdout)


def read_file(path, cold):
    """Seconds that one thread takes to read a file once."""
    buffer = bytearray(1 << 24)
    with open(path, "rb", buffering=0) as file:
        if cold:
            forget(file)
        start = time.monotonic()
        while file.readinto(buffer):
            pass
        return time.monotonic() - start


def forget(file):
    """Drops a file from the system's memory, so that it is read from the disk again."""
    os.fsync(file.fileno())
    os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def sizes_of(shape, bits, blocks):
    signs = sum(rank_for(bits, m, n) * (m + n) / 8 for _, m, n in linear_layers(shape)) * blocks
    return {"signs": signs, "head": shape.vocabulary * (shape.width + 4)}


def measure_generate(given, shape, work):
    folder, blocks = work / "model", given.blocks or shape.blocks
    write_model(folder, shape, given.bits, blocks, given.seed, float("inf"))
    os.sync()
    file = folder / "model.safetensors"
    tool = build_read_rate(work)
    sizes = sizes_of(shape, given.bits, blocks)
    stream = sum(sizes.values())
    result = {"shape": given.shape, "bits": given.bits, "blocks": blocks, "file": file.stat().st_size, **sizes, "rows": []}
    prompt = "#" * given.prompt_tokens
    for threads in given.threads:
        for precision in ("exact", "int8"):
            options = ("--packed-products", precision)
            before = read_rate(tool, threads, given.buffer_gb)
            runs = [generate(given.program, folder, "The", given.tokens, threads, options) for _ in range(given.runs)]
            bandwidth = max(before, read_rate(tool, threads, given.buffer_gb))
            prefill = generate(given.program, folder, prompt, 2, threads, options)
            decode = statistics.median(r["decode"] for r in runs)
            row = {"threads": threads, "products": precision, "bandwidth": bandwidth, "decode": decode,
                   "limit": bandwidth / stream, "share": decode * stream / bandwidth, "prompt": prefill["prompt"],
                   "prefill": prefill["prefill"], "prefill_over_decode": prefill["prefill"] / decode,
                   "resident": max(r["resident"] for r in runs), "resident_with_prompt": prefill["resident"]}
            row["resident_over_stream"] = row["resident"] / stream
            result["rows"].append(row)
            show_row(row)
    result["first_token"] = [first_token(given, folder, file, cold) for cold in (False, True)]
    result["limited"] = measure_limited(given, folder)
    return result


def show_row(row):
    print("{threads} thread(s), {products:5}: decode {decode:.2f} tokens/s = {percent:.0f} % of {limit:.2f} at {gigabytes:.1f} GB/s; "
          "prefill of {prompt} {prefill:.1f} tokens/s = {prefill_over_decode:.2f} x decode; resident {mib:.0f} MB = "
          "{resident_over_stream:.3f} of signs and head".format(percent=100 * row["share"], gigabytes=row["bandwidth"] / 1e9,
                                                                mib=row["resident"] / 1e6, **row), file=sys.stderr, flush=True)


def first_token(given, folder, file, cold):
    """Against reading the file once, each the fastest of a few runs, in turn."""
    reads, firsts = [], []
    for _ in range(given.runs):
        reads.append(read_file(file, cold))
        if cold:
            with open(file, "rb") as opened:
                forget(opened)
        firsts.append(generate(given.program, folder, "The", 1, max(given.threads))["seconds"])
    result = {"file": "cold" if cold else "warm", "read_seconds": min(reads), "seconds": min(firsts),
              "ratio": min(firsts) / min(reads)}
    print("first token, file {file}: {seconds:.2f} s = {ratio:.2f} x reading the file in {read_seconds:.2f} s".format(**result),
          file=sys.stderr, flush=True)
    return result


def measure_limited(given, folder):
    limit = Memory(given.limit_gb * 1e9)
    try:
        row = generate(given.program, folder, "The", given.tokens, max(given.threads), enter=limit.enter)
        result = {"by": limit.name(), "limit": limit.limit, "decode": row["decode"], "resident": row["resident"],
                  "peak": limit.peak()}
    except ValueError as problem:
        result = {"by": limit.name(), "limit": limit.limit, "failed": str(problem)}
    finally:
        limit.remove()
    print(f"within {given.limit_gb:g} GB ({result['by']}): "
          + result.get("failed", "decode {:.2f} tokens/s".format(result.get("decode", 0))), file=sys.stderr, flush=True)
    return result


def measure_compress(given, shape, work):
    """The report of a job on one block and on two."""
    text = work / "text.txt"
    # One token a byte, at least: the words of the made-up folders are those of 512 tokens.
    text.write_text(" ".join(str(k * 7919 % 99991) for k in range(2 * given.windows * given.window_tokens)))
    jobs = []
    for blocks in (1, 2):
        folder, out = work / "dense", work / "out"
        write_model(folder, shape, None, blocks, given.seed, 5e9)
        words = [given.program, "compress", folder, "--text", text, "--out", out, "--windows", given.windows,
                 "--window-tokens", given.window_tokens, "--threads", max(given.threads), *given.options]
        _, _, resident = run(words)
        report = json.loads((out / "report.json").read_text())
        jobs.append({"report": report, "resident": resident})
        print(f"{blocks} block(s): {report['seconds']['total']:.1f} s, peak {resident / 1e6:.0f} MB", file=sys.stderr, flush=True)
        shutil.rmtree(folder)
        shutil.rmtree(out)
    return predict_run(jobs, given.blocks or shape.blocks, given)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0], epilog="What follows -- are options of compress.")
    parser.add_argument("what", choices=("generate", "compress"))
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("--program", type=Path, default=root / "build/release/examples/llama_compress/llama_compress")
    parser.add_argument("--work", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--blocks", type=int, default=0, help="of the folder, or of the run that is predicted (0: all)")
    parser.add_argument("--threads", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print all that was measured")
    parser.add_argument("--bits", type=float, default=1.0)
    parser.add_argument("--tokens", type=int, default=32, help="generated in each run, 2 or more")
    parser.add_argument("--prompt-tokens", type=int, default=128)
    parser.add_argument("--runs", type=int, default=3)
    parser.add_argument("--limit-gb", type=float, default=8)
    parser.add_argument("--buffer-gb", type=float, default=2, help="what the bandwidth is measured on")
    parser.add_argument("--windows", type=int, default=4, help="of calibration, in the runs that are measured")
    parser.add_argument("--window-tokens", type=int, default=512)
    parser.add_argument("--whole-windows", type=int, default=128, help="in the run that is predicted")
    parser.add_argument("--whole-window-tokens", type=int, default=2048)
    parser.add_argument("--whole", nargs="+", default=[], metavar="NAME=VALUE", help="other settings of that run")
    parser.add_argument("--network-gb", type=float, default=1.25, help="GB/s between machines, for the prediction")
    words, options = sys.argv[1:], []
    if "--" in words:
        at = words.index("--")
        words, options = words[:at], words[at + 1 :]
    given = parser.parse_args(words, argparse.Namespace(options=options))
    shape = SHAPES[given.shape]
    try:
        if not given.program.is_file():
            raise ValueError(f"{given.program} is not there: build the release preset, or name the program")
        with tempfile.TemporaryDirectory(prefix="shapes-", dir=given.work) as work:
            measure = measure_generate if given.what == "generate" else measure_compress
            result = measure(given, shape, Path(work))
        if given.json:
            print(json.dumps(result, indent=1))
    except (OSError, ValueError, subprocess.CalledProcessError) as problem:
        sys.exit(f"measure.py: {problem}")


if __name__ == "__main__":
    main()
