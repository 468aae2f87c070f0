from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pytest
from argon2 import PasswordHasher, Type, extract_parameters
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge_app.adapters.clock import ManualClock
from edge_app.backend.accounts import Accounts, Throttle
from edge_app.backend.database import Database
from edge_app.backend.roles import RIGHTS, Right, Role
from edge_app.errors import ConfigError, StorageError

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
GOOD = "four words not together"
QUICK = PasswordHasher(time_cost=1, memory_cost=64, parallelism=1)


def full_width(text: str) -> str:
    return "".join(chr(ord(character) + 0xFEE0) for character in text)


@pytest.fixture
def opened(database: str, tmp_path: Path) -> Iterator[Database]:
    with closing(Database(database, tmp_path)) as one:
        yield one


@pytest.fixture
def accounts(opened: Database) -> Accounts:
    return Accounts(opened, QUICK)


def test_an_account_is_let_in_by_its_password_alone(accounts: Accounts) -> None:
    assert accounts.all() == ()
    assert accounts.verify("ann", GOOD) is None
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    found = accounts.verify("ann", GOOD)
    assert found is not None
    assert (found.name, found.role) == ("ann", Role.CARER)
    assert accounts.find("ann") == found
    assert accounts.all() == (found,)
    for wrong in ("", GOOD + " ", GOOD.upper(), "x" * 5_000, "\0", "a" * 12):
        assert accounts.verify("ann", wrong) is None
    for name in ("", "Ann", "ann ", "ann' OR '1'='1", "%", "bob", "ann\0"):
        assert accounts.verify(name, GOOD) is None


def test_no_password_is_in_the_database(
    accounts: Accounts, opened: Database, database: str, tmp_path: Path
) -> None:
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    with opened.reading() as execute:
        ((stored,),) = execute("SELECT password FROM account").fetchall()
    assert extract_parameters(stored).type is Type.ID
    assert GOOD not in stored
    if not database:
        assert all(GOOD.encode() not in path.read_bytes() for path in tmp_path.iterdir())


def test_what_protects_a_password_is_what_rfc_9106_recommends(opened: Database) -> None:
    Accounts(opened).add("ann", Role.CARER, GOOD, now=NOW)
    with opened.reading() as execute:
        ((stored,),) = execute("SELECT password FROM account").fetchall()
    found = extract_parameters(stored)
    assert (found.type, found.memory_cost, found.time_cost) == (Type.ID, 65_536, 3)
    assert (found.parallelism, found.salt_len, found.hash_len) == (4, 16, 32)


def test_whatever_changes_an_account_changes_its_stamp(accounts: Accounts) -> None:
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    stamps = [account.stamp for account in accounts.all()]
    accounts.set_role("ann", Role.OPERATOR)
    stamps += [account.stamp for account in accounts.all()]
    accounts.set_password("ann", GOOD)
    stamps += [account.stamp for account in accounts.all()]
    accounts.set_password("ann", "other words do not either")
    stamps += [account.stamp for account in accounts.all()]
    assert len(set(stamps)) == 4
    assert accounts.verify("ann", GOOD) is None
    accounts.remove("ann")
    assert accounts.find("ann") is None


def test_what_is_not_there_cannot_be_changed(accounts: Accounts) -> None:
    with pytest.raises(ConfigError, match='no account "ann"'):
        accounts.set_role("ann", Role.CARER)
    with pytest.raises(ConfigError, match='no account "ann"'):
        accounts.set_password("ann", GOOD)
    with pytest.raises(ConfigError, match='no account "ann"'):
        accounts.remove("ann")
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    with pytest.raises(ConfigError, match="already"):
        accounts.add("ann", Role.OPERATOR, GOOD, now=NOW)
    assert accounts.all()[0].role is Role.CARER


@pytest.mark.parametrize("name", ["", "Ann", "an n", "ann\n", "-ann", "a" * 65, "änn", "a/b"])
def test_names_that_are_none(accounts: Accounts, name: str) -> None:
    with pytest.raises(ConfigError, match="account's name"):
        accounts.add(name, Role.CARER, GOOD, now=NOW)


@pytest.mark.parametrize(
    "password",
    [
        "", "short", "x" * 11, "x" * 1_025, "aaaaaaaaaaaaa", "123412341234", "Password12345",
        "password!!!!", "Familiar-2026", "passwort 1234", "ann-the-carer-1", "\0" * 12,
        full_width("password1234"), "PasswordPassword", "QWERTYUIOP 12", "Ann-The-Carer!",
        "\ufdfa" * 100, "four words \udcff not", "x" * 100_000,
    ],
)  # fmt: skip
def test_passwords_that_protect_nothing(accounts: Accounts, password: str) -> None:
    with pytest.raises(ConfigError, match="password") as refused:
        accounts.add("ann-the-carer", Role.CARER, password, now=NOW)
    assert accounts.all() == ()
    assert not password or password not in str(refused.value)


