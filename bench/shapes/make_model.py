"""Writes a model folder of a published shape with random numbers, to time and weigh what the program does with it; its
text means nothing.

    python3 bench/shapes/make_model.py llama-2-7b OUT [--bits 1.0 | --dense] [--blocks N] [--seed 0]

Packed (docs/format.md), with random signs at so many bits a weight; or dense, in bfloat16 and in shards. Needs Python
alone, and holds some hundred megabytes at a time. Same arguments, same files. All numbers come from one random buffer,
read again and again from another place, so that a 70B takes as long as its bytes take to be written.
"""

import argparse
import json
import random
import statistics
import struct
import sys
from pathlib import Path
from typing import NamedTuple

root = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "examples" / "llama_compress"))
from safetensors_file import Tensor, write_safetensors  # noqa: E402


class Shape(NamedTuple):
    width: int
    heads: int
    kv_heads: int
    head_dim: int
    inner: int  # of gate and up
    blocks: int
    vocabulary: int
    positions: int = 4096
    theta: float = 10000.0
    tied: bool = False
    family: str = "llama"


SHAPES = {
    "demo": Shape(192, 6, 3, 32, 448, 3, 512),
    "smollm2-135m": Shape(576, 9, 3, 64, 1536, 30, 49152, 8192, 1e5, tied=True),
    "llama-2-7b": Shape(4096, 32, 32, 128, 11008, 32, 32000),
    "llama-2-13b": Shape(5120, 40, 40, 128, 13824, 40, 32000),
    "llama-2-70b": Shape(8192, 64, 8, 128, 28672, 80, 32000),
    "llama-3-8b": Shape(4096, 32, 8, 128, 14336, 32, 128256, 8192, 5e5),
    "llama-3-70b": Shape(8192, 64, 8, 128, 28672, 80, 128256, 8192, 5e5),
    "qwen3-32b": Shape(5120, 64, 8, 128, 25600, 64, 151936, 40960, 1e6, family="qwen3"),
}


def linear_layers(shape):
    """(name, outputs, inputs) of a block's linear layers."""
    q, kv = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim
    d, inner = shape.width, shape.inner
    return [("self_attn.q_proj", q, d), ("self_attn.k_proj", kv, d), ("self_attn.v_proj", kv, d),
            ("self_attn.o_proj", d, q), ("mlp.gate_proj", inner, d), ("mlp.up_proj", inner, d),
            ("mlp.down_proj", d, inner)]


def block_norms(shape):
    norms = {"input_layernorm": shape.width, "post_attention_layernorm": shape.width}
    if shape.family == "qwen3":
        norms.update({"self_attn.q_norm": shape.head_dim, "self_attn.k_norm": shape.head_dim})
    return norms


