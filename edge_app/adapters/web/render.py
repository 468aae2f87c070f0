"""Pages as HTML: templates, and the words of each language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from edge_app.errors import ConfigError

_SHARED: Final = Path(str(files("edge_app.adapters.web"))) / "static"

Words = Mapping[str, Any]
"""Texts by section and name, of a file `words/LANGUAGE.toml`."""


@cache
def page_words(folder: Path, language: str) -> Words:
    """What the pages of a folder say in a language that it has."""
    return tomllib.loads((folder / "words" / f"{language}.toml").read_text(encoding="utf-8"))


def shared_files() -> Mount:
    """What the pages of all services use: `/shared/base.css`, `/shared/icon.svg`."""
    return Mount("/shared", StaticFiles(directory=_SHARED))


class Pages:
    """Renders. A name that a template asks for and nobody gives is an error."""

    def __init__(self, folder: Path, *, extra: str, **everywhere: object) -> None:
        """folder: with `pages/` and `words/`; everywhere: what every template may use.

        Raises:
            ConfigError: the package for templates is not installed.
        """
        try:
            from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(
                f"its pages need an extra: pip install 'familiar-edge[{extra}]'"
            ) from error
        self._templates = Environment(
            loader=FileSystemLoader(folder / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(everywhere)
        self._folder = folder

    def render(self, page: str, language: str, **shown: object) -> str:
        template = self._templates.get_template(f"{page}.html")
        words = page_words(self._folder, language)
        return template.render(page=page, language=language, w=words, **shown)
