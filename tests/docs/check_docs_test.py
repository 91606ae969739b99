"""What check_docs.py finds in a small repository, and what it lets pass."""
import pathlib
import tempfile
import unittest

import check_docs

GOOD = {
    "README.md": "See [the method](docs/method.md#1-one), `include/subbit/core/`, core/half.hpp, bench/*.cpp, bench/NAME.cpp.\n",
    "docs/method.md": "# Method\n\n## 1. One\n\n    a = b   (1)\n    c = d   (2)\n",
    "docs/architecture.md": "    core/   numbers\n",
    "include/subbit/core/half.hpp": "// As docs/method.md,\n// eq. 1 and 2 say; docs/method.md, section 1.\n",
    "bench/one.cpp": "// README.md and docs/method.md say more.\n",
}


class CheckDocs(unittest.TestCase):
    def found(self, name, text):
        """The problems of the good repository once one file of it is replaced."""
        with tempfile.TemporaryDirectory() as folder:
            root = pathlib.Path(folder)
            for path, content in {**GOOD, name: text}.items():
                (root / path).parent.mkdir(parents=True, exist_ok=True)
                (root / path).write_text(content, encoding="utf-8")
            return [f"{path}: {problem}" for path, problem in check_docs.problems(root)]

    def test_lets_pass_what_is_there(self):
        self.assertEqual(self.found("README.md", GOOD["README.md"]), [])

    def test_finds_what_is_not(self):
        for name, text, problem in (
            ("README.md", "[x](docs/missing.md)", "docs/missing.md leads nowhere"),
            ("README.md", "[x](docs/method.md#2-two)", "names no heading"),
            ("README.md", "See `core/missing.hpp`.", "no file core/missing.hpp"),
            ("README.md", "See docs/missing.md.", "no file docs/missing.md"),
            ("README.md", "In `missing/` lies", "no folder missing/"),
            ("docs/architecture.md", "nothing", "does not name include/subbit/core/"),
            ("docs/method.md", "## 1. One\n\n    a   (1)\n    b   (3)\n", "not numbered"),
            ("bench/one.cpp", "// numerics.md", "cites numerics.md"),
            ("bench/one.cpp", "// method.md", "cites method.md"),
            ("bench/one.cpp", "// (docs/method.md, eq. 3)", "eq. 3, which is not there"),
            ("bench/one.cpp", "// docs/method.md,\n// eq. 1 to 4", "eq. 4, which is not there"),
            ("bench/one.cpp", "/// docs/method.md, section\n/// 2", "section 2, which is not there"),
        ):
            with self.subTest(problem=problem):
                self.assertTrue(any(problem in f for f in self.found(name, text)), self.found(name, text))


if __name__ == "__main__":
    unittest.main()
