"""llama_compress on several ranks: the same bits for any number of them, however the run is interrupted, and a line for
everything that cannot work.

    ranks_test.py MPIRUN PROGRAM DEMO_MODEL WORK_FOLDER [--kills N]
"""
import argparse
import hashlib
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

parser = argparse.ArgumentParser()
parser.add_argument("mpirun")
parser.add_argument("program")
parser.add_argument("model", type=pathlib.Path)
parser.add_argument("work", type=pathlib.Path)
parser.add_argument("--kills", type=int, default=10)
arguments = parser.parse_args()

# A test may run as root, on fewer cores than ranks; the program asks for neither.
ENVIRONMENT = dict(os.environ, OMPI_ALLOW_RUN_AS_ROOT="1", OMPI_ALLOW_RUN_AS_ROOT_CONFIRM="1",
                   OMPI_MCA_rmaps_base_oversubscribe="1", OMPI_MCA_btl_vader_single_copy_mechanism="none")
TEXT = arguments.model / "calibration.txt"
SMALL = ["--windows", "7", "--window-tokens", "48", "--iterations", "6", "--epochs", "1", "--distill-epochs", "1",
         "--threads", "1"]
failures = []


def check(good, what):
    print(("ok      " if good else "FAILED  ") + what, flush=True)
    if not good:
        failures.append(what)


def compress(out, options, model=None, text=None):
    return [arguments.program, "compress", str(model or arguments.model), "--text", str(text or TEXT), "--out", str(out),
            *SMALL, *options]


def launch(ranks, command):
    return [arguments.mpirun, "-np", str(ranks), *command]


def run(command, **more):
    return subprocess.run(command, env=ENVIRONMENT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                          timeout=300, **more)


def fresh(name):
    out = arguments.work / name
    shutil.rmtree(out, ignore_errors=True)
    return out


def result(out):
    """What must not depend on the ranks: the model's bytes, and the report but for times."""
    report = json.loads((out / "report.json").read_text())
    report.pop("seconds")
    for block in report["blocks"]:
        block.pop("seconds"), block.pop("phases")
        for layer in block["layers"]:
            layer.pop("seconds")
    return hashlib.sha256((out / "model.safetensors").read_bytes()).hexdigest(), json.dumps(report, sort_keys=True)


def lines_of_program(text):
    return [line for line in text.splitlines() if "llama_compress:" in line]


def same_bits():
    kinds = {
        "latents": ["--batch", "3", "--distill-batch", "4", "--distill-latent-rate", "0.003", "--test-text",
                    str(arguments.model / "test.txt"), "--test-windows", "3", "--test-context", "64"],
        "clipped latents": ["--estimator", "clipped", "--batch", "3", "--distill-batch", "4", "--distill-latent-rate", "0.003"],
        "rabit with Muon": ["--method", "rabit", "--batch", "2", "--distill-batch", "3", "--matrix-optimizer", "muon"],
        "layer by layer, batches of one": ["--order", "layer", "--weight-epochs", "1"],
        "more windows": ["--batch", "4", "--distill-batch", "4", "--distill-windows", "5", "--distill-window-tokens", "64",
                         "--distill-hidden-weight", "1"],
    }
    for name, options in kinds.items():
        results = []
        for ranks in (1, 2, 3):
            out = fresh("same")
            ended = run(launch(ranks, compress(out, options)))
            if ended.returncode != 0:
                check(False, f"{name} on {ranks} ranks: {ended.stderr[-400:]}")
                return
            results.append(result(out))
        check(results[0] == results[1] == results[2], f"{name}: the same bits and report on 1, 2 and 3 ranks")
    test = arguments.model / "test.txt"
    perplexity = [arguments.program, "perplexity", str(arguments.model), "--text", str(test), "--context", "64", "--json"]
    values = [json.loads(run(launch(ranks, perplexity)).stdout)["mean_loss"] for ranks in (1, 2, 3)]
    check(values[0] == values[1] == values[2], "perplexity: the same bits on 1, 2 and 3 ranks")


