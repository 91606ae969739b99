"""Writes safetensors files in plain Python, one tensor after the other, so that a file may be larger than the memory."""

import json
from typing import Iterable, NamedTuple

ITEM_BYTES = {"F32": 4, "U32": 4, "BF16": 2, "F16": 2}


class Tensor(NamedTuple):
    dtype: str  # a key of ITEM_BYTES
    shape: tuple
    parts: Iterable  # of contiguous buffers, which together are the tensor's bytes; read once, when their turn comes

    def size(self):
        count = ITEM_BYTES[self.dtype]
        for extent in self.shape:
            count *= extent
        return count


def write_safetensors(path, tensors, metadata):
    """Writes {name: Tensor} and {key: text}; ValueError where a tensor's parts are not as many bytes as its shape says."""
    # Larger items first: whatever lies before a tensor is then a multiple of its item.
    names = sorted(tensors, key=lambda name: (-ITEM_BYTES[tensors[name].dtype], name))
    header, end = {"__metadata__": metadata}, 0
    for name in names:
        begin, end = end, end + tensors[name].size()
        header[name] = {"dtype": tensors[name].dtype, "shape": tensors[name].shape, "data_offsets": [begin, end]}
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in names:
            written = sum(file.write(memoryview(part).cast("B")) for part in tensors[name].parts)
            if written != tensors[name].size():
                raise ValueError(f"{path}: tensor {name} of shape {list(tensors[name].shape)} has {written} bytes, "
                                 f"expected {tensors[name].size()}")
