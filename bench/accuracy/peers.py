"""Quantizes a GGUF file by llama.cpp and measures the result's perplexity; called by peers.sh."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "examples" / "llama_compress"))

from get_smollm2 import convert  # noqa: E402  (a dense folder of a GGUF file)

# Names and numbers of llama.h's file types.
TYPES = {"Q4_0": 2, "Q2_K": 10, "TQ1_0": 36, "IQ2_XXS": 19, "IQ1_S": 24, "Q1_0": 40}


def quantize(source, target, file_type):
    """In a process of its own, since llama.cpp talks a lot. Returns why it failed, or nothing."""
    code = ("import sys, cyllama.llama.llama_cpp as c\n"
            "p = c.LlamaModelQuantizeParams()\n"
            "p.allow_requantize, p.ftype = True, int(sys.argv[3])\n"
            "c.model_quantize(sys.argv[1], sys.argv[2], p)\n")
    done = subprocess.run([sys.executable, "-c", code, source, target, str(file_type)], capture_output=True, text=True)
    if done.returncode == 0:
        return ""
    said = [line for line in done.stderr.splitlines() if re.search(r"imatrix|importance|fail|error|invalid", line, re.I)]
    return said[0].strip() if said else f"status {done.returncode}"


def bits_per_weight(gguf):
    """Of the linear layers in the blocks."""
    from gguf import GGUFReader

    layers = [t for t in GGUFReader(gguf).tensors if t.name.startswith("blk.") and len(t.shape) == 2]
    return 8 * sum(int(t.n_bytes) for t in layers) / sum(int(t.n_elements) for t in layers)


def measure(program, gguf, text, scratch):
    folder = Path(scratch) / "dense"
    folder.mkdir()
    convert(gguf, folder)
    said = subprocess.run([program, "perplexity", folder, "--text", text, "--context", "512", "--max-windows", "32", "--json"],
                          check=True, capture_output=True, text=True).stdout
    return json.loads(said)["perplexity"]


def main(source, program, text, out):
    rows = []
    for name, file_type in {"Q4_1": None, **TYPES}.items():
        with tempfile.TemporaryDirectory() as scratch:
            gguf, failure = source, ""
            if file_type is not None:
                gguf = os.path.join(scratch, "model.gguf")
                failure = quantize(source, gguf, file_type)
            row = {"name": name}
            if failure:
                row["failure"] = failure
            else:
                row |= {"bytes": os.path.getsize(gguf), "bits_per_weight": bits_per_weight(gguf),
                        "perplexity": measure(program, gguf, text, scratch)}
            print(json.dumps(row), flush=True)
            rows.append(row)
    with open(out + ".part", "w", encoding="utf-8") as file:
        json.dump(rows, file, indent=2)
    os.rename(out + ".part", out)


if __name__ == "__main__":
    try:
        main(*sys.argv[1:])
    except Exception as problem:  # one line, whatever it was
        sys.exit(f"peers.py: {type(problem).__name__}: {problem}")
