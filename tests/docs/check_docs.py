"""Checks what the pages and the sources' comments refer to; prints every reference that leads nowhere.

usage: check_docs.py REPOSITORY

- relative links of a page, and the headings that they name;
- paths of sources, scripts and pages that a page mentions, in full or from some folder on;
- folders that a page mentions, and that the map (docs/architecture.md) names every room;
- pages that a source mentions, from the repository's root or the source's own folder;
- sections and equations that a source cites ("docs/method.md, section 3", "docs/method.md, eq. 4 and 7"), and that a
  page's equations are numbered 1, 2, 3 and so on.
"""
import fnmatch
import pathlib
import re
import sys

FOLDERS = ("docs", "include", "examples", "tests", "bench", "cmake")
SOURCES = (".hpp", ".cpp", ".cuh", ".cu", ".cmake", ".py", ".sh", ".txt", ".in", ".json")
MENTIONED = r"(?:hpp|cpp|cuh|cu|cmake|py|sh|md)"
PROGRAMS = ("llama.cpp",)  # whose names look like paths
ROOMS = ("include/subbit", "include/subbit/backend", "examples/llama_compress")


def files_of(root):
    """Every file of the repository, relative to it; what builds leave is not in these folders."""
    found = [p for p in root.iterdir() if p.is_file()]
    for folder in FOLDERS:
        found += [p for p in (root / folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
    return sorted(p.relative_to(root).as_posix() for p in found)


def folders_of(files):
    return {parent.as_posix() for f in files for parent in pathlib.PurePosixPath(f).parents if parent.as_posix() != "."}


def ends_in(names, wanted):
    """Whether one of the names is `wanted`, which may have wildcards, or ends in it."""
    return any(fnmatch.fnmatchcase("/" + name, "*/" + wanted) for name in names)


def anchors_of(page):
    """The anchors of a page's headings, as forges make them."""
    headings = re.findall(r"^#+ (.*)$", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h.replace("`", "")).strip().lower().replace(" ", "-") for h in headings}


def equations_of(page):
    """The numbers at the ends of a page's indented lines."""
    return [int(n) for n in re.findall(r"^    .*\((\d+)\)$", page, re.MULTILINE)]


def sections_of(page):
    return {int(n) for n in re.findall(r"^## (\d+)\.", page, re.MULTILINE)}


def check_links(root, name, page):
    for target in re.findall(r"\]\(([^)\s]+)\)", page):
        if re.match(r"\w+:", target):
            continue
        path, _, anchor = target.partition("#")
        there = (root / name).parent / path if path else root / name
        if not there.exists():
            yield f"the link {target} leads nowhere"
        elif anchor and anchor not in anchors_of(there.read_text(encoding="utf-8")):
            yield f"the link {target} names no heading of that page"


def check_paths(files, folders, page):
    text = re.sub(r"\w+://\S+", "", page)
    for path in sorted(set(re.findall(rf"(?<![>\w./*-])[\w./*-]*\w\.{MENTIONED}\b(?![\w/(])", text))):
        path = re.sub(r"^(?:\.\.?/)+", "", path)
        placeholder = re.search(r"\b[A-Z]+\.(?!md)", path)  # families/NAME.cpp
        if path in PROGRAMS or path.startswith("build/") or placeholder:
            continue
        if not ends_in(files, path):
            yield f"there is no file {path}"
    quoted = re.findall(r"`([^`\n]+)`", text) + re.findall(r"^ +(\S+)", text, re.MULTILINE)
    for folder in sorted({q for q in quoted if re.fullmatch(r"(?:[a-z_0-9]+/)+", q)}):
        if not folder.startswith("build/") and not ends_in(folders, folder.rstrip("/")):
            yield f"there is no folder {folder}"


def check_map(folders, page):
    for folder in sorted(folders):
        parent, _, room = folder.rpartition("/")
        if parent in ROOMS and not re.search(rf"\b{room}/", page):
            yield f"the map does not name {folder}/"


def check_citations(root, name, text, pages):
    text = re.sub(r"\n\s*(?:///?|#|\*)\s?", " ", text)  # citations may run over the end of a comment's line
    for page in sorted(set(re.findall(r"[\w./-]*\w\.md\b", text))):
        if not (root / page).is_file() and not ((root / name).parent / page).is_file():
            yield f"it cites {page}, which is not in the repository"
    citation = r"(docs/\w+\.md), (section|eqs?\.)\s+(\d+(?:(?:, | and | to )\d+)*)"
    for page, kind, numbers in re.findall(citation, text):
        there = sections_of(pages.get(page, "")) if kind == "section" else equations_of(pages.get(page, ""))
        for number in re.findall(r"\d+", numbers):
            if int(number) not in there:
                yield f"it cites {page}, {kind} {number}, which is not there"


def problems(root):
    """(file, problem) for every reference that leads nowhere."""
    root = pathlib.Path(root)
    files = files_of(root)
    folders = folders_of(files)
    pages = {f: (root / f).read_text(encoding="utf-8") for f in files if f.endswith(".md")}
    for name, page in pages.items():
        found = [*check_links(root, name, page), *check_paths(files, folders, page)]
        if name == "docs/architecture.md":
            found += check_map(folders, page)
        numbers = equations_of(page) if name == "docs/method.md" else []
        if numbers != list(range(1, len(numbers) + 1)):
            found.append("its equations are not numbered 1, 2, 3, ...")
        yield from ((name, problem) for problem in found)
    for name in files:
        if name.endswith(SOURCES) and not name.startswith(("tests/data/", "tests/docs/")):
            text = (root / name).read_text(encoding="utf-8", errors="replace")
            yield from ((name, problem) for problem in check_citations(root, name, text, pages))


def main():
    if len(sys.argv) != 2:
        sys.exit(__doc__)
    found = list(problems(sys.argv[1]))
    for name, problem in found:
        print(f"{name}: {problem}")
    sys.exit(1 if found else 0)


if __name__ == "__main__":
    main()
