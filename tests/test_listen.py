"""`familiar listen` as a user starts it: a process of its own, on a real mosquitto."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from edge_app.adapters.events import CONTENT_TYPE, to_cloudevent
from edge_app.adapters.mqtt import Outgoing, tell_all
from edge_app.records import Purpose
from tests.adapters.test_mqtt import LINK, TOPICS, alert
from tests.brokers import PASSWORD, Mosquitto
from tests.support import ROOT


def test_events_are_filtered_printed_and_given_to_a_command(tmp_path: Path) -> None:
    with Mosquitto(tmp_path / "mosquitto") as broker:
        url = f"mqtt://user:{PASSWORD}@127.0.0.1:{broker.port}"
        options = ("--filter", "data.purpose=care", "--filter", "data.demo=false")
        with subprocess.Popen(
            (sys.executable, "-m", "edge_app", "--home", tmp_path / "home", "listen",
             "--broker", url, "--count", "2", "--timeout", "60", *options,
             "--exec", f"tee -a {tmp_path / 'seen'}"),
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=ROOT,
        ) as process:  # fmt: skip
            assert process.stderr is not None
            assert process.stderr.readline() == "listening\n"
            events = [
                to_cloudevent(replace(alert(number), purpose=purpose))
                for number, purpose in enumerate((Purpose.ASSIST, Purpose.CARE, Purpose.CARE))
            ]
            messages = [Outgoing(TOPICS.match, e, content_type=CONTENT_TYPE) for e in events]
            tell_all(broker.address, tls=None, messages=messages, client_id="sender", link=LINK)
            out, err = process.communicate(timeout=60)
    assert process.returncode == 0, err
    assert [json.loads(line) for line in out.splitlines()] == [json.loads(e) for e in events[1:]]
    assert (tmp_path / "seen").read_text() == out == err
