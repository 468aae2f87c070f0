"""Instances as processes on a real mosquitto: whatever is killed loses and doubles nothing."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from pathlib import Path

from tests.adapters.test_mqtt import until
from tests.backends import Backend, alerts, publish, stored_ids
from tests.brokers import Mosquitto
from tests.support import ROOT


def test_two_share_the_work_and_one_is_killed_again_and_again(tmp_path: Path) -> None:
    sent = alerts(2_000)
    ids = [one.alert_id for one in sent]
    home = tmp_path / "home"
    with (
        Mosquitto(tmp_path / "mosquitto") as broker,
        Backend(home, broker, "one") as one,
        Backend(home, broker, "two") as two,
    ):
        for round_number, begin in enumerate(range(0, 2_000, 1_000)):
            publish(broker, sent[begin : begin + 500])
            killed = one if round_number % 2 else two
            killed.stop(signal.SIGKILL)
            publish(broker, sent[begin + 500 : begin + 1_000])
            killed.start()
        until(lambda: len(stored_ids(home)) >= 2_000, "all are stored")
        assert stored_ids(home) == ids
        assert (one.stop(), two.stop()) == (0, 0)


def test_what_comes_while_nobody_is_there_waits_for_the_next_start(tmp_path: Path) -> None:
    home, sent = tmp_path / "home", alerts(300)
    with Mosquitto(tmp_path / "mosquitto") as broker:
        with Backend(home, broker):
            publish(broker, sent[:100])
        publish(broker, sent[100:200])
        broker.stop()
        broker.start()
        with Backend(home, broker) as backend:
            until(lambda: len(stored_ids(home)) == 200, "those that waited are stored")
            before = backend.said().count("backend: connected")
            broker.stop(signal.SIGKILL)
            broker.start()
            until(lambda: backend.said().count("backend: connected") > before, "it is back")
            publish(broker, sent[200:])
            until(lambda: len(stored_ids(home)) == 300, "the rest is stored")


def test_a_device_never_loads_the_backend() -> None:
    code = (
        "import sys, edge_app.__main__, edge_app.device; "
        "print([m for m in sys.modules if m.startswith(('edge_app.backend', 'prometheus_client', "
        "'psycopg'))])"
    )
    done = subprocess.run(
        (sys.executable, "-c", code), check=False, capture_output=True, text=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


def test_what_it_needs_is_asked_for_in_a_line(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "mosquitto") as broker:
        backend = Backend(tmp_path / "home", broker)
        for arguments, line in (
            (("run", "--broker", "http://x"), "broker address"),
            (("forget", "Zebedee"), "no pseudonym"),
        ):
            done = subprocess.run(
                backend.command(*arguments),
                check=False,
                capture_output=True,
                text=True,
                cwd=ROOT,
            )
            assert done.returncode == 2
            assert done.stderr.startswith("familiar: ")
            assert line in done.stderr
            assert "Traceback" not in done.stderr


def test_forget_deletes_beside_a_running_instance(tmp_path: Path) -> None:
    home = tmp_path / "home"
    with Mosquitto(tmp_path / "mosquitto") as broker, Backend(home, broker) as backend:
        publish(broker, alerts(10))
        until(lambda: len(stored_ids(home)) == 10, "all are stored")
        done = subprocess.run(
            backend.command("forget", "1" * 32, "2" * 32, "--json"),
            capture_output=True, text=True, cwd=ROOT, check=True,
        )  # fmt: skip
        assert json.loads(done.stdout) == {"deleted": 4}
        publish(broker, alerts(10, begin=10))
        until(lambda: len(stored_ids(home)) == 12, "of the others more are stored")


def test_one_that_goes_for_good_leaves_nothing_behind(tmp_path: Path) -> None:
    home, sent = tmp_path / "home", alerts(40)
    with Mosquitto(tmp_path / "mosquitto") as broker, Backend(home, broker, "one") as one:
        with Backend(home, broker, "two") as two:
            pass
        publish(broker, sent[:20])
        until(lambda: len(stored_ids(home)) == 10, "one takes its share")
        done = subprocess.run(
            two.command("retire", "--json"), check=False, capture_output=True, text=True, cwd=ROOT
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["retired"] is True
        assert len(stored_ids(home)) == 20
        publish(broker, sent[20:])
        until(lambda: len(stored_ids(home)) == 40, "one takes everything")
        assert one.stop() == 0
