"""Draws docs/architecture.svg: the parts of the program in their layers, and who imports whom.

    python deploy/docs/architecture.py [FILE]

The layers are those that import-linter holds (pyproject.toml), the lines are the imports.
"""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path

import grimp

ROOT = Path(__file__).resolve().parents[2]
WIDTH, ROW, BOX, TOP = 1180, 84, 34, 24
CHARACTER, PADDING, GAP = 8.4, 26, 18


def layers() -> list[list[str]]:
    """The names in each layer, the topmost first."""
    tools = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]
    contract = next(c for c in tools["importlinter"]["contracts"] if c["type"] == "layers")
    return [
        [name.strip().removeprefix("edge_app.") for name in layer.split("|")]
        for layer in contract["layers"]
    ]


def imports(names: list[str]) -> set[tuple[str, str]]:
    """(importer, imported) of the parts."""
    graph = grimp.build_graph("edge_app")
    found = set()
    for importer in graph.modules:
        for imported in graph.find_modules_directly_imported_by(importer):
            pair = _part(importer), _part(imported)
            if pair[0] != pair[1] and all(part in names for part in pair):
                found.add(pair)
    return found


def direct(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """Those that no chain of others stands for: what imports A, which imports B, may use B too."""
    below: dict[str, set[str]] = {}
    for a, b in pairs:
        below.setdefault(a, set()).add(b)

    def reaches(a: str) -> set[str]:
        return set().union(*({b} | reaches(b) for b in below.get(a, ())))

    return {(a, b) for a, b in pairs if not any(b in reaches(other) for other in below[a] - {b})}


def _part(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


def drawing() -> str:
    """The SVG."""
    rows = layers()
    places: dict[str, tuple[float, float, float]] = {}
    for number, row in enumerate(rows):
        widths = [len(_shown(name)) * CHARACTER + PADDING for name in row]
        x = (WIDTH - sum(widths) - GAP * (len(row) - 1)) / 2
        for name, width in zip(row, widths, strict=True):
            places[name] = (x, TOP + number * ROW, width)
            x += width + GAP
    level = {name: number for number, row in enumerate(rows) for name in row}
    height = TOP + len(rows) * ROW - (ROW - BOX) + TOP
    pairs = {(a, b) for a, b in imports([*places]) if level[a] < level[b]}
    lines = [_line(places[a], places[b]) for a, b in sorted(direct(pairs))]
    boxes = [_box(name, *place) for name, place in places.items()]
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" '
        'font-family="sans-serif" font-size="14">'
    )
    paper = '<rect width="100%" height="100%" fill="#fafaf8"/>'
    return "\n".join([head, paper, *lines, *boxes, "</svg>\n"])


def _line(above: tuple[float, float, float], below: tuple[float, float, float]) -> str:
    (x0, y0, w0), (x1, y1, w1) = above, below
    start, end = (x0 + w0 / 2, y0 + BOX), (x1 + w1 / 2, y1)
    bend = (end[1] - start[1]) / 2
    path = (
        f"M{start[0]:.0f} {start[1]:.0f}C{start[0]:.0f} {start[1] + bend:.0f} "
        f"{end[0]:.0f} {end[1] - bend:.0f} {end[0]:.0f} {end[1]:.0f}"
    )
    return f'<path d="{path}" fill="none" stroke="#9aa4ae" stroke-width="1.2"/>'


def _box(name: str, x: float, y: float, width: float) -> str:
    pure = "#d5efdf" if name in {"core", "records", "errors", "ports"} else "#e4e9ef"
    return (
        f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{BOX}" rx="6" fill="{pure}" '
        f'stroke="#3c4650"/><text x="{x + width / 2:.0f}" y="{y + 22}" text-anchor="middle" '
        f'fill="#1e2024">{_shown(name)}</text>'
    )


def _shown(name: str) -> str:
    return "command line" if name == "__main__" else name


def main() -> None:
    out = Path(sys.argv[1]) if len(sys.argv) > 1 else ROOT / "docs" / "architecture.svg"
    out.write_text(drawing(), encoding="utf-8")


if __name__ == "__main__":
    main()
