"""The rooms of the library and of llama_compress, and what each may include: no arrow points up, none in a circle.

    rooms_test.py REPOSITORY

Reads the #include lines alone. A file that belongs to no room, an arrow that the tables below lack, and a circle of
files are errors.
"""
import pathlib
import re
import sys

# room: (its files, what it may include besides itself). A file belongs to the first room that matches it.
LIBRARY = {
    "umbrella": (r"subbit\.hpp", "version core bits ops concept cpu_backend reference factor compiled calib train recon"),
    "compiled": (r"compiled\.hpp", "cpu_backend reference factor"),
    "version": (r"version\.hpp", ""),
    "core": (r"core/", ""),
    "bits": (r"bits/", "core"),
    "io": (r"io/", "core bits"),
    "concept": (r"backend/concept\.hpp", "core bits"),
    "jobs": (r"backend/jobs/", "core concept"),
    "ops": (r"backend/ops/", "core bits concept"),
    "reference": (r"backend/reference(/|\.hpp)", "core bits concept ops"),
    "cpu_machine": (r"backend/cpu/(isa|lanes|machine|matrix_units|processor|scratch|tag|thread_pool)\.hpp", "core concept"),
    "cpu_kernels": (r"backend/cpu/kernels/", "core bits concept ops cpu_machine"),
    "cpu_backend": (r"backend/cpu(/|\.hpp)", "core bits concept ops reference cpu_machine cpu_kernels"),
    "gpu_device": (r"backend/gpu/device/", "core bits concept jobs"),
    "gpu_kernels": (r"backend/gpu/(kernels/|packed/|backend\.hpp)", "core bits concept ops gpu_device"),
    "gpu_operations": (r"backend/gpu(/|\.hpp)", "core bits concept ops gpu_device gpu_kernels"),
    "emulated": (r"backend/emulated/", "core gpu_device gpu_kernels"),
    "cuda": (r"backend/cuda/", "core gpu_device gpu_kernels"),
    "devices": (r"backend/(emulated\.hpp|cuda\.cuh)", "gpu_operations emulated cuda"),
    "distribute": (r"distribute/", "core bits concept ops"),
    "factor": (r"factor/", "core bits concept jobs ops"),
    "calib": (r"calib/", "core bits concept ops distribute"),
    "train": (r"train/", "core bits concept ops"),
    "recon": (r"recon/", "core bits concept jobs ops distribute factor calib train"),
}
PROGRAM = {
    "main": (r"main\.cpp", "program"),
    "program": (r"program/", "tokenizer model sample compress generate"),
    "compress": (r"compress/", "tokenizer model gpu sample"),
    "generate": (r"generate/", "tokenizer model gpu"),
    "sample": (r"sample/", "tokenizer model"),
    "gpu": (r"gpu/", "model"),
    "families": (r"families/", "model"),
    "model": (r"model/", "tokenizer"),
    "tokenizer": (r"tokenizer/", ""),
}


def included(path, start, end):
    return re.findall(rf"^\s*#\s*include\s*{start}([^>\"]+){end}", path.read_text(), re.M)


def circle(graph):
    """A list of files that include one another in a circle, or None."""
    state, stack = {}, []

    def visit(file):
        state[file] = "open"
        stack.append(file)
        for other in graph.get(file, []):
            if state.get(other) == "open":
                return stack[stack.index(other):] + [other]
            if other not in state:
                found = visit(other)
                if found:
                    return found
        stack.pop()
        state[file] = "done"
        return None

    for file in graph:
        if file not in state:
            found = visit(file)
            if found:
                return found
    return None


def errors_of(rooms, root, start, end):
    """What is wrong in a folder whose files include each other as START FILE END."""

    def room_of(file):
        return next((room for room, (pattern, _) in rooms.items() if re.match(pattern, file)), None)

    files = [p for p in sorted(root.rglob("*")) if p.suffix in (".hpp", ".cuh", ".cpp", ".cu")]
    graph = {str(p.relative_to(root)): included(p, start, end) for p in files}
    errors = [] if graph else [f"no files under {root}"]
    for file, others in graph.items():
        room = room_of(file)
        if room is None:
            errors.append(f"{file} belongs to no room: name its room in this test and in docs/architecture.md")
            continue
        for other in others:
            if other not in graph:
                errors.append(f"{file} includes {other}, which is not there")
            elif room_of(other) not in (room, *rooms[room][1].split()):
                errors.append(f"{file} ({room}) includes {other} ({room_of(other)}), which does not stand below it")
    used = {room_of(file) for file in graph}
    errors += [f"the room {room} has no file" for room in rooms if room not in used]
    found = circle(graph)
    if found:
        errors.append("a circle: " + " -> ".join(found))
    # The table itself must have no circle, or an arrow up would be one of its own.
    found = circle({room: below.split() for room, (_, below) in rooms.items()})
    if found:
        errors.append("a circle of rooms: " + " -> ".join(found))
    return errors, len(graph)


def main():
    root = pathlib.Path(sys.argv[1])
    library, headers = errors_of(LIBRARY, root / "include/subbit", "<subbit/", ">")
    program, files = errors_of(PROGRAM, root / "examples/llama_compress", '"', '"')
    print("\n".join(library + program) or f"{headers} headers in {len(LIBRARY)} rooms, {files} files in {len(PROGRAM)}")
    return 1 if library or program else 0


if __name__ == "__main__":
    sys.exit(main())
