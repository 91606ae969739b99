"""Prints what bench/gpu/measure.sh measured as one table: each row beside the authors' figure, what was measured before and
the target (reference.json), its speed relative to cuBLAS's product of the same operands, and its rates. Rows with a target
come first.

    summary.py ROWS [ROWS...]        files of JSON lines; if a row is there more than once, the last one counts
"""

import json
import re
import sys
from pathlib import Path

HEADINGS = ("measured", "unit", "authors", "before", "target", "", "x cuBLAS", "% of read", "GB/s", "TFLOP/s")
WIDTHS = (10, 9, 8, 8, 8, 8, 9, 10, 8, 8)


def read_rows(paths):
    rows = {}
    for path in paths:
        for line in Path(path).read_text(encoding="utf-8").splitlines():
            try:
                row = json.loads(line)
            except ValueError:  # the last line of a run that was stopped
                continue
            if "error" not in row or "value" not in rows.get(row["name"], {}):
                rows[row["name"]] = row
    return rows


def add_whole_70b(rows):
    """The hours that all layers of the model take, from those of each kind."""
    layers = [row for name, row in rows.items() if name.startswith("llama_70b_layer/")]
    if len(layers) == 4 and all("value" in row for row in layers):
        hours = sum(row["model_hours"] for row in layers)
        rows["llama_70b_model"] = {"name": "llama_70b_model", "value": hours, "unit": "h"}


def rate(row, *names):
    return next((row[n] for n in names if n in row), 0.0)


def number(x):
    return "" if not x else f"{x:.0f}" if x >= 1000 else f"{x:.2f}" if x < 100 else f"{x:.1f}"


def cells(row, rows, known):
    value, unit = row["value"], row["unit"]
    packed = re.fullmatch("packed_[a-z0-9]+/(.*)/rank:.*", row["name"])
    dense = rows.get("cublas_bfloat16/" + packed[1], {}) if packed else {}
    moved = rate(row, "sign_bytes/s", "weight_bytes/s", "bytes/s")
    read = rate(rows.get("read", {}), "bytes/s")
    verdict = ""
    if "target" in known:
        reached = value >= known["target"] if unit == "tokens/s" else value <= known["target"]
        verdict = "reached" if reached else "missed"
    return (number(value), unit, *(number(known.get(key)) for key in ("authors", "before", "target")), verdict,
            number(dense["value"] / value) if "value" in dense else "",
            number(100 * moved / read) if moved and read else "",
            number(moved / 1e9), number(rate(row, "dense_flops/s", "FLOP/s") / 1e12))


def known_of(name, reference):
    """What is known of a row, whatever the kernels and activations of packed layers, and the seed of runs."""
    name = re.sub("^decode_warpgroups/", "decode_layers/", re.sub("/seed:.*", "", name))
    return {**reference.get(re.sub("^packed_[a-z0-9]+/", "packed/", name), {}), **reference.get(name, {})}


def main(paths):
    rows = read_rows(paths)
    add_whole_70b(rows)
    reference = json.loads(Path(__file__).with_name("reference.json").read_text(encoding="utf-8"))
    known = {name: known_of(name, reference["rows"]) for name in rows}
    order = sorted(rows, key=lambda name: ("target" not in known[name], not known[name]))
    longest = max(map(len, rows), default=0)
    print(f"authors: {reference['authors']}\nbefore: {reference['before']}\n")
    print(" " * longest + "".join(f"{h:>{w}}" for h, w in zip(HEADINGS, WIDTHS)).rstrip())
    for name in order:
        row = rows[name]
        if "error" in row:
            print(f"{name:{longest}}  {row['error']}")
        else:
            line = "".join(f"{c:>{w}}" for c, w in zip(cells(row, rows, known[name]), WIDTHS))
            print(f"{name:{longest}}{line}".rstrip())


if __name__ == "__main__":
    main(sys.argv[1:])
