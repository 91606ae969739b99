"""Writes a model directory of a known model's shapes with random signs (docs/format.md), to time and weigh what the
program does with it; its text means nothing.

    python3 bench/shapes/make_model.py llama-2-7b OUT [--bits 1.0] [--blocks N] [--seed 0]

Needs NumPy alone, and holds a few megabytes at a time. Same shape and seed, same file. All numbers come from one random
buffer, read again and again from another place, so that a 70B takes seconds, not minutes.
"""

import argparse
import json
import sys
from pathlib import Path

try:
    import numpy as np
except ImportError:
    sys.exit("make_model.py needs NumPy: pip install numpy")

root = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(root / "examples" / "llama_compress"))
from safetensors_file import Tensor, write_safetensors  # noqa: E402

# width, width of k and v, width of gate and up, blocks, heads, vocabulary, whether the head is the embedding
SHAPES = {
    "demo": (192, 96, 448, 3, 6, 512, False),
    "smollm2-135m": (576, 192, 1536, 30, 9, 49152, True),
    "llama-2-7b": (4096, 4096, 11008, 32, 32, 32000, False),
    "llama-3-8b": (4096, 1024, 14336, 32, 32, 128256, False),
    "llama-2-70b": (8192, 1024, 28672, 80, 64, 32000, False),
}


def rank_for(bits, m, n):
    """As rank_for() of factor/rank_budget.hpp: two scales of 16 bits, multiples of 8."""
    exact = (bits * m * n - 16 * (m + n)) / (m + n)
    rank = min(m, n) if exact >= min(m, n) else int(exact) // 8 * 8
    if rank < 8:
        raise ValueError(f"{bits} bits a weight are too few for a layer of {m} x {n}")
    return rank


class RandomBytes:
    """A stream of bytes that repeats one random buffer, from 4 bytes further on every time."""

    def __init__(self, seed, size=1 << 26):
        self.buffer = np.frombuffer(np.random.Generator(np.random.PCG64(seed)).bytes(size), dtype=np.uint8)
        self.at = self.turn = 0

    def take(self, count):
        """The next bytes, in an array of their own; `count` is a multiple of 4."""
        pieces = []
        while count > 0:
            pieces.append(self.buffer[self.at : self.at + count])
            self.at += pieces[-1].size
            count -= pieces[-1].size
            if self.at == self.buffer.size:
                self.turn += 1
                self.at = 4 * self.turn
        return np.concatenate(pieces)


def sign_parts(random, rows, cols):
    """Words of packed signs, (rows/16, cols/32, 16), about a megabyte at a time; bits of the padding are zero."""
    tile_rows, tile_cols = -(-rows // 16), -(-cols // 32)
    while tile_rows:
        count = min(tile_rows, max(1, (1 << 20) // (64 * tile_cols)))
        words = random.take(64 * count * tile_cols).view(np.uint32).reshape(count, tile_cols, 16)
        tile_rows -= count
        if tile_rows == 0 and rows % 16:
            words[-1, :, rows % 16 :] = 0
        if cols % 32:
            words[:, -1] &= np.uint32((1 << (cols % 32)) - 1)
        yield words


def scale_parts(random, count, size):
    """float16 numbers within a third of `size`."""
    noise = random.take(-(-count // 4) * 4)[:count].astype(np.float32) / 255 - 0.5
    yield (size * (1 + 0.6 * noise)).astype(np.float16)


def row_parts(random, rows, cols, size):
    """bfloat16 numbers, evenly spread from -size to size, about two megabytes at a time."""
    left = rows * cols
    table = (np.linspace(-size, size, 256, dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)
    while left:
        count = min(left, 1 << 20)
        yield table[random.take(-(-count // 4) * 4)[:count]]
        left -= count


def add_layer(tensors, metadata, random, name, m, n, bits):
    """A low-rank layer whose outputs are about as large as its inputs: a sum of n, then of r random signs."""
    r = rank_for(bits, m, n)
    metadata[f"{name}.rank"] = str(r)
    for factor, rows, cols in (("U", m, r), ("V", r, n)):
        shape = (-(-rows // 16), -(-cols // 32), 16)
        tensors[f"{name}.{factor}"] = Tensor("U32", shape, sign_parts(random, rows, cols))
    tensors[f"{name}.s_post"] = Tensor("F16", (m,), scale_parts(random, m, r**-0.5))
    tensors[f"{name}.s_pre"] = Tensor("F16", (n,), scale_parts(random, n, n**-0.5))


def ones(count):
    return Tensor("F32", (count,), [np.ones(count, dtype=np.float32)])


def write_model(out, shape, bits, blocks, seed):
    d, kv, ff, all_blocks, heads, vocabulary, tied = SHAPES[shape]
    blocks = blocks or all_blocks
    random = RandomBytes(seed)
    tensors, metadata = {}, {"format": "subbit", "subbit.format_version": "1"}
    tensors["model.embed_tokens.weight"] = Tensor("BF16", (vocabulary, d), row_parts(random, vocabulary, d, 1.0))
    tensors["model.norm.weight"] = ones(d)
    if not tied:
        tensors["lm_head.weight"] = Tensor("BF16", (vocabulary, d), row_parts(random, vocabulary, d, d**-0.5))
    for block in range(blocks):
        prefix = f"model.layers.{block}"
        tensors[f"{prefix}.input_layernorm.weight"] = ones(d)
        tensors[f"{prefix}.post_attention_layernorm.weight"] = ones(d)
        for name, m, n in (("self_attn.q_proj", d, d), ("self_attn.k_proj", kv, d), ("self_attn.v_proj", kv, d),
                           ("self_attn.o_proj", d, d), ("mlp.gate_proj", ff, d), ("mlp.up_proj", ff, d),
                           ("mlp.down_proj", d, ff)):
            add_layer(tensors, metadata, random, f"{prefix}.{name}", m, n, bits)
    out.mkdir(parents=True)
    write_safetensors(out / "model.safetensors", tensors, metadata)
    write_json(out / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_act": "silu",
        "hidden_size": d,
        "intermediate_size": ff,
        "num_hidden_layers": blocks,
        "num_attention_heads": heads,
        "num_key_value_heads": heads * kv // d,
        "head_dim": d // heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-05,
        "rope_theta": 10000.0,
        "tie_word_embeddings": tied,
        "attention_bias": False,
        "mlp_bias": False,
        "torch_dtype": "bfloat16",
    })
    write_tokenizer(out, vocabulary)


def write_tokenizer(out, vocabulary):
    """The demo's words of 512; tokens beyond them are "<513>" and so on, so that each has a text."""
    tokenizer = json.loads((root / "examples/llama_compress/demo_model/tokenizer.json").read_text(encoding="utf-8"))
    words = tokenizer["model"]["vocab"]
    for token in range(len(words) + len(tokenizer["added_tokens"]), vocabulary):
        words[f"<{token}>"] = token
    write_json(out / "tokenizer.json", tokenizer)


def write_json(path, value):
    path.write_text(json.dumps(value, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("shape", choices=SHAPES)
    parser.add_argument("out", type=Path)
    parser.add_argument("--bits", type=float, default=1.0, help="bits a weight")
    parser.add_argument("--blocks", type=int, default=0, help="fewer than the model has (0: all)")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    write_model(given.out, given.shape, given.bits, given.blocks, given.seed)
