"""Prints a Google Benchmark JSON file of bench/gpu as a short table, and what a goal compares as a ratio."""

import json
import sys

rows = {b["name"].replace("/manual_time", ""): b for b in json.load(open(sys.argv[1]))["benchmarks"]}


def rate(row, *names):
    return next((row[n] for n in names if n in row), 0.0)


for name, row in rows.items():
    if row.get("error_occurred"):
        print(f"{name}: {row['error_message']}")
        continue
    flops = rate(row, "dense_flops/s", "FLOP/s")
    moved = rate(row, "sign_bytes/s", "weight_bytes/s", "bytes/s")
    print(f"{name:80} {row['real_time']:12.2f} {row['time_unit']} {moved / 1e9:10.1f} GB/s {flops / 1e12:9.2f} TFLOP/s")

# A packed layer against cuBLAS's bfloat16 product of the same size.
for name, row in rows.items():
    if name.startswith("packed_"):
        dense = rows.get("cublas_bfloat16" + name[name.index("/"):])
        if dense:
            print(f"{name:80} {dense['real_time'] / row['real_time']:8.2f} times as fast as cuBLAS bfloat16")
# Streamed layers against the read bandwidth.
for name, row in rows.items():
    if name.startswith("decode_layers") and "read" in rows:
        print(f"{name:80} {100 * row['sign_bytes/s'] / rows['read']['bytes/s']:8.1f} % of the read bandwidth")
