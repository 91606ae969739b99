"""Draws perplexity over bits per weight and over the size of the file.

    python3 bench/accuracy/curve.py OUT.svg [--peers PEERS.json] [--original PERPLEXITY] RUN...

Each RUN is a compressed model whose report.json has a test (`compress --test-text`), or a copy of such a report; runs of one method are
joined by a line.
PEERS.json is what peers.sh writes. Standard Python, nothing else.
"""

import argparse
import json
import math
import sys
from html import escape
from pathlib import Path

COLORS = {"nanoquant": "#2b6cb0", "rabit": "#e07b39", "llama.cpp": "#718096"}
TEXT, GRID = "#2d3748", "#e2e8f0"
MOST = 1000  # perplexities beyond this are named below the picture
LEFT, TOP, WIDTH, HEIGHT, COLUMN = 70, 70, 420, 320, 520


def read_run(path):
    file = Path(path) / "report.json" if Path(path).is_dir() else Path(path)
    report = json.loads(file.read_text(encoding="utf-8"))
    if "test" not in report:
        raise ValueError(f"{file} has no test: compress with --test-text")
    totals = report["totals"]
    return {"series": report["settings"]["method"], "bits": totals["bits_per_weight"], "bytes": totals["model_bytes"],
            "perplexity": report["test"]["perplexity"], "label": f"{totals['bits_per_weight_asked']:g}"}


def read_peers(path):
    rows = json.loads(Path(path).read_text(encoding="utf-8"))
    return [{"series": "llama.cpp", "bits": r["bits_per_weight"], "bytes": r["bytes"], "perplexity": r["perplexity"], "label": r["name"]}
            for r in rows if "perplexity" in r]


def marks_of(low, high, logarithmic):
    """Round numbers within the range."""
    if logarithmic:
        found = [f * 10.0 ** e for e in range(0, 7) for f in (1, 1.5, 2, 3, 5, 7) if low <= f * 10.0 ** e <= high]
        return found if len(found) < 9 else [m for m in found if str(m)[0] in "125"]
    step = 10.0 ** math.floor(math.log10((high - low) / 4))
    step *= next(f for f in (1, 2, 5, 10) if (high - low) / (f * step) <= 6)
    return [i * step for i in range(math.ceil(low / step), math.floor(high / step) + 1)]


class Panel:
    """One picture; y is logarithmic."""

    def __init__(self, left, title, points, x_of, original):
        self.left, self.title, self.points, self.x_of, self.original = left, title, points, x_of, original
        xs = [x_of(p) for p in points]
        ys = [p["perplexity"] for p in points] + ([original] if original else [])
        margin = 0.08 * (max(xs) - min(xs) or 1)
        self.x_range = (min(xs) - margin, max(xs) + margin)
        self.y_range = (min(ys) / 1.12, max(ys) * 1.12)

    def x(self, value):
        low, high = self.x_range
        return self.left + (value - low) / (high - low) * WIDTH

    def y(self, value):
        low, high = (math.log(v) for v in self.y_range)
        return TOP + HEIGHT - (math.log(value) - low) / (high - low) * HEIGHT

    def draw(self):
        parts = [words(self.left, TOP - 14, self.title, 13, weight=600)]
        for mark in marks_of(*self.y_range, logarithmic=True):
            parts.append(line([(self.left, self.y(mark)), (self.left + WIDTH, self.y(mark))], GRID))
            parts.append(words(self.left - 6, self.y(mark) + 4, f"{mark:g}", 11, anchor="end"))
        for mark in marks_of(*self.x_range, logarithmic=False):
            parts.append(words(self.x(mark), TOP + HEIGHT + 16, f"{mark:g}", 11, anchor="middle"))
        if self.original:
            at = self.y(self.original)
            parts.append(line([(self.left, at), (self.left + WIDTH, at)], TEXT, dashes="5 4"))
            parts.append(words(self.left + 4, at - 5, f"original {self.original:g}", 11))
        for series, color in COLORS.items():
            points = sorted((p for p in self.points if p["series"] == series), key=self.x_of)
            places = [(self.x(self.x_of(p)), self.y(p["perplexity"])) for p in points]
            if series != "llama.cpp" and len(places) > 1:
                parts.append(line(places, color, width=1.8))
            for (x, y), p in zip(places, points):
                parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="4" fill="{color}"/>')
                parts.append(words(x + 7, y - 6, f"{p['label']}: {p['perplexity']:.1f}", 10))
        return parts


def words(x, y, text, size, anchor="start", weight=400):
    return f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" text-anchor="{anchor}" fill="{TEXT}">{escape(text)}</text>'


def line(points, color, width=1.0, dashes=""):
    path = "L".join(f"{x:.1f} {y:.1f}" for x, y in points)
    return f'<path d="M{path}" fill="none" stroke="{color}" stroke-width="{width}" stroke-dasharray="{dashes}"/>'


def draw(all_points, original):
    points = [p for p in all_points if p["perplexity"] <= MOST]
    beyond = ", ".join(f"{p['series']} {p['label']} {p['perplexity']:.2g}" for p in all_points if p["perplexity"] > MOST)
    parts = [words(LEFT, 28, "Perplexity of the compressed models", 17, weight=600)]
    for i, (series, color) in enumerate((s, c) for s, c in COLORS.items() if any(p["series"] == s for p in points)):
        parts.append(f'<circle cx="{LEFT + 420 + 120 * i}" cy="23" r="4" fill="{color}"/>')
        parts.append(words(LEFT + 430 + 120 * i, 27, series, 12))
    parts += Panel(LEFT, "over bits per weight of the linear layers", points, lambda p: p["bits"], original).draw()
    parts += Panel(LEFT + COLUMN, "over the file's megabytes", points, lambda p: p["bytes"] / 1e6, original).draw()
    if beyond:
        parts.append(words(LEFT, TOP + HEIGHT + 36, f"beyond the scale: {beyond}", 11))
    width, height = LEFT + COLUMN + WIDTH + 60, TOP + HEIGHT + 50
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
            'font-family="system-ui, sans-serif">\n<rect width="100%" height="100%" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", metavar="OUT.svg")
    parser.add_argument("runs", metavar="RUN", nargs="+")
    parser.add_argument("--peers", metavar="PEERS.json")
    parser.add_argument("--original", metavar="PERPLEXITY", type=float)
    asked = parser.parse_args()
    points = [read_run(path) for path in asked.runs] + (read_peers(asked.peers) if asked.peers else [])
    Path(asked.out).write_text(draw(points, asked.original), encoding="utf-8")


if __name__ == "__main__":
    try:
        main()
    except (OSError, ValueError, KeyError) as problem:
        sys.exit(f"curve.py: {type(problem).__name__}: {problem}")
