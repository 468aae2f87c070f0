"""P5: plaintext templates never touch a disk.

A process of its own writes a store, loads it, and builds both indices, with folders of its own
for home, work and temporary files. A known template is then looked for, as float32, as the
usual int8 forms and as text, in those folders, in the machine's shared temporary folders,
and in whatever else the process wrote.
"""

import os
import stat
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from edge_app.adapters.sealed import disk_swaps
from edge_app.records import Float32Array
from tests.people import faces
from tests.support import ROOT

SEED = os.getpid()  # so that tests that run at the same time do not find each other's
KNOWN = faces(1, seed=SEED)[0]
PROGRAM = """
import sys
from pathlib import Path
import numpy as np
from edge_app.adapters.gallery_store import GalleryStore
from edge_app.adapters.index import IndexKind, IndexSettings, build_index, measure_indices
from edge_app.adapters.keys import KeySources, store_key
from edge_app.core.gallery import build_gallery
from edge_app.core.match import match
from edge_app.core.revocation import new_code, revocation_sha256
from tests.people import CALIBRATION, NOW, USE, enrolment, faces, probe

home = Path(sys.argv[1])
sources = KeySources(home, None, None, None)
store = GalleryStore(home / "store", store_key(sources), withdrawn=home / "withdrawn")
known = faces(1, seed=int(sys.argv[3]))
code = new_code(bytes(15))
person = enrolment(1, known, revocation_sha256=revocation_sha256(code))
store.add(person, USE, calibration=CALIBRATION, now=NOW)
for n in range(2, 20):
    store.add(enrolment(n, faces(3, seed=10**9 + n)), USE, calibration=CALIBRATION, now=NOW)
settings = IndexSettings(
    trees=40, min_recall=0.99, sample_count=20, sample_similarity=0.5, rows_per_search=5,
    annoy_budget_ms=1.0,
)
stored = store.load(USE, now=NOW)
for kind in (IndexKind.EXACT, IndexKind.ANNOY):
    gallery = build_gallery(
        stored.admission, stored.matrix, generation=1, calibration=CALIBRATION,
        index_factory=lambda matrix: build_index(matrix, kind, settings),
    )
    assert match(probe(known[0]), gallery, NOW, 1)[0].person_id == "person-1"
measure_indices(stored.matrix, settings)
print("locked" if stored.locked else "not locked", flush=True)
if sys.argv[2] == "die":
    import os, signal
    os.kill(os.getpid(), signal.SIGKILL)
store.revoke(code)
"""


def traces(embedding: Float32Array) -> dict[str, bytes]:
    """Parts of a template in the forms it could take: 16 values are beyond coincidence."""
    part = embedding[16:32]
    peak = float(np.abs(embedding).max())
    quantised = {
        f"int8, scale {scale:.3g}": np.round(part / scale).clip(-128, 127).astype(np.int8)
        for scale in (1 / 127, 1 / 128, peak / 127)
    }
    forms: dict[str, NDArray[Any]] = {
        "float32": part,
        "float64": part.astype(np.float64),
        "float16": part.astype(np.float16),
        "big-endian": part.astype(">f4"),
        **quantised,
    }
    binary = {name: values.tobytes() for name, values in forms.items()}
    text = {
        "hex": part.tobytes().hex().encode(),
        "JSON": ", ".join(repr(float(value)) for value in part[:3]).encode(),
    }
    return {**binary, **text}


def files_under(folder: Path) -> Iterator[Path]:
    """Regular files, without those of other file systems that are mounted below."""
    device = folder.lstat().st_dev
    for parent, folders, names in os.walk(folder):
        folders[:] = [name for name in folders if _device(Path(parent, name)) == device]
        yield from (path for name in names if _is_regular(path := Path(parent, name)))


def _device(path: Path) -> int | None:
    try:
        return path.lstat().st_dev
    except OSError:
        return None  # gone meanwhile, or closed to us


def _is_regular(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def found_in(paths: Iterator[Path]) -> list[str]:
    """Every (file, form) in which the known template shows."""
    found = []
    for path in paths:
        try:
            content = path.read_bytes()
        except OSError:
            continue  # another program's, gone or closed to us
        found += [f"{path}: {form}" for form, trace in traces(KNOWN).items() if trace in content]
    return found


def shared_folders() -> Iterator[Path]:
    for folder in ("/tmp", "/var/tmp", "/dev/shm", "/run/shm"):  # noqa: S108 - to search in
        if Path(folder).is_dir():
            yield Path(folder)


@pytest.mark.parametrize("end", ["leave", "die"])
def test_known_template_is_nowhere(tmp_path: Path, end: str) -> None:
    folders = {name: tmp_path / name for name in ("home", "work", "temporary", "caches")}
    for folder in folders.values():
        folder.mkdir()
    began_s = time.time()
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, folders["home"], end, str(SEED)],
        cwd=folders["work"],
        env={
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(ROOT),
            "PYTHONDONTWRITEBYTECODE": "1",
            "HOME": str(folders["home"]),
            "TMPDIR": str(folders["temporary"]),
            "XDG_CACHE_HOME": str(folders["caches"]),
            "XDG_RUNTIME_DIR": str(folders["caches"]),
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode == 0) == (end == "leave"), done.stderr
    assert done.stdout in ("locked\n", "not locked\n")
    stored = sum(file.stat().st_size for file in files_under(folders["home"] / "store"))
    assert stored > 18 * 3 * 192 * 4
    assert found_in(files_under(tmp_path)) == []
    for folder in shared_folders():
        recent = (p for p in files_under(folder) if _changed_since(p, began_s))
        assert found_in(recent) == []
    # Memory that could not be locked may be swapped out; without a disk swap it has no way.
    assert done.stdout.startswith("locked") or disk_swaps() == ()


def test_search_finds_a_template_in_every_form(tmp_path: Path) -> None:
    """The control: if this search were blind, the test above would prove nothing."""
    for number, (form, trace) in enumerate(traces(KNOWN).items()):
        path = tmp_path / f"{number}"
        path.write_bytes(b"before" + trace + b"after")
        assert f"{path}: {form}" in found_in(iter([path]))
    KNOWN.tofile(tmp_path / "whole")
    assert found_in(iter([tmp_path / "whole"])) == [f"{tmp_path / 'whole'}: float32"]


def _changed_since(path: Path, time_s: float) -> bool:
    try:
        return path.stat().st_mtime >= time_s - 1
    except OSError:
        return False
