"""The time of a whole compression, from the reports of a small job on one block and on two of the same shape.

    calibration    (rest + blocks x a block's) x tokens                      / machines
    factorization  blocks x a block's x iterations                           / what sharing out its layers gains
    tuning         blocks x (a block's x tokens x epochs                     / min(machines, batch) + network)
    windows        blocks x (measuring a block and passing windows through) x tokens   / machines
    files          blocks x (reading a block, saving it)
    distillation   (rest + blocks x a block's) x tokens x passes             / min(machines, batch of distillation)

Every quantity "x" is that of the whole run over that of the job measured. "A block's" is the difference of the two jobs,
"rest" is what is left of the job on one block: embedding and head. Factors are the measured job's where nothing is said.
Iterations are those of the solver, and 25 where the result is refined, which is what the program's own estimate
takes for that. Tuning's steps are counted by tokens, so where windows become longer it is a little too much.
"""

import sys

MACHINES = (1, 8)


def phases_of(report):
    """Seconds by part of the job, those of the blocks by phase."""
    seconds = dict(report["seconds"]["phases"]["blocks"])
    return {"calibration": report["seconds"]["calibration"], "distillation": report["seconds"].get("distillation", 0),
            **{f"block: {phase}": value for phase, value in seconds.items()}}


def longest_share(costs, machines):
    """Seconds until all layers are done, the longest first, each by the machine that has least to do."""
    load = [0.0] * machines
    for cost in sorted(costs, reverse=True):
        load[load.index(min(load))] += cost
    return max(load)


def gain_of_sharing(costs, machines):
    """How much faster machines factorize the layers of as many blocks as they factorize together: the fewest, at most
    one for each, of which no machine's part takes more than 5 % longer than the mean."""
    for blocks in range(1, machines + 1):
        gain = sum(costs) * blocks / longest_share(costs * blocks, machines)
        if gain >= machines / 1.05:
            break
    return gain


def iterations_of(settings):
    return settings["iterations"] + (25 if settings["refine"] else 0)


def whole_options(settings, given):
    """The settings of the run that is predicted."""
    whole = {"windows": given.whole_windows, "window-tokens": given.whole_window_tokens}
    for option in given.whole:
        name, _, value = option.partition("=")
        if name not in settings:
            raise ValueError(f"--whole {option}: the report has no setting {name}")
        kind = type(settings[name])
        whole[name] = value not in ("0", "false") if kind is bool else kind(value)
    return {**settings, **whole}


def bytes_exchanged(settings, totals, steps):
    """Bytes that travel while a block is tuned: 32-bit gradients to their owners, and what comes back."""
    if settings["method"] == "rabit":
        latents = 1 if settings["coupling"] == "coupled" else settings["bits"]
        return totals["factorized_weights"] * steps * (4 + 4 * latents)
    signs = 8 * totals["factorized_bytes"]
    if settings["estimator"] != "identity":
        return signs * steps * (4 + 4)
    return signs * (steps * (4 + 1 / 8) + settings["epochs"] * 4)  # the signs after a step, the latents after an epoch


def predict(one, two, blocks, machines, whole, network):
    """Seconds by part, of a run on `machines` alike whose settings are `whole`; `network` in bytes a second."""
    small = one["settings"]
    first, second = phases_of(one), phases_of(two)
    block = {part: max(second.get(part, 0) - seconds, 0) for part, seconds in first.items()}
    rest = {part: max(first[part] - block[part], 0) for part in ("calibration", "distillation")}

    def ratio(*names):
        factor = 1.0
        for name in names:
            factor *= whole[name] / small[name]
        return factor

    tokens = ratio("windows", "window-tokens")
    epochs = ratio("epochs") if small["epochs"] else 1
    passes = ratio("distill-epochs") if small["distill-epochs"] else 0
    layers = [layer["seconds"] for layer in two["blocks"][-1]["layers"]]
    gain = gain_of_sharing(layers, machines) if sum(layers) > 0 else 1
    steps = whole["windows"] * whole["epochs"] / whole["batch"]
    moved = 0
    if machines > 1 and whole["batch"] > 1:
        moved = bytes_exchanged(whole, one["totals"], steps) / network
    times = {
        "calibration": (rest["calibration"] + blocks * block["calibration"]) * tokens / machines,
        "factorization": blocks * block["block: factorize"] * iterations_of(whole) / iterations_of(small) / gain,
        "tuning": blocks * (block.get("block: tune", 0) * tokens * epochs / min(machines, whole["batch"]) + moved),
        "windows": blocks * (block["block: measure"] + block["block: pass on"]) * tokens / machines,
        "files": blocks * (block["block: read"] + block["block: save"]),
        "distillation": (rest["distillation"] + blocks * block["distillation"]) * tokens * passes
                        / min(machines, whole["distill-batch"]),
    }
    return {**times, "total": sum(times.values())}


def predict_run(jobs, blocks, given):
    """What measure.py prints of two jobs, each with its report and its peak of resident bytes."""
    one, two = (job["report"] for job in jobs)
    whole = whole_options(one["settings"], given)
    result = {"shape": given.shape, "blocks": blocks, "settings": one["settings"], "whole": whole,
              "resident": [job["resident"] for job in jobs], "one": phases_of(one), "two": phases_of(two), "predicted": {}}
    for machines in MACHINES:
        times = predict(one, two, blocks, machines, whole, given.network_gb * 1e9)
        result["predicted"][machines] = times
        print(f"{machines} machine(s): {times['total'] / 3600:.1f} h: "
              + ", ".join(f"{part} {seconds / 3600:.2f}" for part, seconds in times.items() if part != "total"),
              file=sys.stderr)
    return result