def rank_for(bits, m, n):
    """As rank_for() of factor/rank_budget.hpp: two scales of 16 bits, multiples of 8."""
    exact = (bits * m * n - 16 * (m + n)) / (m + n)
    rank = min(int(exact) // 8 * 8, 16 * min(m, n))
    if rank < 8:
        raise ValueError(f"{bits} bits a weight are too few for a layer of {m} x {n}")
    return rank


class Repeated:
    """A stream of bytes that repeats one buffer, from 4 bytes further on every time."""

    def __init__(self, buffer):
        self.buffer = memoryview(buffer)
        self.at = self.turn = 0

    def take(self, count):
        """The next bytes, in pieces of the buffer."""
        while count > 0:
            piece = self.buffer[self.at : self.at + count]
            yield piece
            count -= len(piece)
            self.at += len(piece)
            if self.at == len(self.buffer):
                self.turn += 1
                self.at = 4 * self.turn % len(self.buffer)


def bfloat16_pair(value):
    return struct.pack("<f", value)[2:]


def float16_pair(value):
    return struct.pack("<e", value)


class Numbers:
    """Random signs, and numbers of 16 bits: one of 256 values for each random byte."""

    def __init__(self, seed, size=1 << 26):
        self.bytes = random.Random(seed).randbytes(size)
        self.signs = Repeated(self.bytes)
        self.streams = {}

    def take(self, count, values, pair):
        """`count` of `values`, each stored as pair(value)."""
        key = tuple(values)
        if key not in self.streams:
            pairs = [pair(value) for value in values]
            buffer = bytearray(len(self.bytes))
            half = self.bytes[: len(self.bytes) // 2]
            for place in (0, 1):
                buffer[place::2] = half.translate(bytes(p[place] for p in pairs))
            self.streams[key] = Repeated(buffer)
        return self.streams[key].take(2 * count)

    def normal(self, count, deviation):
        """bfloat16 numbers of a normal distribution."""
        spread = statistics.NormalDist(0, deviation)
        return self.take(count, [spread.inv_cdf((k + 0.5) / 256) for k in range(256)], bfloat16_pair)

    def scales(self, count, size):
        """float16 numbers within a third of `size`."""
        return self.take(count, [size * (1 + 0.6 * (k / 255 - 0.5)) for k in range(256)], float16_pair)

    def packed_signs(self, rows, cols):
        """Words of packed signs, (rows/16, cols/32, 16); bits of the padding are zero."""
        tile_rows, tile_cols = -(-rows // 16), -(-cols // 32)
        whole = tile_rows if rows % 16 == 0 else tile_rows - 1
        if cols % 32 == 0:
            yield from self.signs.take(64 * tile_cols * whole)
        else:
            last = mask_of(16, cols % 32)
            for _ in range(whole):
                yield from self.signs.take(64 * (tile_cols - 1))
                yield masked(self.signs.take(64), last)
        if rows % 16:
            tail = cols % 32 or 32
            yield masked(self.signs.take(64 * tile_cols), mask_of(rows % 16, 32) * (tile_cols - 1) + mask_of(rows % 16, tail))


def mask_of(rows, cols):
    """A tile of which so many rows and columns are used."""
    return struct.pack("<I", (1 << cols) - 1) * rows + bytes(4 * (16 - rows))


def masked(pieces, mask):
    bits = int.from_bytes(b"".join(pieces), "little") & int.from_bytes(mask, "little")
    return bits.to_bytes(len(mask), "little")


def ones(count):
    return Tensor("F32", (count,), [struct.pack("<f", 1) * count])


def packed_layer(numbers, name, m, n, rank):
    """A low-rank layer whose outputs are about as large as its inputs: a sum of n, then of r random signs."""
    for factor, rows, cols in (("U", m, rank), ("V", rank, n)):
        yield f"{name}.{factor}", Tensor("U32", (-(-rows // 16), -(-cols // 32), 16), numbers.packed_signs(rows, cols))
    yield f"{name}.s_post", Tensor("F16", (m,), numbers.scales(m, rank**-0.5))
    yield f"{name}.s_pre", Tensor("F16", (n,), numbers.scales(n, n**-0.5))


def dense_matrix(numbers, rows, cols, deviation):
    return Tensor("BF16", (rows, cols), numbers.normal(rows * cols, deviation))


def model_tensors(shape, bits, blocks, numbers):
    """The tensors in the order of a pass, and the metadata; bits None: dense."""
    d = shape.width
    tensors, metadata = {}, {"format": "pt"}
    tensors["model.embed_tokens.weight"] = dense_matrix(numbers, shape.vocabulary, d, 1)
    for block in range(blocks):
        prefix = f"model.layers.{block}"
        for name, size in block_norms(shape).items():
            tensors[f"{prefix}.{name}.weight"] = ones(size)
        for layer, m, n in linear_layers(shape):
            name = f"{prefix}.{layer}"
            if bits is None:
                tensors[f"{name}.weight"] = dense_matrix(numbers, m, n, n**-0.5)
            else:
                rank = rank_for(bits, m, n)
                metadata[f"{name}.rank"] = str(rank)
                tensors.update(packed_layer(numbers, name, m, n, rank))
    if bits is not None:
        metadata.update({"format": "subbit", "subbit.format_version": "1"})
    tensors["model.norm.weight"] = ones(d)
    if not shape.tied:
        tensors["lm_head.weight"] = dense_matrix(numbers, shape.vocabulary, d, d**-0.5)
    return tensors, metadata


def write_shards(out, tensors, metadata, most):
    """Files of at most `most` bytes, if no tensor is larger, and the index that names them."""
    shards, size = [{}], 0
    for name, tensor in tensors.items():
        if shards[-1] and size + tensor.size() > most:
            shards.append({})
            size = 0
        shards[-1][name] = tensor
        size += tensor.size()
    if len(shards) == 1:
        return write_safetensors(out / "model.safetensors", tensors, metadata)
    files = {}
    for k, shard in enumerate(shards, 1):
        file = f"model-{k:05}-of-{len(shards):05}.safetensors"
        write_safetensors(out / file, shard, metadata)
        files.update(dict.fromkeys(shard, file))
    total = sum(tensor.size() for tensor in tensors.values())
    write_json(out / "model.safetensors.index.json", {"metadata": {"total_size": total}, "weight_map": files})


def write_config(out, shape, blocks):
    write_json(out / "config.json", {
        "architectures": [{"llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM"}[shape.family]],
        "model_type": shape.family,
        "hidden_act": "silu",
        "hidden_size": shape.width,
        "intermediate_size": shape.inner,
        "num_hidden_layers": blocks,
        "num_attention_heads": shape.heads,
        "num_key_value_heads": shape.kv_heads,
        "head_dim": shape.head_dim,
        "vocab_size": shape.vocabulary,
        "max_position_embeddings": shape.positions,
        "rms_norm_eps": 1e-05,
        "rope_theta": shape.theta,
        "tie_word_embeddings": shape.tied,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
    })


def write_tokenizer(out, vocabulary):
    """The demo's words of 512; tokens beyond them are "<513>" and so on, so that each has a text."""
    tokenizer = json.loads((root / "examples/llama_compress/demo_model/tokenizer.json").read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    for token in range(len(words) + len(tokenizer["added_tokens"]), vocabulary):
        words[f"<{token}>"] = token
    write_json(out / "tokenizer.json", tokenizer)


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


def write_model(out, shape, bits, blocks, seed, shard_bytes):
    tensors, metadata = model_tensors(shape, bits, blocks, Numbers(seed))
    out.mkdir(parents=True)
    write_shards(out, tensors, metadata, shard_bytes if bits is None else float("inf"))
    write_config(out, shape, blocks)
    write_tokenizer(out, shape.vocabulary)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path, help="a folder that is not there yet")
    parser.add_argument("--bits", type=float, default=1.0, help="bits a weight, scales included")
    parser.add_argument("--dense", action="store_true", help="dense weights in bfloat16 instead of packed signs")
    parser.add_argument("--blocks", type=int, default=0, help="fewer or more than the model has (0: as many)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--shard-bytes", type=float, default=5e9, help="of a dense model's files, at most")
    given = parser.parse_args()
    shape = SHAPES[given.shape]
    try:
        write_model(given.out, shape, None if given.dense else given.bits, given.blocks or shape.blocks, given.seed,
                    given.shard_bytes)
    except (OSError, ValueError) as problem:
        sys.exit(f"make_model.py: {problem}")


if __name__ == "__main__":
    main()
