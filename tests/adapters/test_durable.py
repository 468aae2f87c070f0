import errno
import os
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from edge_app.adapters.durable import append_durably, exclusive, write_durably
from edge_app.errors import StorageError


@pytest.mark.parametrize("parts", [(), (b"",), (b"one",), (b"one", memoryview(b"two"))])
def test_file_holds_all_parts_and_is_private(tmp_path: Path, parts: tuple[bytes, ...]) -> None:
    path = tmp_path / "file"
    write_durably(path, *parts)
    assert path.read_bytes() == b"".join(parts)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_left_over_staged_file_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "file.new").write_bytes(b"x" * 1000)
    write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"new"
    assert not (tmp_path / "file.new").exists()


def test_short_writes_are_continued(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:3]))
    write_durably(tmp_path / "file", b"0123456789")
    assert (tmp_path / "file").read_bytes() == b"0123456789"


@pytest.mark.parametrize(
    ("code", "remedy"),
    [
        (errno.ENOSPC, "the disk is full; free some space"),
        (errno.EIO, "check the disk"),
    ],
)
@pytest.mark.parametrize("call", ["write", "fsync"])
def test_failed_write_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str, code: int, remedy: str
) -> None:
    path = tmp_path / "file"
    write_durably(path, b"old")

    def fail(*_: object) -> int:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, call, fail)
    with pytest.raises(StorageError, match=remedy):
        write_durably(path, b"new")
    monkeypatch.undo()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_real_full_device_is_reported() -> None:
    with pytest.raises(StorageError, match="the disk is full"):
        append_durably(Path("/dev/full"), b"x")


def test_symbolic_link_in_the_way_is_not_followed(tmp_path: Path) -> None:
    (tmp_path / "victim").write_bytes(b"precious")
    (tmp_path / "file.new").symlink_to(tmp_path / "victim")
    with pytest.raises(StorageError):
        write_durably(tmp_path / "file", b"new")
    assert (tmp_path / "victim").read_bytes() == b"precious"


def test_folder_below_a_file_is_reported(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(StorageError, match="choose another folder"), exclusive(tmp_path / "file/x"):
        pass


def test_append_adds_to_the_end(tmp_path: Path) -> None:
    append_durably(tmp_path / "file", b"one\n")
    append_durably(tmp_path / "file", b"two\n")
    assert (tmp_path / "file").read_bytes() == b"one\ntwo\n"


def test_exclusive_excludes_threads(tmp_path: Path) -> None:
    inside: list[int] = []
    most: list[int] = []

    def work() -> None:
        for _ in range(50):
            with exclusive(tmp_path / "folder"):
                inside.append(1)
                most.append(len(inside))
                inside.pop()

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (len(most), max(most)) == (200, 1)
    assert stat.S_IMODE((tmp_path / "folder").stat().st_mode) == 0o700


def test_exclusive_excludes_processes_and_ends_with_them(tmp_path: Path) -> None:
    program = (
        "import sys, time\n"
        "from pathlib import Path\n"
        "from edge_app.adapters.durable import exclusive\n"
        "with exclusive(Path(sys.argv[1])):\n"
        "    print('held', flush=True)\n"
        "    time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"held\n"
        entered = threading.Event()

        def enter() -> None:
            with exclusive(tmp_path):
                entered.set()

        thread = threading.Thread(target=enter)
        thread.start()
        assert not entered.wait(0.2)
        child.kill()
        thread.join(timeout=30)
        assert entered.is_set()
