"""`familiar page`: where the glasses open the wearer's page."""

from __future__ import annotations

import sys

import segno
import typer

from edge_app.commands.console import AsJson, Session, out, print_json
from edge_app.errors import ConfigError
from edge_app.wearer import page_address


def page(context: typer.Context, as_json: AsJson = False) -> None:
    """Print the secret address of the wearer's page, and as a QR code for glasses with a camera.

    Whoever has it sees whom the device recognises. To make it worthless, remove keys/page.key in
    the home folder and start the device again.
    """
    session: Session = context.obj
    if session.config.hud.display != "web":
        raise ConfigError('no page is served; set display = "web" under [hud]')
    url = page_address(session.config, session.home).url
    if as_json:
        print_json({"url": url})
        return
    out.print(url, markup=False, soft_wrap=True)
    if sys.stdout.isatty():
        segno.make(url, micro=False).terminal(compact=True)
