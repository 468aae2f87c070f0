import fcntl
import mmap
import os
import resource
import subprocess
import sys
import weakref
from pathlib import Path

import numpy as np
import pytest

from edge_app.adapters import sealed
from edge_app.adapters.sealed import SealedMemory, disk_swaps, seal_templates
from edge_app.errors import GalleryError
from tests.people import DIM, enrolment, faces


def filled(content: bytes) -> SealedMemory:
    def fill(view: memoryview) -> None:
        view[:] = content

    return SealedMemory.filled(len(content), fill)


def open_descriptors() -> set[str]:
    return set(os.listdir("/proc/self/fd"))  # noqa: PTH208 - names are all it takes


@pytest.mark.parametrize("rows", [1, 2, 5_000])
def test_content_is_read_back(rows: int) -> None:
    matrix = faces(rows)
    memory = filled(matrix.tobytes())
    assert len(memory) == matrix.nbytes
    assert np.array_equal(memory.matrix(DIM), matrix)


def test_array_cannot_be_written_nor_made_writable() -> None:
    matrix = filled(faces(1).tobytes()).matrix(DIM)
    with pytest.raises(ValueError, match="read-only"):
        matrix[0, 0] = 1
    with pytest.raises(ValueError, match="WRITEABLE"):
        matrix.flags.writeable = True


def test_seals_stop_every_later_change() -> None:
    seen: list[int] = []

    def write(descriptor: int) -> None:
        os.write(descriptor, b"templates")

    def load(path: str) -> None:
        descriptor = os.open(path, os.O_RDWR)
        try:
            seen.append(fcntl.fcntl(descriptor, fcntl.F_GET_SEALS))
            for attempt in (
                lambda: os.write(descriptor, b"x"),
                lambda: os.ftruncate(descriptor, 1),
                lambda: os.ftruncate(descriptor, 1000),
                lambda: mmap.mmap(descriptor, 9, access=mmap.ACCESS_WRITE),
                lambda: fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, 0),
            ):
                with pytest.raises(PermissionError):
                    attempt()
        finally:
            os.close(descriptor)

    SealedMemory.written(write, load)
    wanted = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SEAL
    assert seen[0] & wanted == wanted


def test_memory_is_not_a_file_on_any_disk() -> None:
    memory = filled(faces(1).tobytes())
    maps = Path("/proc/self/maps").read_text(encoding="utf-8")
    (line,) = [entry for entry in maps.splitlines() if "/memfd:templates" in entry]
    assert line.split()[1].startswith("r--")
    assert len(memory) == DIM * 4


def test_pages_are_locked_and_left_out_of_core_dumps() -> None:
    memory = filled(faces(1).tobytes())
    assert memory.locked
    smaps = Path("/proc/self/smaps").read_text(encoding="utf-8")
    flags = smaps.split("/memfd:templates", 1)[1].split("VmFlags:", 1)[1].split("\n", 1)[0].split()
    assert "lo" in flags
    assert "dd" in flags


def test_memory_that_may_not_be_locked_says_so_and_works() -> None:
    program = (
        "import os, resource\n"
        "import numpy as np\n"
        "from edge_app.adapters.sealed import SealedMemory\n"
        "resource.setrlimit(resource.RLIMIT_MEMLOCK, (0, 0))\n"
        "if os.getuid() == 0: os.setuid(65534)\n"
        "def fill(view): view[:] = b'x' * 8\n"
        "memory = SealedMemory.filled(8, fill)\n"
        "print(memory.locked, memory.matrix(2).shape)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.split("\n")[0] == "False (1, 2)"


def test_memory_goes_with_its_last_view_and_leaves_no_descriptor() -> None:
    before = open_descriptors()
    memory = filled(faces(2).tobytes())
    mapping = weakref.ref(memory._mapping)
    row = memory.matrix(DIM)[1]
    del memory
    assert mapping() is not None
    assert float(row @ row) == pytest.approx(1.0, abs=1e-5)
    del row
    assert mapping() is None
    assert open_descriptors() == before


def test_failure_while_filling_leaves_nothing_behind() -> None:
    before = open_descriptors()

    def fail(view: memoryview) -> None:
        view[:1] = b"x"
        raise RuntimeError("interrupted")

    with pytest.raises(RuntimeError, match="interrupted"):
        SealedMemory.filled(4096, fail)
    assert open_descriptors() == before
    assert "/memfd:templates" not in Path("/proc/self/maps").read_text(encoding="utf-8")


@pytest.mark.parametrize("limit", [resource.RLIMIT_FSIZE, resource.RLIMIT_NOFILE])
def test_system_that_gives_no_memory_is_reported(limit: int) -> None:
    soft, hard = resource.getrlimit(limit)
    resource.setrlimit(limit, (3, hard))
    try:
        with pytest.raises(GalleryError, match="free some memory"):
            filled(b"four")
    finally:
        resource.setrlimit(limit, (soft, hard))


def test_sealing_nobody() -> None:
    assert seal_templates([]).shape == (0, 0)


def test_templates_become_rows_of_a_matrix_that_cannot_be_written() -> None:
    embeddings = faces(5)
    people = [enrolment(1, embeddings[:3]), enrolment(2, embeddings[3:])]
    matrix = seal_templates(people)
    assert np.array_equal(matrix, embeddings)
    assert not np.shares_memory(matrix, embeddings)
    assert not matrix.flags.writeable


@pytest.mark.parametrize(
    ("listing", "areas"),
    [
        ("Filename\tType\tSize\tUsed\tPriority\n", ()),
        ("Filename Type\n/dev/zram0 partition 1 0 100\n", ()),
        ("Filename Type\n/var/swap file 1 0 -2\n/dev/zram0 partition 1 0 1\n", ("/var/swap",)),
        ("", ()),
    ],
)
def test_swaps_on_disks_are_told_from_compressed_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, listing: str, areas: tuple[str, ...]
) -> None:
    (tmp_path / "swaps").write_text(listing)
    monkeypatch.setattr(sealed, "_SWAPS", tmp_path / "swaps")
    assert disk_swaps() == areas
    monkeypatch.setattr(sealed, "_SWAPS", tmp_path / "nowhere")
    assert disk_swaps() == ()
