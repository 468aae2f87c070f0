"""The station's pages as HTML: templates, and the words of each language."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from edge_app.errors import ConfigError

FOLDER: Final = Path(str(files("edge_app.enrolment.web")))

Words = Mapping[str, Any]
"""Texts by section and name, see `words/en.toml`."""


@cache
def page_words(language: str) -> Words:
    """What the pages say in a language that notices have."""
    return tomllib.loads((FOLDER / "words" / f"{language}.toml").read_text(encoding="utf-8"))


class Pages:
    """Renders. A name that a template asks for and nobody gives is an error."""

    def __init__(self, **everywhere: object) -> None:
        """everywhere: what every template may use.

        Raises:
            ConfigError: the package for templates is not installed.
        """
        try:
            from jinja2 import Environment, FileSystemLoader, StrictUndefined  # noqa: PLC0415 - an extra
        except ImportError as error:
            raise ConfigError(
                "the station's page needs an extra: pip install 'familiar-edge[station]'"
            ) from error
        self._templates = Environment(
            loader=FileSystemLoader(FOLDER / "pages"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(everywhere)

    def render(self, page: str, language: str, **shown: object) -> str:
        template = self._templates.get_template(f"{page}.html")
        return template.render(page=page, language=language, w=page_words(language), **shown)
