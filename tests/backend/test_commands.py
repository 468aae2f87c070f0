"""`familiar backend account`, `audit` and `serve` at the command line."""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from edge_app.__main__ import app
from edge_app.backend.accounts import Accounts
from edge_app.backend.audit import Action, note
from edge_app.backend.database import Database
from edge_app.backend.roles import Role
from edge_app.backend.store import EncounterStore
from edge_app.errors import StorageError
from tests.backends import alerts, stored_ids
from tests.support import ROOT

PROVIDER = 'issuer = "https://provider.example", roles = { carer = "c" }'
PASSWORD = "four words not together"  # noqa: S105 - nobody else's


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "home"


@pytest.fixture
def secret(tmp_path: Path) -> str:
    path = tmp_path / "password"
    path.write_text(PASSWORD + "\n")
    return str(path)


def backend(home: Path, *arguments: str) -> Result:
    return CliRunner().invoke(app, ["--home", str(home), "backend", *arguments])


def accounts(home: Path) -> dict[str, Role]:
    with closing(Database("", home)) as database:
        return {one.name: one.role for one in Accounts(database).all()}


def verified(home: Path, name: str, password: str) -> bool:
    with closing(Database("", home)) as database:
        return Accounts(database).verify(name, password) is not None


def test_accounts_are_made_changed_and_removed(home: Path, secret: str, tmp_path: Path) -> None:
    assert "There are no accounts" in backend(home, "account", "list").stdout
    assert json.loads(backend(home, "account", "list", "--json").stdout) == []
    add = ("account", "add", "ann", "--role", "carer", "--password-file", secret)
    assert backend(home, *add).exit_code == 0
    assert verified(home, "ann", PASSWORD)
    assert backend(home, "account", "role", "ann", "operator").exit_code == 0
    other = tmp_path / "other"
    other.write_text("words that are other words")
    assert backend(home, "account", "password", "ann", "--password-file", str(other)).exit_code == 0
    assert not verified(home, "ann", PASSWORD)
    assert verified(home, "ann", "words that are other words")
    listed = json.loads(backend(home, "account", "list", "--json").stdout)
    assert listed == [{"name": "ann", "role": "operator"}]
    assert re.search(r"ann +operator", backend(home, "account", "list").stdout)
    removed = backend(home, "account", "remove", "ann", "--json").stdout
    assert json.loads(removed) == {"name": "ann", "removed": True}
    assert accounts(home) == {}
    trail = json.loads(backend(home, "audit", "--json").stdout)
    assert [entry["action"] for entry in trail] == [
        "account_removed", "account_changed", "account_changed", "account_added",
    ]  # fmt: skip
    assert {entry["role"] for entry in trail} == {"command line"}
    assert PASSWORD not in json.dumps(trail)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("account", "add", "Ann", "--role", "carer"), "cannot be an account's name"),
        (("account", "role", "ann", "carer"), 'no account "ann"'),
        (("account", "remove", "ann"), 'no account "ann"'),
    ],
)
def test_what_cannot_be_done_is_said_in_a_line(
    home: Path, secret: str, arguments: tuple[str, ...], said: str
) -> None:
    file = ("--password-file", secret) if "add" in arguments else ()
    result = backend(home, *arguments, *file)
    assert result.exit_code != 0
    assert said in str(result.exception)


def test_a_password_is_asked_for_in_a_terminal_only(home: Path, tmp_path: Path) -> None:
    result = backend(home, "account", "add", "ann", "--role", "carer")
    assert "--password-file" in str(result.exception)
    result = backend(
        home, "account", "add", "ann", "--role", "carer", "--password-file", str(tmp_path / "none")
    )
    assert "name a file with a password" in str(result.exception)
    empty = tmp_path / "empty"
    empty.touch()
    result = backend(
        home, "account", "add", "ann", "--role", "carer", "--password-file", str(empty)
    )
    assert "characters" in str(result.exception)
    assert accounts(home) == {}


@pytest.mark.parametrize(("again", "status"), [(PASSWORD, 0), ("another password", 2)])
def test_a_typed_password_is_not_shown(home: Path, again: str, status: int) -> None:
    command = ("--home", str(home), "backend", "account", "add", "ann", "--role", "auditor")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        (sys.executable, "-m", "edge_app", *command), stdin=theirs, stdout=theirs, stderr=theirs,
        cwd=ROOT, start_new_session=True,
        preexec_fn=lambda: _take_terminal(theirs),  # noqa: PLW1509 - nothing else runs here
    ) as process:  # fmt: skip
        os.close(theirs)
        shown = b""
        for question, answer in ((b"Password: ", PASSWORD), (b"Once more: ", again)):
            while question not in shown:
                shown += os.read(ours, 1_024)
            os.write(ours, answer.encode() + b"\n")
        while True:
            try:
                part = os.read(ours, 1_024)
            except OSError:  # the other end is closed
                break
            if not part:
                break
            shown += part
    os.close(ours)
    assert process.returncode == status, shown
    assert PASSWORD.encode() not in shown
    assert accounts(home) == ({"ann": Role.AUDITOR} if status == 0 else {})


def _take_terminal(descriptor: int) -> None:
    import fcntl
    import termios

    fcntl.ioctl(descriptor, termios.TIOCSCTTY, 0)


def test_the_trail_is_checked(home: Path, secret: str) -> None:
    assert "empty" in backend(home, "audit", "--check").stdout
    assert backend(home, "audit").exit_code == 0
    for name in ("ann", "bob", "eve"):
        backend(home, "account", "add", name, "--role", "carer", "--password-file", secret)
    said = backend(home, "audit", "--check").stdout
    assert re.search(r"up to entry 3, [0-9a-f]{64}", said.replace("\n", " "))
    found = json.loads(backend(home, "audit", "--check", "--json").stdout)
    assert found["number"] == 3
    assert len(json.loads(backend(home, "audit", "--json", "--most", "2").stdout)) == 2
    assert "account added" in backend(home, "audit").stdout
    with closing(Database("", home)) as database, database.writing() as execute:
        execute("UPDATE audit SET who = 'nobody' WHERE number = 2")
    result = backend(home, "audit", "--check")
    assert result.exit_code != 0
    assert "entry 2" in str(result.exception)


