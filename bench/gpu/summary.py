"""Prints Google Benchmark's JSON files of bench/gpu as a short table, and what a goal compares as a ratio, the goals last.

A file whose program was stopped or failed half-way is read as far as it goes.
"""

import json
import re
import sys


def benchmarks(path):
    text = open(path).read()
    try:
        return json.loads(text)["benchmarks"]
    except ValueError:  # stopped: every finished run ends with "    }"
        end = text.rfind("\n    }")
        return json.loads(text[: end + 6] + "]}")["benchmarks"] if end > 0 else []


rows = {}
for path in sys.argv[1:]:
    for b in benchmarks(path):
        name = re.sub("/(manual_time|iterations:[0-9]+)", "", b["name"])
        if b.get("error_occurred"):
            print(f"{name}: {b['error_message']}")
        else:
            rows[name] = b


def rate(row, *names):
    return next((row[n] for n in names if n in row), 0.0)


for name, row in rows.items():
    flops = rate(row, "dense_flops/s", "FLOP/s")
    moved = rate(row, "sign_bytes/s", "weight_bytes/s", "bytes/s")
    print(f"{name:66}{row['real_time']:11.2f} {row['time_unit']}{moved / 1e9:8.1f} GB/s{flops / 1e12:8.2f} TFLOP/s")

print()
for name, row in rows.items():
    kind, _, arguments = name.partition("/")
    if kind.startswith("packed_") and (dense := rows.get("cublas_bfloat16/" + arguments)):
        print(f"{name:66}{dense['real_time'] / row['real_time']:8.2f} x cuBLAS bfloat16")
    if kind == "decode_layers" and "read" in rows:
        print(f"{name:66}{100 * row['sign_bytes/s'] / rows['read']['bytes/s']:8.1f} % of read")
    if kind == "lb_admm_gpu":
        tf32 = arguments[arguments.index("tf32"):]
        for other, product in rows.items():
            if other.startswith("cublas_sgemm/m:4096/n:2032/k:4096/turned:0") and other.endswith(tf32):
                print(f"{name:66}{100 * row['FLOP/s'] / product['FLOP/s']:8.1f} % of cublas_sgemm")
