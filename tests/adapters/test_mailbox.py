"""The one slot between camera and pipeline, and the thread that fills it."""

import threading
import time
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge_app.adapters.mailbox import CameraThread, LatestFrames, Mailbox
from edge_app.errors import CameraError
from edge_app.records import Frame, FrameOrigin

AT_ONCE_S = 0.0
LONG_S = 30.0


def frame(sequence: int) -> Frame:
    return Frame(np.zeros((1, 1, 3), np.uint8), sequence / 10, sequence, FrameOrigin.REPLAY)


class Scripted:
    """A source that gives `count` frames, then ends or fails."""

    origin = FrameOrigin.REPLAY
    description = "scripted"
    undecodable = 0

    def __init__(
        self,
        count: int | None,
        *,
        error: Exception | None = None,
        open_error: Exception | None = None,
        close_error: Exception | None = None,
        before_read: Callable[[], None] = lambda: None,
    ) -> None:
        self.count = count
        self.error = error
        self.open_error = open_error
        self.close_error = close_error
        self.before_read = before_read
        self.given = 0
        self.calls: list[str] = []

    def open(self) -> None:
        self.calls.append("open")
        if self.open_error is not None:
            raise self.open_error

    def read(self) -> Frame | None:
        self.before_read()
        if self.given == self.count:
            if self.error is not None:
                raise self.error
            return None
        self.given += 1
        return frame(self.given - 1)

    def close(self) -> None:
        self.calls.append("close")
        if self.close_error is not None:
            raise self.close_error


def started(source: Scripted, mailbox: Mailbox) -> CameraThread:
    thread = CameraThread(source=source, mailbox=mailbox, stop_event=threading.Event())
    thread.start()
    return thread


def read_all(mailbox: Mailbox) -> list[int]:
    got = []
    while not mailbox.ended:
        taken = mailbox.get(LONG_S)
        if taken is not None:
            got.append(taken.sequence)
    return got


def test_an_empty_mailbox_gives_nothing() -> None:
    mailbox = Mailbox(lossless=False)
    assert mailbox.get(AT_ONCE_S) is None
    assert not mailbox.ended
    assert mailbox.dropped == 0


def test_one_frame_comes_out_once() -> None:
    mailbox = Mailbox(lossless=False)
    sent = frame(0)
    assert mailbox.put(sent)
    assert mailbox.get(AT_ONCE_S) is sent
    assert mailbox.get(AT_ONCE_S) is None


@given(st.lists(st.sampled_from(["put", "get"]), max_size=40))
def test_the_newest_wins_and_every_loss_is_counted(actions: list[str]) -> None:
    mailbox = Mailbox(lossless=False)
    sent, got = 0, []
    for action in actions:
        if action == "put":
            assert mailbox.put(frame(sent))
            sent += 1
        elif (taken := mailbox.get(AT_ONCE_S)) is not None:
            assert taken.sequence == sent - 1
            got.append(taken.sequence)
    last = mailbox.get(AT_ONCE_S)
    assert sent == len(got) + mailbox.dropped + (last is not None)
    assert got == sorted(set(got))


def test_a_closed_mailbox_gives_its_last_frame_and_takes_no_more() -> None:
    mailbox = Mailbox(lossless=False)
    mailbox.put(frame(0))
    mailbox.close()
    assert not mailbox.put(frame(1))
    ended_before = mailbox.ended
    last = mailbox.get(LONG_S)
    assert last is not None
    assert last.sequence == 0
    assert (ended_before, mailbox.ended) == (False, True)
    assert mailbox.get(LONG_S) is None


def test_an_error_comes_after_the_last_frame_and_the_first_close_counts() -> None:
    mailbox = Mailbox(lossless=False)
    mailbox.put(frame(0))
    mailbox.close(CameraError("gone"))
    mailbox.close()
    assert mailbox.get(AT_ONCE_S) is not None
    with pytest.raises(CameraError, match="gone"):
        mailbox.get(AT_ONCE_S)


def test_closing_wakes_a_waiting_reader() -> None:
    mailbox = Mailbox(lossless=False)
    got: list[Frame | None] = []
    reader = threading.Thread(target=lambda: got.append(mailbox.get(LONG_S)))
    reader.start()
    mailbox.close()
    reader.join(LONG_S / 2)
    assert got == [None]


