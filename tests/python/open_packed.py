"""Opens a packed model and its dense export with Python's `safetensors`, and compares W = diag(s_post) U diag(s_mid) V
diag(s_pre), read as docs/format.md says, with the exported weights.

    open_packed.py PACKED_DIR DENSE_DIR
"""

import sys

import numpy as np
from safetensors import safe_open


def signs(words, rows, cols):
    bits = (words[..., None] >> np.arange(32, dtype=np.uint32)) & 1
    tiles = 2.0 * bits.transpose(0, 2, 1, 3).reshape(16 * words.shape[0], 32 * words.shape[1]) - 1
    return tiles[:rows, :cols]


def bfloat16_tensor(path, name):
    """numpy has no bfloat16: the bytes of the file, widened."""
    import json

    with open(path, "rb") as file:
        size = int.from_bytes(file.read(8), "little")
        header = json.loads(file.read(size))
        entry = header[name]
        assert entry["dtype"] == "BF16", (name, entry["dtype"])
        begin, end = entry["data_offsets"]
        file.seek(8 + size + begin)
        words = np.frombuffer(file.read(end - begin), dtype=np.uint16)
    return (words.astype(np.uint32) << 16).view(np.float32).reshape(entry["shape"])


packed_dir, dense_dir = sys.argv[1:]
layers = 0
with safe_open(packed_dir + "/model.safetensors", "numpy") as packed:
    metadata = packed.metadata()
    assert metadata["format"] == "subbit" and metadata["subbit.format_version"] == "1", metadata
    for key in packed.keys():
        if not key.endswith(".U"):
            continue
        name = key[:-2]
        rank = int(metadata[name + ".rank"])
        s_post, s_pre = (packed.get_tensor(name + s).astype(np.float64) for s in (".s_post", ".s_pre"))
        left = signs(packed.get_tensor(name + ".U"), len(s_post), rank)
        right = signs(packed.get_tensor(name + ".V"), rank, len(s_pre))
        if name + ".s_mid" in packed.keys():
            left = left * packed.get_tensor(name + ".s_mid").astype(np.float64)
        weight = s_post[:, None] * (left @ right) * s_pre
        exported = bfloat16_tensor(dense_dir + "/model.safetensors", name + ".weight")
        error = np.abs(weight - exported).max() / np.abs(weight).max()
        assert error <= 2.0**-8, (name, error)
        layers += 1
assert layers > 0, "no packed layer in " + packed_dir
print(f"{layers} layers agree with their export")
