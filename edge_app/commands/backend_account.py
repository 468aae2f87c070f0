"""`familiar backend account` and `audit`: who may sign in to its page, and what they did there."""

from __future__ import annotations

import getpass
import os
import pwd
from collections.abc import Callable
from contextlib import closing
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table
from rich.text import Text

from edge_app.backend.audit import Action, first_broken, newest_entries, note
from edge_app.backend.database import Database, Execute
from edge_app.backend.roles import Role
from edge_app.commands.console import (
    AsJson,
    Session,
    count,
    in_a_terminal,
    out,
    print_json,
)
from edge_app.errors import ConfigError, StorageError

account = typer.Typer(
    help=(
        "Who may sign in to the page of `familiar backend serve` with a password.\n\n"
        "A carer sees encounters and says that they saw to them; an operator also sees people, "
        "devices and erasures; an auditor sees erasures and who did what, and no encounters."
    ),
    no_args_is_help=True,
)

Name = Annotated[str, typer.Argument(help="Of the account, as it is typed to sign in.")]
AsRole = Annotated[
    Role,
    typer.Option("--role", help=f"What they are here for: {', '.join(Role)}.", metavar="ROLE"),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help="A private file whose first line is the password; default: you are asked.",
        metavar="FILE",
    ),
]


@account.command()
def add(
    context: typer.Context,
    name: Name,
    role: AsRole,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Make an account."""
    from edge_app.backend.accounts import Accounts  # noqa: PLC0415 - Argon2 is for accounts alone

    session: Session = context.obj
    with closing(backend_database(session)) as database:
        password = _password(password_file)
        then = noting(session, Action.ACCOUNT_ADDED, f"{name}, {role}")
        Accounts(database).add(name, role, password, now=session.clock.now(), then=then)
    _say(f"{name} may sign in as {role}.", {"name": name, "role": role.value}, as_json=as_json)


@account.command("password")
def change_password(
    context: typer.Context,
    name: Name,
    password_file: PasswordFile = None,
    as_json: AsJson = False,
) -> None:
    """Change an account's password. Whoever is signed in with it is signed out."""
    from edge_app.backend.accounts import Accounts  # noqa: PLC0415 - see above

    session: Session = context.obj
    with closing(backend_database(session)) as database:
        then = noting(session, Action.ACCOUNT_CHANGED, f"{name}, password")
        Accounts(database).set_password(name, _password(password_file), then=then)
    _say(f"{name} has a new password.", {"name": name, "changed": True}, as_json=as_json)


@account.command("role")
def change_role(
    context: typer.Context,
    name: Name,
    role: Annotated[Role, typer.Argument(help="What they are here for from now on.")],
    as_json: AsJson = False,
) -> None:
    """Change an account's role. Whoever is signed in with it is signed out."""
    from edge_app.backend.accounts import Accounts  # noqa: PLC0415 - see above

    session: Session = context.obj
    with closing(backend_database(session)) as database:
        then = noting(session, Action.ACCOUNT_CHANGED, f"{name}, {role}")
        Accounts(database).set_role(name, role, then=then)
    _say(f"{name} is {role} now.", {"name": name, "role": role.value}, as_json=as_json)


@account.command()
def remove(context: typer.Context, name: Name, as_json: AsJson = False) -> None:
    """Remove an account. Whoever is signed in with it is signed out."""
    from edge_app.backend.accounts import Accounts  # noqa: PLC0415 - see above

    session: Session = context.obj
    with closing(backend_database(session)) as database:
        Accounts(database).remove(name, then=noting(session, Action.ACCOUNT_REMOVED, name))
    said = f"{name} may not sign in any more."
    _say(said, {"name": name, "removed": True}, as_json=as_json)


@account.command("list")
def list_accounts(context: typer.Context, as_json: AsJson = False) -> None:
    """List the accounts. Who signs in by an identity provider has none."""
    from edge_app.backend.accounts import Accounts  # noqa: PLC0415 - see above

    session: Session = context.obj
    with closing(backend_database(session)) as database:
        found = Accounts(database).all()
    if as_json:
        print_json([{"name": one.name, "role": one.role} for one in found])
        return
    if not found:
        out.print("There are no accounts. Make one: familiar backend account add NAME --role carer")
        return
    table = Table("name", "role", box=None)
    for one in found:
        table.add_row(one.name, one.role)
    out.print(table)


def audit(
    context: typer.Context,
    most: Annotated[int, typer.Option("--most", min=1, help="Entries that are shown.")] = 50,
    check: Annotated[
        bool, typer.Option("--check", help="Check that no entry was changed.", metavar="")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show who did what, the newest first; or check that nothing of it was changed.

    Note the digest that --check prints somewhere else: with it you can tell later whether entries
    up to it were written anew.
    """
    session: Session = context.obj
    with closing(backend_database(session)) as database, database.reading() as execute:
        broken = first_broken(execute) if check else None
        if broken is not None:
            raise StorageError(
                f"the audit trail was changed: entry {broken} does not follow from the one before"
            )
        entries = newest_entries(execute, 1 if check else most)
    if check:
        last = entries[0] if entries else None
        if as_json:
            print_json({"number": last and last.number, "digest": last and last.digest})
        elif last is None:
            out.print("The audit trail is empty.")
        else:
            said = f"Nothing was changed up to entry {last.number}, {last.digest}."
            out.print(said, soft_wrap=True)
        return
    if as_json:
        print_json([asdict(entry) for entry in entries])
        return
    table = Table("", "time (UTC)", "who", "role", "did", "what", box=None)
    for entry in entries:
        did = entry.action.replace("_", " ")
        time = f"{entry.time:%Y-%m-%d %H:%M:%S}"
        cells = (str(entry.number), time, entry.who, entry.role, did, entry.detail)
        table.add_row(*(_as_it_is(cell) for cell in cells))
    out.print(table)
    if not entries:
        out.print(count(0, "entry", "entries"))


def backend_database(session: Session) -> Database:
    return Database(session.config.backend.database, session.home.folder)


def noting(session: Session, action: Action, detail: str) -> Callable[[Execute], None]:
    """What writes down, in the transaction that does it, what is done at the command line.

    By the system's name of who does it.
    """
    try:
        who = pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        who = str(os.getuid())
    return partial(
        note, who=who, role="command line", action=action, detail=detail, now=session.clock.now()
    )


def _as_it_is(text: str) -> Text:
    """What an identity provider may have chosen: no markup, nothing that moves the cursor."""
    return Text(
        "".join(part if part.isprintable() else "\N{REPLACEMENT CHARACTER}" for part in text)
    )


def _say(text: str, value: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(value)
    else:
        out.print(text, markup=False)


def _password(file: Path | None) -> str:
    if file is not None:
        try:
            first, *_ = file.read_text(encoding="utf-8").splitlines() or [""]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"cannot read {file}: {error}; name a file with a password") from None
        return first
    if not in_a_terminal():
        raise ConfigError("nobody can be asked for the password here; give --password-file")
    first = getpass.getpass("Password: ")
    if getpass.getpass("Once more: ") != first:
        raise ConfigError("these are two different passwords; try again")
    return first