def test_a_password_is_the_same_however_a_keyboard_writes_it(accounts: Accounts) -> None:
    accounts.add("ann", Role.CARER, "vier Wörter nicht zusammen", now=NOW)
    assert accounts.verify("ann", "vier Wo\u0308rter nicht zusammen") is not None
    assert accounts.verify("ann", full_width("vier") + " Wörter nicht zusammen") is not None


def test_the_longest_password_is_that_alone(accounts: Accounts) -> None:
    longest = ("ä word and another " * 60)[:1_024]
    accounts.add("ann", Role.CARER, longest, now=NOW)
    assert accounts.verify("ann", longest) is not None
    assert accounts.verify("ann", longest.replace("ä", "a\u0308")) is not None
    for more in ("x", "x" * 10_000, "\u0308" * 10_000):
        assert accounts.verify("ann", longest + more) is None
    assert accounts.verify("ann", longest[:-1]) is None


def test_a_short_name_forbids_no_words(accounts: Accounts) -> None:
    accounts.add("an", Role.CARER, "four words can not be it", now=NOW)
    with pytest.raises(ConfigError, match="name in it"):
        accounts.add("anna@site", Role.CARER, "words of Anna together", now=NOW)


def test_a_password_is_protected_as_today_after_the_next_sign_in(opened: Database) -> None:
    Accounts(opened, QUICK).add("ann", Role.CARER, GOOD, now=NOW)
    today = Accounts(opened)
    (before,) = today.all()
    assert today.verify("ann", GOOD + "x") is None
    assert today.all() == (before,)
    found = today.verify("ann", GOOD)
    assert found is not None
    assert (found.name, found.role) == ("ann", Role.CARER)
    assert today.all() == (found,)
    assert found != before
    with opened.reading() as execute:
        ((stored,),) = execute("SELECT password FROM account").fetchall()
    assert extract_parameters(stored).memory_cost == 65_536
    assert today.verify("ann", GOOD) == found


