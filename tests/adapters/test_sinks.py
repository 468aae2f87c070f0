"""Alerts reach the outbox and standard output, and a failing way out is one clear error."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from contextlib import closing
from dataclasses import replace
from datetime import datetime
from pathlib import Path

import pytest

from edge_app.adapters.events import from_cloudevent
from edge_app.adapters.outbox import Outbox
from edge_app.adapters.sinks import JsonLinesSink, OutboxSink, TeeSink
from edge_app.errors import DeliveryError, EdgeAppError, StorageError
from edge_app.records import Alert, ClockState

ROOT = Path(__file__).parents[2]
EXAMPLE = ROOT / "deploy" / "schemas" / "examples" / "match-v1-assist.json"
ALERT = from_cloudevent(EXAMPLE.read_bytes())
OTHER = replace(ALERT, alert_id="019ca945-19c3-7f3e-9c11-5d1e8a7b6c0f")
NAMED = replace(ALERT, subject_ref="Anna Andersson")


class StoppedClock:
    def now(self) -> datetime:
        return ALERT.time

    def monotonic_s(self) -> float:
        return 5.0

    def state(self) -> ClockState:
        return ClockState.SYNCHRONISED

    def sleep(self, seconds: float) -> None: ...


class ListSink:
    def __init__(self, error: EdgeAppError | None = None) -> None:
        self.alerts: list[Alert] = []
        self.closed = 0
        self.error = error

    def put(self, alert: Alert) -> None:
        if self.error:
            raise self.error
        self.alerts.append(alert)

    def close(self) -> None:
        self.closed += 1
        if self.error:
            raise self.error


def opened(path: Path) -> closing[Outbox]:
    return closing(Outbox(path, key=bytes(32), max_alerts=9, boot_id="b", clock=StoppedClock()))


def test_an_alert_is_stored_as_the_event_it_will_be_sent_as(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox") as outbox:
        sink = OutboxSink(outbox, topic="a/topic")
        sink.put(ALERT)
        sink.put(ALERT)
        sink.put(OTHER)
        sink.close()
        first, second = outbox.next(after=0, limit=9)
        assert (first.alert_id, first.topic) == (ALERT.alert_id, "a/topic")
        assert from_cloudevent(first.payload) == ALERT
        assert from_cloudevent(second.payload) == OTHER
        assert first.remaining_s == (ALERT.expiry_time - ALERT.time).total_seconds()


def test_a_name_is_stored_nowhere(tmp_path: Path) -> None:
    with opened(tmp_path / "outbox") as outbox:
        with pytest.raises(DeliveryError):
            OutboxSink(outbox, topic="t").put(NAMED)
        assert outbox.counts().pending == 0
    stream = io.StringIO()
    with pytest.raises(DeliveryError):
        JsonLinesSink(stream).put(NAMED)
    assert stream.getvalue() == ""
    assert b"Anna" not in b"".join(path.read_bytes() for path in tmp_path.iterdir())


def test_json_lines_are_one_event_a_line() -> None:
    stream = io.StringIO()
    sink = JsonLinesSink(stream)
    sink.put(ALERT)
    sink.put(OTHER)
    sink.close()
    lines = stream.getvalue().splitlines()
    assert [from_cloudevent(line.encode()) for line in lines] == [ALERT, OTHER]
    assert json.loads(lines[0]) == json.loads(EXAMPLE.read_text())
    assert not stream.closed


def test_a_closed_stream_is_one_clear_error() -> None:
    stream = io.StringIO()
    stream.close()
    with pytest.raises(DeliveryError, match="keep its reader running"):
        JsonLinesSink(stream).put(ALERT)


WRITER = """
import sys
from pathlib import Path
from edge_app.adapters.events import from_cloudevent
from edge_app.adapters.sinks import JsonLinesSink
from edge_app.errors import EdgeAppError

alert = from_cloudevent(Path(sys.argv[1]).read_bytes())
sink = JsonLinesSink(sys.stdout)
try:
    for _ in range(10_000):
        sink.put(alert)
except EdgeAppError as error:
    print(error, file=sys.stderr)
    sys.exit(error.exit_status)
"""


@pytest.mark.parametrize("target", ["| head -n 2", "> /dev/full"])
def test_a_reader_that_leaves_and_a_full_disk_end_in_one_line_without_traceback(
    target: str,
) -> None:
    done = subprocess.run(
        ["bash", "-c", f'"$0" -c "$1" "$2" {target}; exit ${{PIPESTATUS[0]}}',
         sys.executable, WRITER, str(EXAMPLE)],
        cwd=ROOT, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip
    assert done.returncode == DeliveryError.exit_status
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert "keep its reader running" in done.stderr


def test_a_tee_of_nothing() -> None:
    tee = TeeSink([])
    tee.put(ALERT)
    tee.close()


def test_a_tee_hands_on_in_order() -> None:
    first, second = ListSink(), ListSink()
    tee = TeeSink([first, second])
    tee.put(ALERT)
    tee.close()
    assert first.alerts == second.alerts == [ALERT]
    assert (first.closed, second.closed) == (1, 1)


def test_a_tee_serves_every_sink_also_after_one_failed_and_raises_the_first_failure() -> None:
    broken, late = ListSink(StorageError("disk")), ListSink(DeliveryError("pipe"))
    good = ListSink()
    tee = TeeSink([broken, late, good])
    with pytest.raises(StorageError, match="disk"):
        tee.put(ALERT)
    assert good.alerts == [ALERT]
    with pytest.raises(StorageError, match="disk"):
        tee.close()
    assert (broken.closed, late.closed, good.closed) == (1, 1, 1)
