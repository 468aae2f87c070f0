"""`familiar station serve`: the page on which people enrol."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edge_app.commands.console import Session, Source, err, sources
from edge_app.enrolment.admission import Admission
from edge_app.errors import ConfigError
from edge_app.station import keeping


def serve(
    context: typer.Context,
    source: Source = None,
    tablet: Annotated[
        bool,
        typer.Option(
            "--tablet",
            help="The camera is that of the browser that shows the page, in hands you trust.",
            metavar="",
        ),
    ] = False,
    demo: Annotated[
        bool,
        typer.Option(
            "--demo",
            help="For trying out: whoever enrols is compared with replayed frames only.",
            metavar="",
        ),
    ] = False,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8090,
    certificate: Annotated[
        Path | None,
        typer.Option(help="The server's, with its chain (PEM): for TLS.", metavar="FILE"),
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).", metavar="FILE")] = None,
    fleet: Annotated[
        Path | None, typer.Option(help="fleet.json: enrol for a fleet.", metavar="FILE")
    ] = None,
    to: Annotated[
        Path | None, typer.Option(help="The operator's inbox, with --fleet.", metavar="DIR")
    ] = None,
) -> None:
    """Serve the page on which people enrol, look at their record, and leave.

    At a kiosk the station's own camera looks, and the page is reached from this machine only. A
    tablet needs TLS, and each person the code that is printed here: be there when they enrol.
    """
    # The page's parts load only here: other commands have no use for them.
    from edge_app.adapters.web.serve import (  # noqa: PLC0415 - see above
        TlsIdentity,
        is_loopback,
        names_served,
    )
    from edge_app.adapters.web.serve import serve as serve_at  # noqa: PLC0415 - see above
    from edge_app.reception import FleetDesk, Stand, open_reception  # noqa: PLC0415 - see above

    session: Session = context.obj
    config = session.config
    if (certificate is None) != (key is None):
        raise ConfigError("--certificate and --key go together; give both")
    if (fleet is None) != (to is None):
        raise ConfigError("--fleet and --to go together; give both")
    if fleet is not None and demo:
        raise ConfigError(
            "demo enrolments stay on the device they were made on; leave --fleet away"
        )
    if tablet and source:
        raise ConfigError("--tablet takes the browser's camera; leave --source away")
    identity = TlsIdentity(certificate, key) if certificate and key else None
    names = names_served(host, identity, session.clock.now())
    if tablet and identity is None and not demo:
        raise ConfigError(
            "a tablet's pictures come over TLS only: give --certificate and --key; the camera of "
            "this machine needs no --tablet"
        )
    specs = [] if tablet else sources(config, source, demo=demo)
    desk = None
    if fleet is not None and to is not None:
        desk = FleetDesk(keeping(fleet, config.purpose, inbox=to), to)
    admission = None if is_loopback(host) and not (tablet and not demo) else Admission(_announce)
    stand = Stand(
        sources=specs,
        demo=demo,
        fleet=desk,
        admission=admission,
        tls=identity is not None,
        names=names,
    )
    service = open_reception(config, session.home, stand, session.clock)
    scheme = "http" if identity is None else "https"
    shown = next((name for name in sorted(names) if not name.startswith("*")), host)
    shown = shown if identity is not None else (f"[{host}]" if ":" in host else host)

    def ready(at_port: int) -> None:
        err.print(f"{scheme}://{shown}:{at_port}/ is the page. Ctrl-C ends it.", markup=False)

    serve_at(service, host=host, port=port, identity=identity, ready=ready)


def _announce(code: str) -> None:
    err.print(f"The next person is admitted with {code}", markup=False)
