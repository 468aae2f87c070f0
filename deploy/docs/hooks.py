"""Links of a page that lead out of docs/ become plain words: the site has no such pages.

The files have to be there all the same, or the build fails.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
_LINK = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page."""
    folder = ROOT / "docs" / Path(page.file.src_uri).parent

    def plain(link: re.Match[str]) -> str:
        text, target = link[1], link[2]
        if ":" in target:
            return link[0]
        path = (folder / target).resolve()
        if path.is_relative_to(ROOT / "docs") and path.suffix not in {".json", ".py"}:
            return link[0]
        if not path.exists():
            raise FileNotFoundError(f"{page.file.src_uri} links to {target}, which is not there")
        return text if text.startswith("`") else f"{text} (`{path.relative_to(ROOT)}`)"

    return _LINK.sub(plain, markdown)
