"""What writing a GGUF file as an ordinary model directory needs, whatever the model: numbers, JSON, and a rename at the end."""

import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import numpy as np
from gguf import GGUFReader, dequantize

from safetensors_file import Tensor

# Token types of a GGUF vocabulary.
NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
ROWS_AT_ONCE = 4096  # a multiple of every head


def open_gguf(path, architecture):
    """The reader of a GGUF file and its metadata; ValueError if it holds another architecture."""
    reader = GGUFReader(path)
    meta = {key: field.contents() for key, field in reader.fields.items()}
    if meta["general.architecture"] != architecture:
        raise ValueError(f"{path} holds a {meta['general.architecture']}, expected a {architecture}")
    return reader, meta


def to_bfloat16(values):
    """Round to nearest, ties to even; finite input."""
    bits = np.ascontiguousarray(values, dtype=np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")


def bfloat16_tensor(tensor, change):
    """A GGUF tensor, dequantized some rows at a time when its turn to be written comes; `change` maps rows to as many."""
    shape = [int(extent) for extent in reversed(tensor.shape)]
    # A vector is one piece.
    pieces = np.split(tensor.data, range(ROWS_AT_ONCE, shape[0], ROWS_AT_ONCE) if len(shape) > 1 else [])
    parts = (to_bfloat16(change(dequantize(piece, tensor.tensor_type))) for piece in pieces)
    return Tensor("BF16", shape, parts)


def short_float(x):
    """The shortest decimal of a float32: 1e-05, not 9.99999974e-06."""
    return float(str(np.float32(x)))


def write_json(path, value, indent=2):
    path.write_text(json.dumps(value, ensure_ascii=False, indent=indent) + "\n", encoding="utf-8")


def write_directory(directory, fill):
    """Calls fill(scratch, finished) with two empty folders; `finished` becomes `directory` by rename once it is complete."""
    target = Path(directory)
    target.parent.mkdir(parents=True, exist_ok=True)
    # Beside the target, so that the last step is a rename within one file system.
    with tempfile.TemporaryDirectory(prefix=f".{target.name}-", dir=target.parent) as scratch:
        finished = Path(scratch) / "model"
        finished.mkdir()
        fill(Path(scratch), finished)
        if target.is_dir():
            target.rmdir()  # only an empty one goes
        os.rename(finished, target)


def run(name, main):
    """main(*arguments); whatever goes wrong ends the program with one line, and a signal as an error does."""
    def stop(*_):
        raise InterruptedError("stopped")

    signal.signal(signal.SIGTERM, stop)
    signal.signal(signal.SIGINT, stop)
    try:
        main(*sys.argv[1:])
    except Exception as problem:
        sys.exit(f"{name}: {type(problem).__name__}: {str(problem).splitlines()[0] if str(problem) else ''}")