@pytest.mark.parametrize("who", ["[/x]", "[red]ann", "\x1b[2Jann", "a\nb"])
def test_a_name_in_the_trail_is_shown_as_it_is(home: Path, who: str) -> None:
    with closing(Database("", home)) as database, database.writing() as execute:
        note(
            execute, who=who, role="carer", action=Action.SIGNED_IN, detail="",
            now=datetime(2026, 3, 1, tzinfo=UTC),
        )  # fmt: skip
    shown = backend(home, "audit").stdout
    assert who.replace("\x1b", "\ufffd").replace("\n", "\ufffd") in shown
    assert "\x1b" not in shown
    assert json.loads(backend(home, "audit", "--json").stdout)[0]["who"] == who


@pytest.mark.parametrize("value", ["action = 'x'", "time_ms = 'x'", "who = x'ff'"])
def test_a_trail_that_holds_no_entries_is_an_error_and_no_crash(home: Path, value: str) -> None:
    backend(home, "forget", "a" * 32)
    with closing(Database("", home)) as database, database.writing() as execute:
        execute(f"UPDATE audit SET {value}")  # noqa: S608 - of this test
    for options in (("--check",), ("--json",), ()):
        result = backend(home, "audit", *options)
        assert isinstance(result.exception, StorageError)
        assert "entry 1" in str(result.exception)


def test_what_cannot_be_written_down_is_not_done(home: Path, secret: str, tmp_path: Path) -> None:
    (one,) = alerts(1)
    with closing(Database("", home)) as database:
        Accounts(database).add("ann", Role.CARER, PASSWORD, now=datetime.now(UTC))
        before = Accounts(database).all()
        EncounterStore(database).keep([one], now=datetime.now(UTC))
        with database.writing() as execute:
            execute("CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT RAISE(ABORT, ''); END")
    other = tmp_path / "other"
    other.write_text("words that are other words")
    for arguments in (
        ("account", "add", "bob", "--role", "carer", "--password-file", secret),
        ("account", "password", "ann", "--password-file", str(other)),
        ("account", "role", "ann", "operator"),
        ("account", "remove", "ann"),
        ("forget", one.subject_ref),
    ):
        assert isinstance(backend(home, *arguments).exception, StorageError), arguments
    assert stored_ids(home) == [one.alert_id]
    with closing(Database("", home)) as database, database.reading() as execute:
        assert execute("SELECT COUNT(*) FROM departed").fetchone()[0] == 0
    with closing(Database("", home)) as database:
        assert Accounts(database).all() == before


def test_the_trail_holds_no_password_and_nobody_who_left(home: Path, secret: str) -> None:
    (one,) = alerts(1)
    with closing(Database("", home)) as database:
        EncounterStore(database).keep([one], now=datetime.now(UTC))
    file = ("--password-file", secret)
    for arguments in (
        ("account", "add", "ann", "--role", "carer", *file),
        ("account", "password", "ann", *file),
        ("account", "role", "ann", "operator"),
        ("account", "remove", "ann"),
        ("forget", one.subject_ref),
    ):
        assert backend(home, *arguments).exit_code == 0
    said = backend(home, "audit", "--json").stdout
    assert [entry["action"] for entry in json.loads(said)] == [
        "forgot", "account_removed", "account_changed", "account_changed", "account_added",
    ]  # fmt: skip
    for secret_one in (PASSWORD, secret, one.subject_ref, one.alert_id, one.consent_record_id):
        assert secret_one not in said


def test_forgetting_is_in_the_trail_without_the_forgotten(home: Path) -> None:
    assert backend(home, "forget", "a" * 32).exit_code == 0
    (entry,) = json.loads(backend(home, "audit", "--json").stdout)
    assert (entry["action"], entry["detail"]) == ("forgot", "0 encounters")
    assert "a" * 32 not in json.dumps(entry)


@pytest.mark.parametrize(
    ("config", "options", "said"),
    [
        ("", ("--certificate", "x"), "go together"),
        ("", ("--host", "0.0.0.0"), "encrypted only"),  # noqa: S104 - it is refused
        ('oidc = { issuer = "http://provider.example", roles = { carer = "c" } }', (),
         "is not encrypted"),
        ('oidc = { issuer = "https://provider.example" }', (), "nobody would be let in"),
        (f'oidc = {{ {PROVIDER}, client_secret_file = "/nowhere" }}', (), "client_secret_file"),
        ('oidc = { issuer = "https://provider.example", roles = { boss = "c" } }', (), "boss"),
        ('database = "mysql://x"', (), "backend.database"),
    ],
)  # fmt: skip
def test_a_page_that_cannot_be_served_says_why(
    home: Path, config: str, options: tuple[str, ...], said: str
) -> None:
    home.mkdir()
    (home / "config.toml").write_text(f"[backend]\n{config}\n")
    result = backend(home, "serve", *options)
    assert result.exit_code != 0
    assert said in str(result.exception) + result.output


def test_two_roles_cannot_be_the_same_group(home: Path) -> None:
    home.mkdir()
    roles = '{ carer = "staff", operator = "staff" }'
    (home / "config.toml").write_text(
        f'[backend]\noidc = {{ issuer = "https://p.example", roles = {roles} }}\n'
    )
    result = backend(home, "serve")
    assert "staff" in str(result.exception)