def test_protecting_anew_brings_no_changed_password_back(
    opened: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    Accounts(opened, QUICK).add("ann", Role.CARER, GOOD, now=NOW)
    today = Accounts(opened, PasswordHasher(time_cost=2, memory_cost=64, parallelism=1))
    verify = PasswordHasher.verify

    def meanwhile(self: PasswordHasher, stored: str, typed: bytes) -> bool:
        monkeypatch.undo()
        Accounts(opened, QUICK).set_password("ann", "other words do not either")
        return verify(self, stored, typed)

    monkeypatch.setattr(PasswordHasher, "verify", meanwhile)
    found = today.verify("ann", GOOD)
    assert found is not None
    assert found != today.find("ann")
    assert today.verify("ann", GOOD) is None


def test_a_damaged_account_is_told_of(accounts: Accounts, opened: Database) -> None:
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    with opened.writing() as execute:
        execute("UPDATE account SET role = 'x'")
    with pytest.raises(StorageError, match="set its role anew"):
        accounts.all()
    accounts.set_role("ann", Role.CARER)
    assert len(accounts.all()) == 1
    with opened.writing() as execute:
        execute("UPDATE account SET password = 'x'")
    with pytest.raises(StorageError, match="set its password anew"):
        accounts.verify("ann", GOOD)


def test_every_role_has_rights_and_nobody_who_audits_sees_encounters() -> None:
    assert RIGHTS.keys() == set(Role)
    assert all(RIGHTS.values())
    assert not RIGHTS[Role.AUDITOR] & {Right.ENCOUNTERS, Right.ACKNOWLEDGE, Right.PEOPLE}
    assert RIGHTS[Role.CARER] < RIGHTS[Role.OPERATOR]
    assert Right.AUDIT not in RIGHTS[Role.OPERATOR]


# --- guessing ----------------------------------------------------------------------------------

HERE, ELSEWHERE = "192.0.2.1", "192.0.2.2"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock(NOW)


@pytest.fixture
def throttle(clock: ManualClock) -> Throttle:
    return Throttle(clock)


def guess(
    throttle: Throttle, accounts: Accounts, name: str, typed: str = "wrong", address: str = HERE
) -> bool:
    account, wait_s = throttle.verify(accounts, name, typed, address)
    assert wait_s == 0
    return account is not None


def test_guessing_becomes_slower_and_never_ends(
    accounts: Accounts, throttle: Throttle, clock: ManualClock
) -> None:
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    waits = []
    for _ in range(15):
        waits.append(throttle.wait_s("ann", HERE))
        clock.advance(throttle.wait_s("ann", HERE))
        assert not guess(throttle, accounts, "ann")
    assert waits[:3] == [0, 0, 0]
    assert waits[3:] == sorted(waits[3:])
    assert waits[-1] == 300
    clock.advance(300)
    assert guess(throttle, accounts, "ann", GOOD)
    assert throttle.wait_s("ann", HERE) == 0


def test_who_guesses_elsewhere_locks_nobody_out_here(
    accounts: Accounts, throttle: Throttle, clock: ManualClock
) -> None:
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    for _ in range(40):
        clock.advance(throttle.wait_s("ann", ELSEWHERE))
        guess(throttle, accounts, "ann", address=ELSEWHERE)
    assert throttle.wait_s("ann", ELSEWHERE) == 300
    assert throttle.wait_s("ann", HERE) == 0
    assert guess(throttle, accounts, "ann", GOOD)


def test_guessing_at_many_names_slows_the_address_a_little(
    accounts: Accounts, throttle: Throttle, clock: ManualClock
) -> None:
    for number in range(20):
        assert throttle.wait_s(f"name-{number}", HERE) == 0
        guess(throttle, accounts, f"name-{number}")
    for number in range(20):
        clock.advance(throttle.wait_s("ann", HERE))
        guess(throttle, accounts, f"other-{number}")
    assert throttle.wait_s("ann", HERE) == 30
    assert throttle.wait_s("ann", ELSEWHERE) == 0


def test_what_may_not_be_tried_is_not(accounts: Accounts, throttle: Throttle) -> None:
    accounts.add("ann", Role.CARER, GOOD, now=NOW)
    for _ in range(3):
        guess(throttle, accounts, "ann")
    assert throttle.verify(accounts, "ann", GOOD, HERE) == (None, 1.0)


def test_failures_are_forgiven_after_a_while(
    accounts: Accounts, throttle: Throttle, clock: ManualClock
) -> None:
    for _ in range(3):
        guess(throttle, accounts, "ann")
    clock.advance(3_601)
    guess(throttle, accounts, "ann")
    assert throttle.wait_s("ann", HERE) == 0


def test_names_that_are_guessed_take_no_more_room_than_they_may(
    accounts: Accounts, throttle: Throttle, clock: ManualClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("edge_app.backend.accounts._MOST_REMEMBERED", 20)
    for number in range(60):
        clock.advance(31)
        guess(throttle, accounts, f"name-{number}", address=f"192.0.2.{number}")
    assert len(throttle._failed) == 20


def test_two_passwords_are_tried_at_once_and_one_for_each_address(throttle: Throttle) -> None:
    running, most, lock = 0, 0, threading.Lock()
    both = threading.Barrier(2)

    class Slow(Accounts):
        def verify(self, name: str, password: str) -> None:
            nonlocal running, most
            with lock:
                running += 1
                most = max(most, running)
            both.wait(30)
            assert throttle.wait_s("ann", name) == 1
            with lock:
                running -= 1

    slow = Slow.__new__(Slow)
    threads = [
        threading.Thread(target=throttle.verify, args=(slow, str(number), "", str(number)))
        for number in range(6)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert most == 2
    assert throttle._trying == set()


def test_nobody_tries_again_before_the_last_try_is_counted(
    accounts: Accounts, throttle: Throttle, monkeypatch: pytest.MonkeyPatch
) -> None:
    count, waits = throttle._count, []

    def counting(key: tuple[str, ...]) -> None:
        waits.append(throttle._wait_s("ann", HERE))
        count(key)

    monkeypatch.setattr(throttle, "_count", counting)
    assert not guess(throttle, accounts, "ann")
    assert waits == [1, 1]


def test_who_comes_when_very_many_wait_is_sent_away(throttle: Throttle) -> None:
    throttle._trying.update(map(str, range(16)))
    assert throttle.wait_s("ann", HERE) == 1


ANY: Final = st.text(alphabet=st.characters(codec=None), max_size=80)  # lone surrogates, too


@given(name=ANY, password=ANY)
@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_no_text_is_let_in(accounts: Accounts, name: str, password: str) -> None:
    assert accounts.verify(name, password) is None
