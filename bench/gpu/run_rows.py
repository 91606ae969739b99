"""Runs a Google Benchmark program row by row: if a row fails or hangs, the program is started again without it.

    run_rows.py ROWS SECONDS PROGRAM [REGEX...]

Appends a line of JSON to ROWS for each row when it is done: name, value and unit, and its counters; or name and error. Rows
that match the first expression run first, then those that match the second, and so on; others do not run (default: all).
Ends after SECONDS; rows that are left then get no line. The status is 1 if a row failed or is left.
"""

import json
import os
import re
import select
import subprocess
import sys
import tempfile
import time

MOST_SECONDS_A_ROW = 60
ONE_ROW = re.compile(rb"^    \{\n.*?^    \}", re.MULTILINE | re.DOTALL)  # as the program indents its JSON


def shown(name):
    return re.sub("/(manual_time|real_time|iterations:[0-9]+)", "", name)


def line_of(row):
    if row.get("error_occurred"):
        return {"name": shown(row["name"]), "error": row["error_message"]}
    known = {"name", "real_time", "time_unit", "cpu_time", "iterations"}
    counters = {k: v for k, v in row.items() if isinstance(v, float) and k not in known}
    return {"name": shown(row["name"]), "value": row["real_time"], "unit": row["time_unit"], **counters}


def groups_of(names, expressions):
    """Rows of the first expression, of the second ..., each row once and each group in the program's own order."""
    left = list(names)
    for expression in expressions:
        group = [name for name in left if re.search(expression, name)]
        left = [name for name in left if name not in group]
        yield group


def finished_rows(process, deadline):
    """Yields rows as the program finishes them; ends the program where one takes too long or the time is up."""
    unread = b""
    while True:
        wait = min(deadline, time.monotonic() + MOST_SECONDS_A_ROW) - time.monotonic()
        if not select.select([process.stdout], [], [], max(wait, 0))[0]:
            process.kill()
            return
        piece = os.read(process.stdout.fileno(), 1 << 16)
        if not piece:
            return
        unread += piece
        while found := ONE_ROW.search(unread):
            unread = unread[found.end() :]
            yield json.loads(found.group())


def main(rows_path, seconds, program, *expressions):
    deadline = time.monotonic() + float(seconds)
    names = subprocess.run([program, "--benchmark_list_tests"], check=True, capture_output=True, text=True).stdout.split()
    failed = False
    with open(rows_path, "a", encoding="utf-8") as rows:

        def write(line):
            nonlocal failed
            failed |= "error" in line
            text = json.dumps(line)
            print(text, file=rows, flush=True)
            print(text, flush=True)

        for group in groups_of(names, expressions or [""]):
            while group and time.monotonic() < deadline:
                with tempfile.TemporaryFile() as said:
                    process = subprocess.Popen(
                        [program, "--benchmark_format=json", "--benchmark_filter=^(" + "|".join(group) + ")$"],
                        stdout=subprocess.PIPE, stderr=said)
                    for row in finished_rows(process, deadline):
                        write(line_of(row))
                        group.remove(row["name"])
                    status = process.wait()
                    if not group or time.monotonic() >= deadline:
                        break
                    said.seek(0)
                    last = said.read().decode(errors="replace").strip().splitlines()[-1:]
                why = f"took more than {MOST_SECONDS_A_ROW} s" if status == -9 else f"status {status}"
                write({"name": shown(group.pop(0)), "error": ": ".join([why, *last])})
            failed |= bool(group)
    return int(failed)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
