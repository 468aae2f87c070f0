"""One self-contained HTML page: figures, plots, tables of worst errors.

People appear by file name, which benchmarks publish; pictures only when asked for.
"""

from __future__ import annotations

import base64
import importlib
import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any, Final

import cv2

from edge_app.errors import ConfigError
from edge_app.evaluation.files import read_picture, write_text
from edge_app.evaluation.measures import Interval

_THUMBNAIL_PX: Final = 96

BLUE, ORANGE, GREY = "#1f5fa8", "#d2691e", "#5b6570"
_STYLE: Final = {
    "font.family": "DejaVu Sans",
    "font.size": 9.5,
    "axes.edgecolor": "#8a939c",
    "axes.labelcolor": "#333b44",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e3e7eb",
    "grid.linewidth": 0.7,
    "xtick.color": "#5b6570",
    "ytick.color": "#5b6570",
    "legend.frameon": False,
    "svg.hashsalt": "familiar",  # the same numbers make the same file
}

_CSS: Final = """
:root { color-scheme: light; }
body { font: 16px/1.5 system-ui, sans-serif; color: #20272e; background: #f5f6f8; margin: 0; }
main { max-width: 1060px; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; margin: 0 0 .25rem; }
h2 { font-size: 1.15rem; margin: 2.25rem 0 .5rem; }
p { max-width: 46rem; margin: .4rem 0; }
.about { color: #5b6570; overflow-wrap: anywhere; }
.cards { display: grid; grid-template-columns: repeat(auto-fit, minmax(190px, 1fr)); gap: .75rem;
  margin: 1.5rem 0; padding: 0; }
.cards div, figure { background: #fff; border: 1px solid #dfe3e8; border-radius: 8px; }
.cards div { padding: .8rem 1rem; }
.cards dt { color: #5b6570; font-size: .84rem; }
.cards dd { margin: 0; font-size: 1.45rem; font-weight: 650; font-variant-numeric: tabular-nums; }
.cards small { display: block; font-size: .8rem; font-weight: 400; color: #5b6570; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(480px, 100%), 1fr));
  gap: .75rem; }
figure { margin: 0; padding: .75rem; }
figure img { width: 100%; height: auto; display: block; }
figcaption { color: #5b6570; font-size: .84rem; padding: .35rem .35rem 0; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; background: #fff; border: 1px solid #dfe3e8; width: 100%;
  font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem .7rem; border-bottom: 1px solid #eceff2; }
th { background: #eef1f4; font-weight: 600; }
td img { height: 64px; border-radius: 4px; vertical-align: middle; margin-right: .5rem; }
"""


LFW_LIMITS: Final = (
    "Photographs of well-known people are not the world: few children, few dark skins, much "
    "press light. Scores of relatives and of small children lie higher. Figures hold for these "
    "pictures and this protocol."
)


@dataclass(frozen=True, slots=True)
class Figure:
    """One headline number: "99.3 %", with its interval or other context below."""

    label: str
    value: str
    note: str


@dataclass(frozen=True, slots=True)
class Plot:
    svg: bytes
    alt: str
    caption: str


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are plain text; the columns in `pictures` name pictures."""

    title: str
    columns: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]
    pictures: frozenset[int] = frozenset()


@dataclass(frozen=True, slots=True)
class Page:
    title: str
    about: str
    figures: tuple[Figure, ...]
    plots: tuple[Plot, ...]
    tables: tuple[Table, ...]
    limits: str


def plot(draw: Callable[[Any], None], title: str, caption: str) -> Plot:
    """Runs `draw` on the axes of a new figure."""
    try:
        matplotlib: Any = importlib.import_module("matplotlib")
        figure_module: Any = importlib.import_module("matplotlib.figure")
    except ImportError as error:
        raise ConfigError(
            "the report needs matplotlib; run `pip install familiar-edge[evaluation]`"
        ) from error
    with matplotlib.rc_context(_STYLE):
        figure = figure_module.Figure(figsize=(6.2, 4.2), layout="constrained")
        axes = figure.add_subplot()
        draw(axes)
        axes.set_title(title)
        svg = io.BytesIO()
        figure.savefig(svg, format="svg", metadata={"Date": None})
    return Plot(svg.getvalue(), title, caption)


def _html(page: Page, pictures: Path | None) -> str:
    cards = "".join(
        f"<div><dt>{escape(f.label)}</dt><dd>{escape(f.value)}<small>{escape(f.note)}</small>"
        "</dd></div>"
        for f in page.figures
    )
    plots = "".join(
        f'<figure><img alt="{escape(plot.alt)}" src="data:image/svg+xml;base64,'
        f'{base64.b64encode(plot.svg).decode("ascii")}"><figcaption>{escape(plot.caption)}'
        "</figcaption></figure>"
        for plot in page.plots
    )
    tables = "".join(_html_table(table, pictures) for table in page.tables)
    return (
        '<!doctype html>\n<html lang="en">\n<head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Familiar: {escape(page.title)}</title><style>{_CSS}</style></head>\n"
        f'<body><main><h1>{escape(page.title)}</h1><p class="about">{escape(page.about)}</p>\n'
        f'<dl class="cards">{cards}</dl>\n<div class="plots">{plots}</div>\n{tables}\n'
        f"<h2>What this does not say</h2><p>{escape(page.limits)}</p></main></body>\n</html>\n"
    )


def _html_table(table: Table, pictures: Path | None) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in table.columns)
    body = "".join(
        "<tr>"
        + "".join(
            f"<td>{_thumbnail(pictures, cell) if i in table.pictures else ''}{escape(cell)}</td>"
            for i, cell in enumerate(row)
        )
        + "</tr>"
        for row in table.rows
    )
    return (
        f'<h2>{escape(table.title)}</h2><div class="wide"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>\n"
    )


def _thumbnail(pictures: Path | None, name: str) -> str:
    image = read_picture(pictures / name) if pictures is not None else None
    if image is None:
        return ""
    scale = _THUMBNAIL_PX / max(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    content = base64.b64encode(cv2.imencode(".jpg", small)[1].tobytes()).decode("ascii")
    return f'<img alt="" src="data:image/jpeg;base64,{content}">'


def about_embedder(embedder: str, model_sha256: str) -> str:
    return f"Embedder {embedder}, SHA-256 {model_sha256}."


def percent(share: float, digits: int = 2) -> str:
    return f"{100 * share:.{digits}f} %"


def interval_text(interval: Interval) -> str:
    return f"95 %: {100 * interval[0]:.2f} to {100 * interval[1]:.2f} %"


def write_page(page: Page, path: Path, *, pictures: Path | None = None) -> None:
    """Writes a page. pictures: the folder to show faces from; None shows names only.

    Raises StorageError.
    """
    write_text(path, _html(page, pictures))