def kills():
    """A run that loses a rank again and again, and goes on with another number of ranks."""
    random.seed(5)
    options = ["--batch", "3", "--distill-batch", "4", "--distill-latent-rate", "0.003", "--epochs", "4",
               "--distill-epochs", "20", "--windows", "12"]
    whole = fresh("whole")
    start = time.monotonic()
    run(launch(2, compress(whole, options)), check=True)
    duration = time.monotonic() - start
    out, killed, ended_by_kill = fresh("killed"), 0, 0
    while killed < arguments.kills:
        ranks = random.choice((1, 2, 3))
        job = subprocess.Popen(launch(ranks, compress(out, options)), env=ENVIRONMENT, stdout=subprocess.DEVNULL,
                               stderr=subprocess.PIPE, text=True)
        time.sleep(random.uniform(0.1, 0.5 * duration))
        processes = children_of(job.pid)
        if processes:
            os.kill(random.choice(processes), signal.SIGKILL)
            killed += 1
        try:
            job.communicate(timeout=60)
        except subprocess.TimeoutExpired:
            job.kill()
            check(False, f"{ranks} ranks end when one is killed")
            return
        ended_by_kill += job.returncode != 0
        if job.returncode == 0:  # it had finished: begin again
            shutil.rmtree(out)
    ended = run(launch(3, compress(out, options)))
    check(ended.returncode == 0 and result(out) == result(whole),
          f"{killed} kills of a rank ({ended_by_kill} of them ended a run), each resumed with 1, 2 or 3 ranks: the same bits")


def children_of(pid):
    """The processes of the program below mpirun."""
    found, name = [], pathlib.Path(arguments.program).name[:15]
    for entry in pathlib.Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_text()
        except OSError:
            continue
        command, rest = stat[stat.index("(") + 1:stat.rindex(")")], stat[stat.rindex(")") + 2:].split()
        if command == name and int(rest[1]) == pid:
            found.append(int(entry.name))
    return found


def bad_input():
    def refused(what, command, *words):
        ended = run(command)
        lines = lines_of_program(ended.stderr)
        good = ended.returncode != 0 and len(lines) == 1 and all(word in lines[0] for word in words)
        check(good, what if good else f"{what}: status {ended.returncode}, {ended.stderr[-600:]}")

    two = [arguments.mpirun, "-np", "1"]
    refused("ranks with different options", [*two, *compress(fresh("bad"), ["--seed", "1"]), ":", "-np", "1",
                                             *compress(fresh("bad"), ["--seed", "2"])],
            "rank 1", "seed", "1 on rank 0", "2 asked for")
    other = fresh("other_model")
    shutil.copytree(arguments.model, other)
    data = bytearray((other / "model.safetensors").read_bytes())
    data[-3] ^= 1
    (other / "model.safetensors").write_bytes(data)
    refused("ranks with different files", [*two, *compress(fresh("bad"), []), ":", "-np", "1",
                                           *compress(fresh("bad"), [], model=other)], "rank 1", "model.safetensors")
    refused("a missing text, told once", launch(3, compress(fresh("bad"), [], text="nowhere.txt")), "nowhere.txt")
    refused("an unknown option, told once", launch(2, compress(fresh("bad"), ["--no-such-option"])), "--no-such-option")
    refused("a command of one process", launch(2, [arguments.program, "inspect", str(arguments.model)]), "inspect",
            "one process")
    full = "ulimit -f 40; exec \"$@\""
    refused("a full disk where rank 0 writes", launch(2, ["bash", "-c", full, "bash", *compress(fresh("bad"), [])]), "rank 0")
    ended = run(launch(4, compress(fresh("many"), ["--windows", "2", "--batch", "2"])))
    check(ended.returncode == 0 and "4 ranks" in ended.stdout, "more ranks than windows: it works, and is said")


arguments.work.mkdir(parents=True, exist_ok=True)
same_bits()
bad_input()
kills()
shutil.rmtree(arguments.work, ignore_errors=True)
print(f"{len(failures)} failed" if failures else "all good")
sys.exit(1 if failures else 0)
