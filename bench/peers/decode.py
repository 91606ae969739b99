"""Tokens per second of llama.cpp and of llama_compress in turn; called by decode.sh."""

import re
import statistics
import subprocess
import sys

PROMPT = "The history of the city begins with the river, which"
TOKENS = 128
ROUNDS = 5


def llama_cpp_server(gguf, threads):
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path = gguf
    params.n_ctx = 1024
    params.n_gpu_layers = 0
    params.n_parallel = 1
    params.cpuparams.n_threads = threads
    params.cpuparams_batch.n_threads = threads
    params.verbosity = 0
    return xllamacpp.Server(params)


def llama_cpp_rate(server):
    """By the server's own clock, which leaves the prompt out."""
    request = {"prompt": PROMPT, "max_tokens": TOKENS, "temperature": 0.0, "ignore_eos": True, "cache_prompt": False}
    timings = server.handle_completions(request)["timings"]
    if timings["predicted_n"] != TOKENS:
        raise ValueError(f"llama.cpp made {timings['predicted_n']} tokens, expected {TOKENS}")
    return timings["predicted_per_second"]


def our_rate(program, model, threads):
    """By the program's own clock, which leaves the prompt out."""
    words = [program, "generate", model, "--prompt", PROMPT, "--max-tokens", str(TOKENS), "--ignore-eos", "--threads", str(threads)]
    said = subprocess.run(words, check=True, capture_output=True, text=True).stderr
    made, rate = re.search(r"decode (\d+) tokens, ([\d.]+) tokens/s", said).groups()
    if int(made) != TOKENS:
        raise ValueError(f"llama_compress made {made} tokens, expected {TOKENS}")
    return float(rate)


def compare(gguf, program, model):
    print(f"decode of {TOKENS} tokens, tokens/s: median of {ROUNDS} runs in turn (lowest to highest)")
    for threads in (1, 2):
        server = llama_cpp_server(gguf, threads)
        theirs, ours = [], []
        for _ in range(ROUNDS):
            theirs.append(llama_cpp_rate(server))
            ours.append(our_rate(program, model, threads))
        del server

        def shown(rates):
            return f"{statistics.median(rates):6.1f} ({min(rates):.1f} to {max(rates):.1f})"

        ratio = statistics.median(ours) / statistics.median(theirs)
        print(f"{threads} thread{'s' * (threads > 1)}: llama.cpp Q4_1 {shown(theirs)}, llama_compress {shown(ours)}, ratio {ratio:.2f}", flush=True)


if __name__ == "__main__":
    try:
        compare(*sys.argv[1:])
    except Exception as problem:  # one line, whatever it was
        sys.exit(f"decode.py: {type(problem).__name__}: {problem}")
