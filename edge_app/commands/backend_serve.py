"""`familiar backend serve`: the page for operators and carers."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edge_app.backend.database import Database
from edge_app.backend.roles import Role
from edge_app.commands.console import Session, err
from edge_app.errors import ConfigError

if TYPE_CHECKING:
    from edge_app.backend.oidc import OidcClient


def serve(
    context: typer.Context,
    host: Annotated[str, typer.Option(help="Address to listen at.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="0 takes a free one.")] = 8091,
    certificate: Annotated[
        Path | None,
        typer.Option(help="The server's, with its chain (PEM): for TLS.", metavar="FILE"),
    ] = None,
    key: Annotated[Path | None, typer.Option(help="Its key (PEM).", metavar="FILE")] = None,
    overview: Annotated[
        Path | None,
        typer.Option(
            help="Of the fleet, as `familiar operator overview` writes it; default as configured.",
            metavar="FILE",
        ),
    ] = None,
) -> None:
    """Serve the page for operators and carers: encounters as they come, people, devices, erasures.

    Make accounts with `familiar backend account add`, or name an identity provider in
    `backend.oidc`. The page reads the database that `familiar backend run` fills, and holds no key
    of the fleet. Beyond this machine it needs TLS.
    """
    # The page's parts load only here: other commands have no use for them.
    from edge_app.adapters.web.serve import (  # noqa: PLC0415 - see above
        TlsIdentity,
        names_served,
    )
    from edge_app.adapters.web.serve import serve as serve_at  # noqa: PLC0415 - see above
    from edge_app.backend.accounts import Accounts  # noqa: PLC0415 - see above
    from edge_app.backend.web.live import Live  # noqa: PLC0415 - see above
    from edge_app.backend.web.service import Setting, make_service  # noqa: PLC0415 - see above

    session: Session = context.obj
    settings = session.config.backend
    if (certificate is None) != (key is None):
        raise ConfigError("--certificate and --key go together; give both")
    identity = TlsIdentity(certificate, key) if certificate and key else None
    names = names_served(host, identity, session.clock.now())
    provider = _provider(session)
    file = overview or (Path(settings.overview_file) if settings.overview_file else None)
    folder = session.home.folder
    with (
        closing(Database(settings.database, folder)) as database,
        closing(Database(settings.database, folder)) as watched,
    ):
        if provider is None and not Accounts(database).all():
            err.print(
                "Nobody can sign in yet: make an account with `familiar backend account add`.",
                markup=False,
            )
        service = make_service(
            database,
            Live(watched),
            provider,
            Setting(
                names=names,
                tls=identity is not None,
                language=session.config.hud.language,
                overview=file,
                longest_s=settings.session_s,
                idle_s=settings.idle_s,
            ),
            session.clock,
        )
        scheme = "http" if identity is None else "https"
        shown = next((name for name in sorted(names) if not name.startswith("*")), host)
        shown = shown if identity is not None else (f"[{host}]" if ":" in host else host)

        def ready(at_port: int) -> None:
            err.print(f"{scheme}://{shown}:{at_port}/ is the page. Ctrl-C ends it.", markup=False)

        serve_at(service, host=host, port=port, identity=identity, ready=ready, most_requests=256)


def _provider(session: Session) -> OidcClient | None:
    oidc = session.config.backend.oidc
    if not oidc.issuer:
        return None
    from edge_app.backend.oidc import (  # noqa: PLC0415 - only who has a provider needs it
        OidcClient,
        OidcSettings,
    )

    roles: dict[str, Role] = {}
    for name, value in oidc.roles.model_dump().items():
        if value and roles.setdefault(value, Role(name)) is not Role(name):
            raise ConfigError(
                f'backend.oidc.roles: "{value}" stands for two roles; name another group for one'
            )
    if not roles:
        raise ConfigError(
            "backend.oidc.roles is empty, so nobody would be let in; write what the claim "
            f'"{oidc.role_claim}" says for a role, such as carer = "carers"'
        )
    settings = OidcSettings(
        issuer=oidc.issuer,
        client_id=oidc.client_id,
        client_secret=_secret(oidc.client_secret_file),
        name_claim=oidc.name_claim,
        role_claim=oidc.role_claim,
        roles=roles,
    )
    return OidcClient(settings, session.clock)


def _secret(file: str) -> str:
    if not file:
        return ""
    try:
        return Path(file).read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"backend.oidc.client_secret_file: cannot read {file}: {error}"
        ) from error
