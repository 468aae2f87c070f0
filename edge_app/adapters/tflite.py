"""Runs a TFLite model, after checking that it is the one its manifest describes.

`models/manifest.json` is the contract: which file, which bytes, which input, which
outputs in which order. Nothing runs that differs from it in any of these.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from edge_app.errors import ModelError

MANIFEST_NAME: Final = "manifest.json"
REMEDY: Final = "run `make models`"

_RUNTIMES: Final = ("ai_edge_litert.interpreter", "tflite_runtime.interpreter")
"""Tried in this order: the second is the first one's predecessor, on older images."""

Sha256 = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]
Dtype = Literal["float32", "int8", "uint8", "int32"]
FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9_]+\.tflite$")]
Shape = Annotated[tuple[Annotated[int, Field(ge=1)], ...], Field(min_length=1)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class TensorSpec(_Strict):
    """One tensor: its name in the file, its shape, its dtype and what it means."""

    name: str
    shape: Shape
    dtype: Dtype
    meaning: str


class InputSpec(TensorSpec):
    """The input tensor. A pixel p becomes (p - mean) / scale; channels are `colour`."""

    colour: Literal["RGB"]
    mean: float
    scale: Annotated[float, Field(gt=0)]


class SourceSpec(_Strict):
    """Where a model came from: a file of a pinned package of a public registry."""

    registry: Literal["pypi", "npm"]
    package: str
    version: str
    archive: str
    archive_sha256: Sha256
    member: str
    member_sha256: Sha256


class LicenceSpec(_Strict):
    """SPDX names where there is one; `note` says what is known and what is not."""

    package: str
    model: str
    note: str


class ModelSpec(_Strict):
    """One entry of the manifest. `bytes` is the file's size."""

    file: FileName
    sha256: Sha256
    bytes: Annotated[int, Field(gt=0)]
    source: SourceSpec
    licence: LicenceSpec
    built: tuple[str, ...]
    input: InputSpec
    outputs: Annotated[tuple[TensorSpec, ...], Field(min_length=1)]


class Manifest(_Strict):
    """The whole of `manifest.json`."""

    format: Literal[1]
    models: dict[str, ModelSpec]


class TfliteModel:
    """A checked model, ready to run; a `TensorModel`.

    Not for use by two threads at once: input and output memory belong to the instance.
    """

    def __init__(self, name: str, spec: ModelSpec, interpreter: Any) -> None:
        """Take an interpreter whose tensors are allocated and fit `spec`."""
        self._name = name
        self._spec = spec
        self._interpreter = interpreter
        self._input = interpreter.get_input_details()[0]["index"]
        by_name = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
        self._outputs = tuple(by_name[output.name] for output in spec.outputs)
        self._shape = spec.input.shape
        self._dtype = np.dtype(spec.input.dtype)

    @property
    def name(self) -> str:
        """The model's name in the manifest."""
        return self._name

    @property
    def sha256(self) -> str:
        """SHA-256 of the bytes that are running, in hex."""
        return self._spec.sha256

    @property
    def spec(self) -> ModelSpec:
        """The manifest entry: input contract, outputs, origin and licence."""
        return self._spec

    def __call__(self, tensor: NDArray[Any]) -> tuple[NDArray[Any], ...]:
        """Run the model once.

        tensor: exactly the manifest's input shape and dtype; left as it is.
        Returns the outputs in the manifest's order, as arrays that the caller owns.

        Raises:
            ModelError: another shape or dtype, or the runtime failed.
        """
        if tensor.shape != self._shape or tensor.dtype != self._dtype:
            raise ModelError(
                f"model {self._name} takes {self._dtype} {self._shape}, "
                f"not {tensor.dtype} {tensor.shape}; prepare the input as its card says"
            )
        try:
            self._interpreter.set_tensor(self._input, tensor)
            self._interpreter.invoke()
            return tuple(self._interpreter.get_tensor(index) for index in self._outputs)
        except (RuntimeError, ValueError) as error:
            raise ModelError(f"model {self._name} failed to run: {error}; {REMEDY}") from error


def read_manifest(models_dir: Path) -> Manifest:
    """Read `manifest.json` of a models folder.

    Raises:
        ModelError: missing, unreadable, or not of the form that `Manifest` states.
    """
    path = models_dir / MANIFEST_NAME
    try:
        return Manifest.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; {REMEDY}") from error
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "the whole file"
        raise ModelError(
            f"{path} is not a valid manifest ({where}: {first['msg']}); {REMEDY}"
        ) from error


def load_model(models_dir: Path, name: str, *, threads: int = 1) -> TfliteModel:
    """Load a model by its manifest name.

    threads: how many threads one invocation may use; 1 or more.

    Raises:
        ModelError: the manifest or the file is missing or altered, no model has this name,
            the file's tensors are not those the manifest states, or no runtime is installed.
    """
    if threads < 1:
        raise ModelError(f"a model needs 1 thread or more, not {threads}")
    manifest = read_manifest(models_dir)
    spec = manifest.models.get(name)
    if spec is None:
        known = ", ".join(sorted(manifest.models))
        raise ModelError(f"there is no model {name!r}, only {known}; correct the name or {REMEDY}")
    # The bytes that were hashed are the bytes that run: the file is read once.
    content = _read_checked(models_dir / spec.file, spec)
    interpreter = _start(name, content, threads)
    _check_tensors(name, spec, interpreter)
    return TfliteModel(name, spec, interpreter)


def _read_checked(path: Path, spec: ModelSpec) -> bytes:
    try:
        content = path.read_bytes()
    except OSError as error:
        raise ModelError(f"cannot read {path}: {error.strerror}; {REMEDY}") from error
    found = hashlib.sha256(content).hexdigest()
    if found != spec.sha256:
        raise ModelError(
            f"{path} is not the file of the manifest: SHA-256 {found[:12]}..., "
            f"expected {spec.sha256[:12]}...; {REMEDY}"
        )
    return content


def _interpreter_class() -> Any:
    """Return the first installed runtime's Interpreter class."""
    for module in _RUNTIMES:
        with contextlib.suppress(ImportError):
            return importlib.import_module(module).Interpreter
    raise ModelError("no TFLite runtime is installed; run `pip install ai-edge-litert`")


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Keeps the runtime's greeting, which no setting turns off, from the user's terminal.

    It is written to file descriptor 2 by native code. What fails is raised all the same.
    """
    sys.stderr.flush()
    kept = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(null, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(null)


def _start(name: str, content: bytes, threads: int) -> Any:
    """Start an interpreter on `content` and allocate its tensors, once for all calls."""
    interpreter_class = _interpreter_class()
    try:
        with _silent_stderr():
            interpreter = interpreter_class(model_content=content, num_threads=threads)
            interpreter.allocate_tensors()
    except (RuntimeError, ValueError) as error:
        raise ModelError(f"the runtime refuses model {name}: {error}; {REMEDY}") from error
    return interpreter


def _check_tensors(name: str, spec: ModelSpec, interpreter: Any) -> None:
    inputs = interpreter.get_input_details()
    outputs = interpreter.get_output_details()
    if len(inputs) != 1 or len(outputs) != len(spec.outputs):
        raise ModelError(
            f"model {name} has {len(inputs)} inputs and {len(outputs)} outputs, "
            f"the manifest states 1 and {len(spec.outputs)}; {REMEDY}"
        )
    _check_tensor(name, spec.input, inputs[0])
    by_name = {detail["name"]: detail for detail in outputs}
    for output in spec.outputs:
        if output.name not in by_name:
            raise ModelError(f"model {name} has no output {output.name}; {REMEDY}")
        _check_tensor(name, output, by_name[output.name])


def _check_tensor(model: str, expected: TensorSpec, found: dict[str, Any]) -> None:
    shape = tuple(int(size) for size in found["shape"])
    dtype = np.dtype(found["dtype"]).name
    if (found["name"], shape, dtype) != (expected.name, expected.shape, expected.dtype):
        raise ModelError(
            f"model {model}: tensor {found['name']} is {dtype} {shape}, the manifest states "
            f"{expected.name}, {expected.dtype} {expected.shape}; {REMEDY}"
        )
