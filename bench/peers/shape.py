"""A GGUF file of a published shape with made-up weights, and llama.cpp's speed on it; called by shape.sh."""

import functools
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "shapes"))


# A linear layer of make_model.py, as GGUF names it.
LAYERS = {"self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
          "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}


def random_rows(rows, row_bytes, scale_at, block_bytes, scale):
    """Random blocks with a fixed 16-bit scale each; rows repeat, since only their number matters."""
    import numpy as np

    piece = np.random.default_rng(0).integers(0, 243, size=(min(rows, 256), row_bytes), dtype=np.uint8)
    blocks = piece.reshape(-1, block_bytes)
    blocks[:, scale_at:scale_at + 2] = np.frombuffer(np.float16(scale).tobytes(), dtype=np.uint8)
    return np.tile(piece, (-(-rows // len(piece)), 1))[:rows]


def make(name, vocabulary_of, out):
    import numpy as np
    from gguf import GGMLQuantizationType as kind, GGUFReader, GGUFWriter

    from make_model import SHAPES, linear_layers

    shape = SHAPES[name]
    d = shape.width
    known = {key: field.contents() for key, field in GGUFReader(vocabulary_of).fields.items() if key.startswith("tokenizer.")}
    tokens = known["tokenizer.ggml.tokens"]
    size = max(shape.vocabulary, len(tokens))
    filler = [f"<filler{i}>" for i in range(size - len(tokens))]

    writer = GGUFWriter(out, "llama")
    writer.add_block_count(shape.blocks)
    writer.add_context_length(1024)
    writer.add_embedding_length(d)
    writer.add_feed_forward_length(shape.inner)
    writer.add_head_count(shape.heads)
    writer.add_head_count_kv(shape.kv_heads)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_dimension_count(shape.head_dim)
    writer.add_vocab_size(size)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(known["tokenizer.ggml.pre"])
    writer.add_token_list(tokens + filler)
    writer.add_token_types(known["tokenizer.ggml.token_type"] + [1] * len(filler))
    writer.add_token_merges(known["tokenizer.ggml.merges"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)

    # TQ1_0: 256 weights in 52 bytes of digits to the base 3 and a scale. Q8_0: 32 weights and, before them, a scale. Blocks
    # repeat a few shapes, each of which is made once.
    @functools.cache
    def ternary(rows, cols):
        return random_rows(rows, cols // 256 * 54, 52, 54, 1 / np.sqrt(cols)), kind.TQ1_0

    @functools.cache
    def bytes_of(rows, cols):
        return random_rows(rows, cols // 32 * 34, 0, 34, 1e-4), kind.Q8_0

    tensors = [("token_embd.weight", lambda: bytes_of(size, d)), ("output_norm.weight", lambda: (np.ones(d, np.float32), kind.F32)),
               ("output.weight", lambda: bytes_of(size, d))]
    for block in range(shape.blocks):
        for norm in ("attn_norm", "ffn_norm"):
            tensors.append((f"blk.{block}.{norm}.weight", lambda: (np.ones(d, np.float32), kind.F32)))
        for layer, rows, cols in linear_layers(shape):
            tensors.append((f"blk.{block}.{LAYERS[layer]}.weight", lambda rows=rows, cols=cols: ternary(rows, cols)))
    for tensor, values in tensors:
        data, its_kind = values()
        writer.add_tensor_info(tensor, data.shape, data.dtype, data.nbytes, raw_dtype=its_kind)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, values in tensors:
        writer.write_tensor_data(values()[0])
    writer.close()


def measure(path, threads, tokens):
    import resource
    import time

    from decode import llama_cpp_server

    size = os.path.getsize(path)
    start = time.monotonic()
    server = llama_cpp_server(path, int(threads))
    loaded = time.monotonic() - start
    request = {"prompt": "The history", "max_tokens": int(tokens), "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
    timings = server.handle_completions(request)["timings"]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(f"llama.cpp TQ1_0: file {size / 1e9:.2f} GB, loaded in {loaded:.1f} s, prompt {timings['prompt_per_second']:.2f} tokens/s, "
          f"decode {timings['predicted_per_second']:.2f} tokens/s, resident {peak / 1e9:.2f} GB")


if __name__ == "__main__":
    try:
        {"make": make, "measure": measure}[sys.argv[1]](*sys.argv[2:])
    except Exception as problem:  # one line, whatever it was
        sys.exit(f"shape.py: {type(problem).__name__}: {problem}")