def test_closing_wakes_a_waiting_lossless_writer() -> None:
    mailbox = Mailbox(lossless=True)
    mailbox.put(frame(0))
    taken_over: list[bool] = []
    writer = threading.Thread(target=lambda: taken_over.append(mailbox.put(frame(1))))
    writer.start()
    mailbox.close()
    writer.join(LONG_S / 2)
    assert taken_over == [False]


def test_a_lossless_mailbox_drops_nothing() -> None:
    mailbox = Mailbox(lossless=True)
    thread = started(Scripted(500), mailbox)
    assert read_all(mailbox) == list(range(500))
    assert mailbox.dropped == 0
    thread.stop(LONG_S)


def test_a_live_mailbox_accounts_for_every_frame() -> None:
    mailbox = Mailbox(lossless=False)
    thread = started(Scripted(500), mailbox)
    got = read_all(mailbox)
    assert len(got) + mailbox.dropped == 500
    assert got == sorted(got)
    assert got[-1] == 499
    thread.stop(LONG_S)


def test_an_empty_source_just_ends() -> None:
    mailbox = Mailbox(lossless=False)
    source = Scripted(0)
    thread = started(source, mailbox)
    assert read_all(mailbox) == []
    thread.stop(LONG_S)
    assert source.calls == ["open", "close"]


def test_a_source_that_cannot_be_opened_fails_in_the_caller() -> None:
    mailbox = Mailbox(lossless=False)
    with pytest.raises(CameraError, match="no such camera"):
        started(Scripted(0, open_error=CameraError("no such camera")), mailbox)


@pytest.mark.parametrize("error", [CameraError("gone"), ZeroDivisionError("a defect")])
def test_an_error_of_the_source_reaches_the_reader_with_the_source_closed(error: Exception) -> None:
    mailbox = Mailbox(lossless=True)
    source = Scripted(2, error=error)
    thread = started(source, mailbox)
    got = [taken.sequence for _ in range(2) if (taken := mailbox.get(LONG_S)) is not None]
    with pytest.raises(type(error), match=str(error)):
        mailbox.get(LONG_S)
    assert got == [0, 1]
    assert source.calls == ["open", "close"]
    thread.stop(LONG_S)


def test_an_error_while_closing_reaches_the_reader() -> None:
    mailbox = Mailbox(lossless=False)
    thread = started(Scripted(0, close_error=CameraError("stuck")), mailbox)
    with pytest.raises(CameraError, match="stuck"):
        mailbox.get(LONG_S)
    thread.stop(LONG_S)


@pytest.mark.parametrize("lossless", [True, False])
def test_stopping_an_endless_source_closes_it(lossless: bool) -> None:
    mailbox = Mailbox(lossless=lossless)
    source = Scripted(None)
    thread = started(source, mailbox)
    assert mailbox.get(LONG_S) is not None
    thread.stop(LONG_S)
    assert source.calls == ["open", "close"]


def test_a_source_that_hangs_does_not_keep_the_caller(caplog: pytest.LogCaptureFixture) -> None:
    release = threading.Event()
    mailbox = Mailbox(lossless=False)
    source = Scripted(None, before_read=lambda: assert_true(release.wait(LONG_S)))
    thread = started(source, mailbox)
    thread.stop(0.01)
    assert "scripted did not stop" in caplog.text
    assert source.calls == ["open"]
    release.set()
    thread.stop(LONG_S)
    assert source.calls == ["open", "close"]


def assert_true(value: bool) -> None:
    assert value


class Counting:
    """A live camera that is always ready, and counts."""

    origin = FrameOrigin.LIVE
    description = "counting"
    undecodable = 0

    def __init__(self, frames: int) -> None:
        self.frames = frames
        self.read_count = 0
        self.closed = False

    def open(self) -> None:
        pass

    def read(self) -> Frame | None:
        if self.read_count == self.frames:
            return None
        self.read_count += 1
        return Frame(np.zeros((2, 2, 3), np.uint8), 0.0, self.read_count, self.origin)

    def close(self) -> None:
        self.closed = True


def test_a_slow_reader_gets_the_newest_frame_and_the_end() -> None:
    camera = Counting(500)
    latest = LatestFrames(camera)
    latest.open()
    while not camera.closed:
        time.sleep(0.01)
    frame = latest.read()
    assert frame is not None
    assert frame.sequence == 500
    assert latest.read() is None
    latest.close()


def test_an_error_is_not_the_end() -> None:
    mailbox = Mailbox(lossless=False)
    mailbox.close(CameraError("gone"))
    assert not mailbox.ended
    with pytest.raises(CameraError):
        mailbox.get(timeout_s=0.0)
