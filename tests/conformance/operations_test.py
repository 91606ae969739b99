"""Every operation of backend/ops is in the conformance suite, and every version of one is named after one.

    operations_test.py SOURCE_FOLDER

An operation is a function template of backend/ops whose first argument is a backend. The suite must call it by name. A
do_NAME in a backend's room whose name no operation calls is a slip of the pen that no compiler would notice.
"""
import pathlib
import re
import sys


def code_of(path):
    return re.sub(r"//.*", "", path.read_text())


def main():
    root = pathlib.Path(sys.argv[1])
    backend = root / "include/subbit/backend"
    ops = {p.name: code_of(p) for p in sorted((backend / "ops").glob("*.hpp"))}
    suite = "\n".join(code_of(p) for p in sorted((root / "tests/conformance").glob("*.hpp")))
    operations, called, errors = {}, set(), []
    for name, text in ops.items():
        for found in re.finditer(r"\b(\w+)\(const B& b\b", text):
            operations.setdefault(found[1], name)
        called |= set(re.findall(r"\bdo_\w+(?=\()", text))
    called |= {"do_apply_layer"}  # by residual_binary_linear::apply
    if len(operations) < 50:
        errors.append(f"only {len(operations)} operations found in {backend / 'ops'}: has their form changed?")
    for operation, name in operations.items():
        if not re.search(rf"\b{operation}(<[^()]*>)?\(", suite):
            errors.append(f"{operation} (ops/{name}) is not in tests/conformance")
    rooms = {}
    for room in ("reference", "cpu", "gpu"):
        rooms[room] = set()
        for path in sorted((backend / room).glob("*.hpp")):
            for found in re.findall(rf"\b(do_\w+)\({room}_tag\b", code_of(path)):
                rooms[room].add(found)
                if found not in called:
                    errors.append(f"{path.relative_to(root)}: no operation calls {found}")
        if not rooms[room]:
            errors.append(f"no operation found in {backend / room}")
    for name in sorted(called - rooms["reference"]):
        errors.append(f"{name} has no version for reference_tag")
    for name in sorted(called - rooms["gpu"]):
        errors.append(f"{name} has no version for gpu_tag")
    # Whose version a backend runs is found by overload resolution, which must hear of each.
    table = code_of(root / "tests/conformance/overloads.hpp")
    for name in sorted(called):
        if not re.search(rf"^ *SUBBIT_OPERATION\({name},", table, re.M):
            errors.append(f"tests/conformance/overloads.hpp lacks SUBBIT_OPERATION({name}, ..)")
    of_the_cpu = set(re.findall(r'"(do_\w+)', code_of(root / "tests/conformance/overload_test.cpp").split("};")[0]))
    for name in sorted(of_the_cpu ^ rooms["cpu"]):
        errors.append(f"tests/conformance/overload_test.cpp and backend/cpu differ in whether the cpu has {name}")
    print("\n".join(errors) or f"{len(operations)} operations, all in the suite")
    return 1 if errors else 0


if __name__ == "__main__":
    sys.exit(main())
