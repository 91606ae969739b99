"""Writes cases.json beside it: what the `tokenizers` library of PyPI (0.22.1) makes of texts with every step that we know.

A case is a set of steps around one of three models; its texts come with their ids and with what those decode to.
"""

import json
import random
from pathlib import Path

from tokenizers import Tokenizer

LETTERS = {}
for byte in range(256):
    printable = 33 <= byte <= 126 or 161 <= byte <= 172 or byte >= 174
    LETTERS[byte] = chr(byte if printable else 256 + sum(1 for known in LETTERS.values() if ord(known) >= 256))

PAIRS = ["a b", "ab c", "t h", "th e", "h e", "l l", "o r", "1 2", "b c", "he ll", "n d", "a nd", "a a", "aa a", "A B"]


def model(characters, more_pairs=(), **flags):
    vocab, merges = {"<unk>": 0}, []
    for character in characters:
        vocab.setdefault(character, len(vocab))
    for pair in [*PAIRS, *more_pairs]:
        left, right = pair.split(" ")
        if left in vocab and right in vocab:
            merges.append(pair)
            vocab.setdefault(left + right, len(vocab))
    return {"type": "BPE", "dropout": None, "continuing_subword_prefix": None, "end_of_word_suffix": None,
            "unk_token": "<unk>", "fuse_unk": False, "byte_fallback": False, "ignore_merges": False, **flags,
            "vocab": vocab, "merges": merges}


ASCII = [chr(c) for c in range(33, 127)]
MODELS = {
    "bytes": model(LETTERS.values(), ["\u0120 a", "\u0120 th", "\u0120th e", "\u00c3 \u00a9", "\u0120 \u0120"]),
    "fallback": model([*(f"<0x{b:02X}>" for b in range(256)), "\u2581", *ASCII, "\u00e9", "\u65e5"],
                      ["\u2581 a", "\u2581 th", "\u2581th e", "\u2581 \u2581", "\u2581 \u00e9"], byte_fallback=True, fuse_unk=True),
    "unknown": model([" ", "\u2581", *"abcdehlnort12AB'.,!?<>", "\u00e9", "e\u0301"[1], "\ufb01", "i"]),
}

PIECES = ["the ", " the", "  ", "'s", "'LL", " a", "abc", "aaaa", "<x>", "<y>", "M", "\u00e9", "e\u0301", "12", "\u00bd", "\u0663", "\r\n", "\n\n",
          "\t", "hell", "or", "and ", ".", "!?", "\u2581", "_", "\u20ac", "\u65e5\u672c", "\ud55c", "\u1112\u1161\u11ab", "\ufb01", "\u0130", "\u03a3", "\u00a0", "\u2028",
          "\u200d", "\U0001f642", "\u24b6", "$1", "<0x41>", "\x00", "B", "x"]


def split(pattern, behavior="Isolated", invert=False):
    return {"type": "Split", "pattern": pattern, "behavior": behavior, "invert": invert}


def sequence(key, *steps):
    return {"type": "Sequence", key: list(steps)}


def byte_level(prefix=False, regex=True):
    return {"type": "ByteLevel", "add_prefix_space": prefix, "trim_offsets": True, "use_regex": regex}


def metaspace(scheme="always", cut=True):
    return {"type": "Metaspace", "replacement": "\u2581", "prepend_scheme": scheme, "split": cut}


def added(content, **flags):
    return {"content": content, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False, **flags}


REGEX = {"llama3": r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+",
         "empty": r"x*", "edge": r"\b", "word": r"\w+", "line": r"^.", "end": r"$", "before": r"(?=a)"}
BEHAVIORS = ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"]
REPLACE = {"type": "Replace", "pattern": {"String": " "}, "content": "\u2581"}
SPM_DECODER = sequence("decoders", {**REPLACE, "pattern": {"String": "\u2581"}, "content": " "}, {"type": "ByteFallback"}, {"type": "Fuse"})


