"""What the site has beyond docs/: the pages of deploy/ that tell how to do something.

Links are written for whoever reads the files in the repository. On the site those to a page that it
has lead there; others that leave docs/ become plain words. The files have to be there all the same,
or the build fails.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, Final

from mkdocs.structure.files import File

ROOT: Final = Path(__file__).resolve().parents[2]
CARRIED: Final = {
    "fleet.md": ROOT / "deploy/README.md",
    "broker.md": ROOT / "deploy/mosquitto/README.md",
    "emqx.md": ROOT / "deploy/emqx/README.md",
    "grafana.md": ROOT / "deploy/grafana/README.md",
    "node-red.md": ROOT / "deploy/node-red/README.md",
}
_LINK: Final = re.compile(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)]*)?\)")


def on_files(files: Any, *, config: Any, **_: Any) -> Any:
    """Called by mkdocs once the pages of docs/ are known."""
    for name, path in CARRIED.items():
        files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, *, page: Any, **_: Any) -> str:
    """Called by mkdocs for every page."""
    at = page.file.src_uri
    folder = CARRIED.get(at, ROOT / "docs" / at).parent

    def on_site(link: re.Match[str]) -> str:
        text, target, anchor = link[1], link[2], link[3] or ""
        if ":" in target:
            return link[0]
        path = (folder / target).resolve()
        if not path.exists():
            raise FileNotFoundError(f"{at} links to {target}, which is not there")
        name = _name(path)
        if name is None:
            return text if text.startswith("`") else f"{text} (`{path.relative_to(ROOT)}`)"
        return f"[{text}]({os.path.relpath(name, Path(at).parent)}{anchor})"

    return _LINK.sub(on_site, markdown)


def _name(path: Path) -> str | None:
    """A file's name on the site, if it is there."""
    for name, carried in CARRIED.items():
        if path in {carried, carried.parent}:
            return name
    if path.is_relative_to(ROOT / "docs") and path.suffix not in {".json", ".py"}:
        return str(path.relative_to(ROOT / "docs"))
    return None