def cases():
    def case(model, normalizer=None, pre_tokenizer=None, decoder=None, tokens=(), **flags):
        return {"model": model, "flags": flags, "normalizer": normalizer, "pre_tokenizer": pre_tokenizer, "decoder": decoder,
                "added_tokens": list(tokens)}

    for behavior in BEHAVIORS:
        for invert in (False, True):
            yield case("unknown", None, split({"Regex": r"\s+"}, behavior, invert), {"type": "Fuse"})
            yield case("unknown", None, split({"String": "a"}, behavior, invert), {"type": "Fuse"})
        yield case("fallback", None, {"type": "Punctuation", "behavior": behavior}, {"type": "ByteFallback"})
    for name, expression in REGEX.items():
        yield case("bytes", None, sequence("pretokenizers", split({"Regex": expression}), byte_level(False, False)), byte_level())
        yield case("fallback", {"type": "Replace", "pattern": {"Regex": expression}, "content": "ab"}, None, SPM_DECODER)
    for prefix in (False, True):
        for regex in (False, True):
            yield case("bytes", None, byte_level(prefix, regex), byte_level(), [added("<x>"), added("M", special=True)])
    for scheme in ("always", "first", "never"):
        for cut in (False, True):
            yield case("fallback", None, metaspace(scheme, cut), sequence("decoders", {"type": "ByteFallback"}, metaspace(scheme)),
                       [added("<x>", rstrip=True), added("<y>", lstrip=True)])
    for individual in (False, True):
        yield case("unknown", None, {"type": "Digits", "individual_digits": individual})
    yield case("unknown", None, {"type": "Whitespace"})
    yield case("unknown", None, {"type": "WhitespaceSplit"}, None, [], fuse_unk=True)
    yield case("unknown", None, sequence("pretokenizers", {"type": "WhitespaceSplit"}, sequence("pretokenizers", {"type": "Punctuation"})))
    yield case("bytes", None, sequence("pretokenizers", {"type": "Digits", "individual_digits": True}, byte_level()), byte_level())
    for form in ("NFC", "NFD", "NFKC", "NFKD", "Lowercase"):
        yield case("unknown", {"type": form}, None, None, [added("Mx", normalized=True)])
    for left in (False, True):
        for right in (False, True):
            # The library strips the right side by bytes, so only ASCII texts come out as meant.
            yield {**case("unknown", {"type": "Strip", "strip_left": left, "strip_right": right}, metaspace("first")), "ascii": True}
    yield case("fallback", sequence("normalizers", {"type": "Prepend", "prepend": "\u2581"}, REPLACE), None,
               sequence("decoders", *SPM_DECODER["decoders"], {"type": "Strip", "content": " ", "start": 1, "stop": 0}),
               [added("<x>", special=True)])
    yield case("fallback", REPLACE, split({"String": " "}, "MergedWithPrevious"), SPM_DECODER, [added("  ", normalized=True)])
    yield case("fallback", sequence("normalizers"), sequence("pretokenizers"), SPM_DECODER, [], ignore_merges=True)
    yield case("bytes", {"type": "ByteLevel"}, None, byte_level())
    for flags in ({"single_word": True}, {"lstrip": True}, {"rstrip": True}, {"lstrip": True, "rstrip": True},
                  {"single_word": True, "lstrip": True, "normalized": True}):
        yield case("fallback", REPLACE, None, SPM_DECODER, [added("<x>", **flags), added("M", **flags), added("\n\n", special=True)])
    for what in ({"type": "Strip", "content": "a", "start": 2, "stop": 0}, {"type": "Strip", "content": "b", "start": 0, "stop": 1},
                 {"type": "Replace", "pattern": {"Regex": "[ab]+"}, "content": "-"}, metaspace("never")):
        yield case("fallback", REPLACE, None, what)
        yield case("fallback", REPLACE, None, sequence("decoders", {"type": "ByteFallback"}, {"type": "Fuse"}, what))
        yield case("bytes", None, byte_level(False, False), sequence("decoders", byte_level(), what))


def document(case):
    core = MODELS[case["model"]]
    first = len(core["vocab"])
    tokens = [{"id": first + k, **token} for k, token in enumerate(t for t in case["added_tokens"] if t["content"] not in core["vocab"])]
    tokens += [{"id": core["vocab"][t["content"]], **t} for t in case["added_tokens"] if t["content"] in core["vocab"]]
    case["added_tokens"] = tokens
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": tokens, "normalizer": case["normalizer"],
            "pre_tokenizer": case["pre_tokenizer"], "post_processor": None, "decoder": case["decoder"],
            "model": {**core, **case["flags"]}}


def main():
    numbers, result = random.Random(1), []
    for case in cases():
        tokenizer = Tokenizer.from_str(json.dumps(document(case)))
        pieces = [piece for piece in PIECES if piece.isascii()] if case.pop("ascii", False) else PIECES
        texts = ["", " ", " the  and <x>M hell.\n"]
        texts += ["".join(numbers.choice(pieces) for _ in range(numbers.randint(1, 9))) for _ in range(7)]
        case["texts"] = []
        for text in texts:
            ids = tokenizer.encode(text, add_special_tokens=False).ids
            try:
                decoded = tokenizer.decode(ids, skip_special_tokens=False)
            except BaseException:  # the library gives up on tokens that a Strip leaves nothing of
                decoded = None
            case["texts"].append([text, ids, decoded])
        result.append(case)
    out = {"models": MODELS, "cases": result}
    path = Path(__file__).parent / "cases.json"
    path.write_text(json.dumps(out, ensure_ascii=True, separators=(",", ":")).replace('{"model"', '\n{"model"') + "\n")


if __name__ == "__main__":
    main()
